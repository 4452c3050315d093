"""Gathers what a client is answered, on its way to it: the beginning, the end and the size, whatever the size.

Stands between whoever answers and the edge, as the ``send`` of the request, and awaits nothing of its own. At most
48 KB of an answer under way, nothing at all of one that is no text.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from history.records import Excerpt
from routes.gateway.payloads import excerpts
from routes.gateway.payloads.excerpts import EVENT_MARGIN, HEAD, TAIL, Sample

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    Fields = Sequence[tuple[bytes, bytes]]

_HEAD_ROOM: Final = HEAD + EVENT_MARGIN
_TAIL_ROOM: Final = TAIL + EVENT_MARGIN
#: So much of a body is looked at to tell whether it is text.
LOOK: Final = 1024


class AnswerCopy:
    """One answer. ``send`` takes the messages of ASGI and passes them on."""

    __slots__ = ("_coding", "_content_type", "_head", "_is_text", "_send", "_size", "_tail")

    def __init__(self, send: Callable[[Any], Awaitable[None]]) -> None:
        self._send = send
        self._content_type = b""
        self._coding = b""
        self._is_text = True
        self._size = 0
        self._head = bytearray()
        self._tail = bytearray()

    def send(self, message: Any) -> Awaitable[None]:
        if message["type"] == "http.response.body":
            self._take(message["body"])
        elif message["type"] == "http.response.start":
            self._begin(message["headers"])
        return self._send(message)

    def _begin(self, fields: Fields) -> None:
        for name, value in fields:
            if name == b"content-type":
                self._content_type = value
            elif name == b"content-encoding":
                self._coding = value.strip().lower()
        self._is_text = excerpts.is_text(self._content_type, self._coding, b"")

    def _take(self, data: bytes) -> None:
        self._size += len(data)
        if not self._is_text:
            return
        room = _HEAD_ROOM - len(self._head)
        if room > 0:
            self._head += data[:room]
            data = data[room:]
        if data:
            tail = self._tail
            tail += data[-_TAIL_ROOM:]
            if len(tail) > 2 * _TAIL_ROOM:
                del tail[:-_TAIL_ROOM]

    def excerpt(self, fields: Fields, rest: bytes, known: Sequence[bytes]) -> tuple[Excerpt, int]:
        """What is kept of the answer, and how many secrets were in it. ``fields`` and ``rest``: the head, unless it was
        sent, and the end of the answer that are about to be sent."""
        if fields:
            self._begin(fields)
        if not self._size:
            return excerpt(rest, self._content_type, self._coding, known)
        self._take(rest)
        sample = self._sample(known)
        return _excerpt(self._content_type, self._size, sample), sample.redactions

    def _sample(self, known: Sequence[bytes]) -> Sample:
        kind, head, tail = self._content_type, bytes(self._head), bytes(self._tail)
        behind = self._size - len(head)
        if not self._is_text or not excerpts.is_text(kind, self._coding, head[:LOOK]):
            return excerpts.described(self._size, kind, self._coding)
        if behind <= len(tail):
            return excerpts.of_body(head + tail[len(tail) - behind :], kind, known)
        return excerpts.of_ends(head, tail, kind, known)


def excerpt(body: bytes, content_type: bytes, coding: bytes, known: Sequence[bytes]) -> tuple[Excerpt, int]:
    """The same of a body that is here as a whole."""
    if not body:
        sample = Sample("")
    elif content_type.lower().startswith(b"multipart/form-data") and not coding:
        sample = excerpts.of_form(body, content_type, known)
    elif excerpts.is_text(content_type, coding, body[:LOOK]):
        sample = excerpts.of_body(body, content_type, known)
    else:
        sample = excerpts.described(len(body), content_type, coding)
    return _excerpt(content_type, len(body), sample), sample.redactions


def _excerpt(content_type: bytes, size: int, sample: Sample) -> Excerpt:
    return Excerpt(content_type.decode("utf-8", "replace"), size, sample.text, sample.tail, sample.cut)
