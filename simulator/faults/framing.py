"""Faults of HTTP/1.1 itself: a head or a body framing that an honest server never sends.

`kind` names the oddity; what a careful client must do with each is for the client's tests to say.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from simulator.faults.base import Fault, Positive, Scene
from simulator.script import LAST_CHUNK, Ending, Piece, Script, chunk, head

if TYPE_CHECKING:
    from collections.abc import Callable

    from simulator.script import Answer

Kind = Literal[
    "cl_and_te",
    "two_lengths",
    "same_length_twice",
    "te_foo",
    "te_gzip_chunked",
    "te_identity",
    "obs_fold",
    "negative_length",
    "plus_length",
    "length_list",
    "space_before_colon",
    "bare_cr",
    "bare_lf",
    "nul",
    "no_colon",
    "bad_chunk_size",
    "chunk_without_crlf",
    "no_length",
    "body_on_204",
    "bad_status_line",
    "http_10",
    "huge_header",
    "many_headers",
]


class Framing(Fault, tag="framing", frozen=True):
    """The honest answer in a broken frame; `bytes` sizes `huge_header`, `count` numbers `many_headers`."""

    on_upgrades = False
    kind: Kind = "cl_and_te"
    bytes: Positive = 128 * 1024
    count: Positive = 1000

    def play(self, scene: Scene) -> Script:
        answer = scene.answer()
        body = answer.body if answer.events is None else b"".join(event.data for event in answer.events)
        data, ending = _FRAMES[self.kind](answer, body, self)
        return Script((Piece(data, answer.delay),), ending, status=answer.status)


_Frame = tuple[bytes, Ending]


def _length(body: bytes, form: bytes = b"%d") -> tuple[bytes, bytes]:
    return (b"content-length", form % len(body))


def _with(answer: Answer, body: bytes, *headers: tuple[bytes, bytes]) -> bytes:
    return head(answer.status, [*answer.headers, *headers]) + body


def _raw_line(answer: Answer, body: bytes, line: bytes) -> bytes:
    """A head with one line that is no header, before the Content-Length."""
    whole = head(answer.status, [*answer.headers, _length(body)])
    at = whole.index(b"\r\n") + 2
    return whole[:at] + line + whole[at:] + body


def _chunked(body: bytes) -> bytes:
    return chunk(body) + LAST_CHUNK


_TE = b"transfer-encoding"
_CHUNKED = (_TE, b"chunked")

_FRAMES: dict[str, Callable[[Answer, bytes, Framing], _Frame]] = {
    "cl_and_te": lambda a, b, _: (_with(a, _chunked(b), _length(b), _CHUNKED), Ending.KEEP),
    "two_lengths": lambda a, b, _: (_with(a, b, _length(b), _length(b + b"x")), Ending.KEEP),
    "same_length_twice": lambda a, b, _: (_with(a, b, _length(b), _length(b)), Ending.KEEP),
    "te_foo": lambda a, b, _: (_with(a, b, (_TE, b"foo")), Ending.CLOSE),
    "te_gzip_chunked": lambda a, b, _: (_with(a, _chunked(b), (_TE, b"gzip, chunked")), Ending.KEEP),
    "te_identity": lambda a, b, _: (_with(a, b, (_TE, b"identity")), Ending.CLOSE),
    "obs_fold": lambda a, b, _: (_raw_line(a, b, b"x-folded: one\r\n two\r\n"), Ending.KEEP),
    "negative_length": lambda a, b, _: (_with(a, b, _length(b, b"-%d")), Ending.CLOSE),
    "plus_length": lambda a, b, _: (_with(a, b, _length(b, b"+%d")), Ending.KEEP),
    "length_list": lambda a, b, _: (
        _with(a, b, (b"content-length", b"%d, %d" % (len(b), len(b)))),
        Ending.KEEP,
    ),
    "space_before_colon": lambda a, b, _: (_raw_line(a, b, b"x-spaced : value\r\n"), Ending.KEEP),
    "bare_cr": lambda a, b, _: (_raw_line(a, b, b"x-odd: one\rx-injected: two\r\n"), Ending.KEEP),
    "bare_lf": lambda a, b, _: (_raw_line(a, b, b"x-odd: one\nx-injected: two\r\n"), Ending.KEEP),
    "nul": lambda a, b, _: (_raw_line(a, b, b"x-odd: one\0two\r\n"), Ending.KEEP),
    "no_colon": lambda a, b, _: (_raw_line(a, b, b"this is no header\r\n"), Ending.KEEP),
    "bad_chunk_size": lambda a, b, _: (_with(a, b"zz\r\n" + b + b"\r\n" + LAST_CHUNK, _CHUNKED), Ending.CLOSE),
    "chunk_without_crlf": lambda a, b, _: (
        _with(a, b"%x\r\n%b" % (len(b), b) + LAST_CHUNK, _CHUNKED),
        Ending.CLOSE,
    ),
    "no_length": lambda a, b, _: (_with(a, b), Ending.CLOSE),
    "body_on_204": lambda a, b, _: (head(204, [*a.headers, _length(b)]) + b, Ending.CLOSE),
    "bad_status_line": lambda a, b, _: (b"HTTP/1.1 OK\r\n" + _with(a, b, _length(b)), Ending.CLOSE),
    "http_10": lambda a, b, _: (_with(a, b, _length(b)).replace(b"HTTP/1.1", b"HTTP/1.0", 1), Ending.CLOSE),
    "huge_header": lambda a, b, fault: (_with(a, b, _length(b), (b"x-huge", b"x" * fault.bytes)), Ending.KEEP),
    "many_headers": lambda a, b, fault: (
        _with(a, b, _length(b), *[(b"x-many-%d" % number, b"x") for number in range(fault.count)]),
        Ending.KEEP,
    ),
}
