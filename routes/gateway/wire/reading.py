"""What reading an upstream's answer means, whatever the wire format: verdicts on events, usage, errors. Pure.

``StreamReader`` is told every event of a stream and says what it is; ``Answer`` is what a whole JSON document
said. The formats themselves are ``openai`` and ``anthropic``; ``reader_for`` and ``read_answer`` choose.
"""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Protocol

import msgspec

if TYPE_CHECKING:
    from routes.gateway.exchange import Usage


#: How a decoder says that bytes are not JSON, or not JSON of the shape it was told.
NOT_JSON = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


_anything = msgspec.json.Decoder().decode


class Kind(IntEnum):
    """What one event of a stream is."""

    HELD = 0  # nothing a client would miss: role, pings, comments, created
    CONTENT = 1  # text, reasoning, refusal, tool call, audio, or a regular end: the stream is committed
    END = 2  # the terminator: nothing may follow
    ERROR = 3  # the upstream says that it failed
    MALFORMED = 4  # not an event of this format: dropped
    HIDDEN = 5  # what was used, which the client did not ask for: we did


class InvalidAnswer(Exception):
    """A successful status, but not an answer: not JSON, cut, or of another shape."""


class Answer(NamedTuple):
    """``error`` is the message of a top-level error, None when there is none; ``id`` the upstream's name of the
    answer, "" where the format has none that a later request may use."""

    usage: Usage
    error: str | None
    id: str = ""


class StreamReader(Protocol):
    """State of one stream.

    ``text_bytes`` is the size of the text so far, for an estimate of the usage; ``error`` the message of an error
    event; ``answer_id`` as in ``Answer``; ``terminator`` what a complete stream may lack at its end;
    ``end_is_content`` whether the end event alone is a regular answer (an empty one); ``ends_long``
    whether an event that is too long to be read may be the last one; ``hides_usage``: the event that
    only says what was used is not for the client.
    """

    end_is_content: ClassVar[bool]
    ends_long: ClassVar[bool]
    usage: Usage
    text_bytes: int
    error: str
    terminator: bytes
    hides_usage: bool

    @property
    def answer_id(self) -> str: ...

    def read(self, event: bytes) -> Kind: ...

    def long_event(self, beginning: bytes) -> None:
        """An event begins that is too long to be read whole."""
        ...

    def long_event_ended(self, tail: bytes) -> None:
        """It ended like that: what was used stands last in it."""
        ...

    def complete(self) -> bool:
        """Whether the stream may end here: nothing but its terminator is missing."""
        ...


def unknown_shape(data: bytes) -> Kind:
    """An event that did not decode: JSON of a shape we do not know passes (the client may know it), else dropped."""
    try:
        _anything(data)
    except NOT_JSON:
        return Kind.MALFORMED
    return Kind.HELD


def require_utf8(body: bytes) -> None:
    """Decoding skips what is not read, and does not look at the bytes of a string it skips."""
    if not body.isascii():
        body.decode()


def count(value: Any) -> int | None:
    """A number of tokens as an upstream wrote it; anything else than a natural number is unknown."""
    return value if type(value) is int and value >= 0 else None


def size(value: Any) -> int:
    """Bytes of a piece of text, 0 for anything else."""
    return len(value.encode("utf-8", "surrogatepass")) if type(value) is str else 0


def error_message(error: Any) -> str:
    """The message in any of the shapes in which upstreams write an error."""
    if isinstance(error, dict):
        for name in ("message", "type", "code"):
            if isinstance(error.get(name), str) and error[name]:
                return str(error[name])[:500]
    return error[:500] if isinstance(error, str) and error else "error without a message"
