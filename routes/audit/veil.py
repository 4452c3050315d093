"""What an entry may say of values that are secrets, or may be: that they changed, never what they are.

Callers pass no credentials. This is for what configuration carries in the open and people put keys into all the same:
headers and parameters of a provider, a proxy's address with a password in it, a message with a key pasted into it.
Imports only the logs' idea of what a secret looks like.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from routing_project.logs import redact

if TYPE_CHECKING:
    from collections.abc import Mapping

    from routes.diff import Change

CHANGED: Final = "changed"
#: Fields of a provider whose members may be anything, a key too.
OPEN_MAPS: Final = ("headers", "query")
#: Members of those that are known to be none; of all others only that they changed is told.
HARMLESS: Final = frozenset(
    {
        *("accept", "accept-encoding", "accept-language", "content-type", "user-agent", "http-referer", "referer"),
        *("anthropic-beta", "anthropic-version", "openai-beta", "openai-organization", "openai-project", "x-title"),
        *("api-version", "version", "region"),
    }
)
#: Fields whose members are called as models are: nothing follows from such a name.
MODEL_MAPS: Final = ("models.", "context.", "prices.")
_USER_IN_URL: Final = re.compile(r"(?<=://)[^/@\s]+(?=@)")


def veiled(changes: Mapping[str, Any]) -> dict[str, Any]:
    """``changes`` of an entry with every secret in it as ``changed``."""
    return {field: _pair(field, value) for field, value in changes.items()}


def plain(text: str) -> str:
    """What somebody wrote, without what looks like a secret."""
    return _USER_IN_URL.sub("[redacted]", str(redact(text)))


def sentence(change: Change) -> str:
    """A difference of two configurations in words."""
    thing, _, field = change.path.partition("].")
    for name in OPEN_MAPS:
        if field == name or (field.startswith(f"{name}.") and not _is_harmless(field[len(name) + 1 :])):
            return f"{thing.replace('s[', ' ', 1)}: {field} changed"
    return plain(change.sentence)


def _pair(field: str, value: Any) -> Any:
    match value:
        case [before, after]:
            told = [_hidden(field, before), _hidden(field, after)]
            return CHANGED if told[0] == told[1] and before != after else told
        case _:
            return _hidden(field, value)


def _hidden(field: str, value: Any) -> Any:
    for name in OPEN_MAPS:
        if field == name and isinstance(value, dict):
            return {member: _member(member, inner) for member, inner in value.items()}
        if field.startswith(f"{name}."):
            return _member(field[len(name) + 1 :], value)
    name = field.rpartition(".")[2]
    named = not field.startswith(MODEL_MAPS) and redact({name: "x"})[name] != "x"
    if named and isinstance(value, str) and value:
        return CHANGED
    return _deep(redact(value))


def _member(name: str, value: Any) -> Any:
    return _deep(redact(value)) if value is None or _is_harmless(name) else CHANGED


def _is_harmless(name: str) -> bool:
    return name.lower() in HARMLESS


def _deep(value: Any) -> Any:
    """``value`` without users and passwords in URLs, to any depth."""
    match value:
        case str():
            return _USER_IN_URL.sub("[redacted]", value)
        case dict():
            return {name: _deep(inner) for name, inner in value.items()}
        case list():
            return [_deep(inner) for inner in value]
        case _:
            return value
