"""What a simulated provider is told to be like: speed, size, credential, models, and the faults to play.

A behaviour is immutable; the control endpoint replaces it whole. Reads documents strictly: an unknown field, a field
that a fault does not know, or a value out of range is refused by name and changes nothing.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

import msgspec

from simulator.faults import AnyFault, Fault
from simulator.faults.base import Count, Positive, Seconds

_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


class BehaviourError(Exception):
    """A behaviour document that cannot be taken; the message names the field."""


class ToolCall(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One call of a dictated answer; without `id` it gets one."""

    name: str
    arguments: dict[str, Any] = {}
    id: str | None = None


class Tokens(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a dictated answer says that it used: tokens of the prompt that were new, read from and written to a cache,
    and tokens of the answer. Each wire adds them up in its own way."""

    fresh: Count = 0
    cached: Count = 0
    written: Count = 0
    output: Count = 0


class Reply(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a chat or a message answers, word for word, whatever was asked.

    `finish_reason` is for chats, `stop_reason` and `explanation` (of a refusal) for messages; without them, what fits
    the rest. `stop_sequence` is the one that was met, `tokens` what was used instead of what was counted.
    """

    text: str | None = None
    reasoning: str | None = None
    refusal: str | None = None
    tool_calls: tuple[ToolCall, ...] = ()
    finish_reason: str | None = None
    stop_reason: str | None = None
    stop_sequence: str | None = None
    explanation: str | None = None
    tokens: Tokens | None = None


class Behaviour(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """All defaults together are a provider that answers at once and never fails.

    `latency`: seconds before the first byte; `jitter`: up to so much more, drawn from `seed`. `first_event`: seconds
    from a stream's head to its first content. `tokens_per_second` 0: as fast as it goes. `output_tokens` or `text`:
    what is said; `reply`: a whole answer, dictated. `credential`: what callers must present. `models`: what is served
    and listed, null for anything. `context`: model, or `*`, to its window in tokens; longer prompts are refused.
    `subprotocols`: what WebSockets may agree on, null for the wire's own. `headers`: added to every answer.
    `chunk_bytes`: writes of that size at most, 0 for one an event. `newline`: line ends inside streams. `log`: keep
    requests for reading.
    """

    latency: Seconds = 0.0
    jitter: Seconds = 0.0
    first_event: Seconds = 0.0
    tokens_per_second: Annotated[float, msgspec.Meta(ge=0, le=1_000_000)] = 0.0
    output_tokens: Annotated[int, msgspec.Meta(ge=0, le=1_000_000)] = 16
    text: str | None = None
    reply: Reply | None = None
    credential: str | None = None
    models: tuple[str, ...] | None = None
    context: dict[str, Positive] = {}
    subprotocols: tuple[str, ...] | None = None
    usage: bool = True
    cached_tokens: Count = 0
    headers: dict[str, str] = {}
    chunk_bytes: Count = 0
    newline: Literal["lf", "crlf", "cr"] = "lf"
    seed: int = 0
    log: bool = True
    faults: tuple[AnyFault, ...] = ()

    def __post_init__(self) -> None:
        if self.models is not None and not self.models:
            raise ValueError("models: name at least one, or null for any")
        for name, value in self.headers.items():
            if not _HEADER_NAME.fullmatch(name) or any(character in value for character in "\r\n\0"):
                raise ValueError(f"headers: {name!r} cannot be sent")


def read(document: Any, base: Behaviour | None = None) -> Behaviour:
    """The behaviour a document describes, its fields laid over `base`. Raises BehaviourError."""
    if not isinstance(document, dict):
        raise BehaviourError("expected an object")
    merged = {**(write(base) if base is not None else {}), **document}
    faults = merged.get("faults")
    if isinstance(faults, list):
        merged["faults"] = [{"name": fault} if isinstance(fault, str) else fault for fault in faults]
    try:
        return msgspec.convert(merged, Behaviour)
    except msgspec.ValidationError as error:
        raise BehaviourError(str(error)) from None


def write(behaviour: Behaviour) -> dict[str, Any]:
    """The document that `read` turns back into this behaviour."""
    document: dict[str, Any] = msgspec.to_builtins(behaviour)
    return document


def without(behaviour: Behaviour, kind: type[Fault]) -> Behaviour:
    """The same behaviour less the faults of a kind."""
    return msgspec.structs.replace(
        behaviour, faults=tuple(fault for fault in behaviour.faults if not isinstance(fault, kind))
    )
