"""Well-known coding agents, told by how their system prompts begin, and by the tools they bring. Data and two look-ups.

Fingerprints are the opening words of prompts that the agents' makers ship. They are compared with the beginning of each
of the first pieces of the system prompt, because some agents put a fixed line in a block of its own before the rest.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

#: Summing up a long conversation so that it can go on.
COMPACT: Final = (
    "You are a helpful AI assistant tasked with summarizing conversations",  # Claude Code, opencode
    "You are an anchored context summarization assistant",  # opencode
    "You are the component that summarizes internal chat history",  # Gemini CLI, Qwen Code
    "You are a specialized system component responsible for distilling chat history",  # Gemini CLI
)

#: Working on a part for another agent.
SUBAGENT: Final = (
    "You are an agent for Claude Code",
    "You are a file search specialist for Claude Code",
    "You are a software architect and planning specialist for Claude Code",
    "You are a status line setup agent for Claude Code",
    "You are the Claude guide agent",
    "You are a file search specialist. You excel at thoroughly navigating",  # opencode
)

#: Talking to the person at the keyboard.
MAIN: Final = (
    "You are Claude Code",
    "You are a Claude agent, built on Anthropic's Claude Agent SDK",
    "You are an interactive CLI tool that helps users",  # Claude Code without its first line
    "You are an interactive agent that helps users with software engineering tasks",
    "You are Codex",
    "You are a coding agent running in the Codex CLI",
    "You are GPT-5.2 running in the Codex CLI",
    "You are opencode",
    "You are Gemini CLI",
    "You are an interactive CLI agent specializing in software engineering tasks",  # Gemini CLI, opencode
    "You are Qwen Code",
    "You are Kimi CLI",
    "You are Cline",
    "You are Roo",
    "You are Kilo",
    "You are an expert AI programming assistant, working with a user in the VS Code editor",  # GitHub Copilot
)

#: A first line of Claude Code may stand before the words that tell a subagent, so all pieces are read for each kind.
_KINDS: Final = (("compact", COMPACT), ("subagent", SUBAGENT), ("main", MAIN))
#: Where a prompt opens. Further pieces are the project's and the user's.
_PIECES: Final = 4

#: Tools that read, change and run code, as the agents name them; case, ``_`` and ``-`` aside.
CODING_TOOLS: Final = frozenset(
    {
        "applydiff",
        "applypatch",
        "bash",
        "createfile",
        "edit",
        "editfile",
        "executecommand",
        "exec",
        "execcommand",
        "glob",
        "grep",
        "grepsearch",
        "inserteditintofile",
        "listcodedefinitionnames",
        "listdir",
        "listdirectory",
        "listfiles",
        "localshell",
        "ls",
        "multiedit",
        "notebookedit",
        "patch",
        "read",
        "readfile",
        "readmanyfiles",
        "replace",
        "replaceinfile",
        "replacestringinfile",
        "runinterminal",
        "runshellcommand",
        "searchfilecontent",
        "searchfiles",
        "shell",
        "shellcommand",
        "strreplacebasededittool",
        "strreplaceeditor",
        "write",
        "writefile",
        "writetofile",
    }
)
#: The APIs' own tools for working on code. Anthropic's carry a date.
_TYPED_TOOLS: Final = ("bash_", "text_editor_")
_TYPED_TOOL_NAMES: Final = frozenset({"local_shell", "shell", "apply_patch"})


def kind_of(system: Sequence[str]) -> str | None:
    """``main``, ``subagent`` or ``compact``; None when the prompt is no known agent's."""
    for kind, fingerprints in _KINDS:
        for piece in system[:_PIECES]:
            if piece.lstrip().startswith(fingerprints):
                return kind
    return None


def has_coding_tools(names: set[str]) -> bool:
    """Whether one of the APIs' own coding tools is offered, or two of those that agents bring. One alone says too
    little: many a chat has a ``read`` or a ``search``."""
    if not names.isdisjoint(_TYPED_TOOL_NAMES) or any(name.startswith(_TYPED_TOOLS) for name in names):
        return True
    known = {name.replace("_", "").replace("-", "").lower() for name in names}
    return len(known & CODING_TOOLS) >= 2
