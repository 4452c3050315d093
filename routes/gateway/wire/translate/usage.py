"""Tokens and reasons to stop, said in the words of the other format. Pure.

OpenAI counts every token of the prompt in one number; Anthropic reports those read from and written to its cache
beside the rest.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from routes.gateway.wire.reading import count

if TYPE_CHECKING:
    from collections.abc import Mapping

    from routes.gateway.wire.translate.fields import Json

#: OpenAI's ``finish_reason`` by Anthropic's ``stop_reason``. A turn that was paused is unfinished.
FINISH_REASONS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "end_turn": "stop",
        "stop_sequence": "stop",
        "max_tokens": "length",
        "model_context_window_exceeded": "length",
        "pause_turn": "length",
        "tool_use": "tool_calls",
        "refusal": "content_filter",
    }
)
#: Anthropic's ``stop_reason`` by OpenAI's ``finish_reason``.
STOP_REASONS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "stop": "end_turn",
        "length": "max_tokens",
        "tool_calls": "tool_use",
        "function_call": "tool_use",
        "content_filter": "refusal",
    }
)
_TIERS_TO_OPENAI: Final = {"standard": "default", "priority": "priority"}
_TIERS_TO_ANTHROPIC: Final = {"default": "standard", "priority": "priority", "fast": "priority", "scale": "priority"}


def finish_reason(stop: Any) -> str:
    return FINISH_REASONS.get(stop, "stop") if type(stop) is str else "stop"


def stop_reason(finish: Any, *, sequence: str | None, refused: bool, called: bool) -> str:
    """``sequence``: the stop sequence that was met, as far as the server says. Some end a tool call with "stop"."""
    found = STOP_REASONS.get(finish, "end_turn") if type(finish) is str else "end_turn"
    if found != "end_turn":
        return found
    if refused:
        return "refusal"
    if called:
        return "tool_use"
    return "end_turn" if sequence is None else "stop_sequence"


def refusal_of(details: Any) -> str | None:
    """What Anthropic's ``stop_details`` say of a refusal, as text."""
    if type(details) is not dict:
        return None
    for name in ("explanation", "category"):
        if type(details.get(name)) is str and details[name]:
            return str(details[name])
    return None


def refusal_details(refusal: str) -> Json | None:
    """Anthropic's ``stop_details`` for the text of a refusal."""
    return {"type": "refusal", "category": None, "explanation": refusal} if refusal else None


def to_openai(usage: Any) -> Json:
    """OpenAI's ``usage`` for Anthropic's."""
    usage = usage if type(usage) is dict else {}
    read = count(usage.get("cache_read_input_tokens")) or 0
    written = count(usage.get("cache_creation_input_tokens")) or 0
    prompt = (count(usage.get("input_tokens")) or 0) + read + written
    completion = count(usage.get("output_tokens")) or 0
    made: Json = {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": read, "cache_write_tokens": written},
    }
    details = usage.get("output_tokens_details")
    if type(details) is dict and (thinking := count(details.get("thinking_tokens"))) is not None:
        made["completion_tokens_details"] = {"reasoning_tokens": thinking}
    return made


def to_anthropic(usage: Any) -> Json:
    """Anthropic's ``usage`` for OpenAI's; zeros where the server reported nothing."""
    usage = usage if type(usage) is dict else {}
    details = usage.get("prompt_tokens_details")
    details = details if type(details) is dict else {}
    read = count(details.get("cached_tokens")) or 0
    written = count(details.get("cache_write_tokens")) or 0
    made: Json = {
        "input_tokens": max(0, (count(usage.get("prompt_tokens")) or 0) - read - written),
        "output_tokens": count(usage.get("completion_tokens")) or 0,
        "cache_read_input_tokens": read,
        "cache_creation_input_tokens": written,
    }
    details = usage.get("completion_tokens_details")
    if type(details) is dict and (thinking := count(details.get("reasoning_tokens"))) is not None:
        made["output_tokens_details"] = {"thinking_tokens": thinking}
    return made


def tier_to_openai(tier: Any) -> str | None:
    return _TIERS_TO_OPENAI.get(tier) if type(tier) is str else None


def tier_to_anthropic(tier: Any) -> str | None:
    return _TIERS_TO_ANTHROPIC.get(tier) if type(tier) is str else None
