"""Faults of a body that is not what it says: cut, invalid, another document, packed, huge or endless.

On a stream the byte-counting ones count the bytes of its events.
"""

from __future__ import annotations

import gzip
from itertools import chain, repeat
from typing import TYPE_CHECKING

from simulator.faults.base import Count, Fault, Positive, Scene, Seconds
from simulator.script import (
    Answer,
    Ending,
    Event,
    Piece,
    Role,
    Script,
    blocks,
    chunk,
    chunked_head,
    honest,
    own_head,
    sized_head,
    streamed,
)
from simulator.wire.base import JSON_TYPE

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_BLOCK = 16 * 1024
_HTML = (
    b"<!DOCTYPE html>\n<html><head><title>Just a moment...</title></head>"
    b"<body><h1>Checking your browser</h1></body></html>\n"
)


def _first_bytes(events: Iterable[Event], limit: int) -> Iterator[Event]:
    """Events up to `limit` bytes in all, the last one cut."""
    left = limit
    for event in events:
        if left <= len(event.data):
            if left:
                yield event._replace(data=event.data[:left])
            return
        left -= len(event.data)
        yield event


def _cut(answer: Answer, after_bytes: int | None, ending: Ending) -> Script:
    """Promise the whole body, send some of it."""
    if answer.events is not None:
        limit = 64 if after_bytes is None else after_bytes
        return streamed(answer, _first_bytes(answer.events, limit), ending)
    limit = len(answer.body) // 2 if after_bytes is None else after_bytes
    part = answer.body[: min(limit, max(0, len(answer.body) - 1))]
    first = own_head(answer)
    if answer.block:
        pieces = chain((Piece(first, answer.delay),), blocks(part, answer.block))
        return Script(pieces, ending, status=answer.status)
    return Script((Piece(first + part, answer.delay),), ending, status=answer.status)


class ResetMidBody(Fault, tag="reset_mid_body", frozen=True):
    """RST after `after_bytes` of the body (default: half of it)."""

    on_upgrades = False
    after_bytes: Count | None = None

    def play(self, scene: Scene) -> Script:
        return _cut(scene.answer(), self.after_bytes, Ending.RESET)


class CutMidBody(Fault, tag="cut_mid_body", frozen=True):
    """FIN after `after_bytes` of the body (default: half of it), short of its Content-Length or last chunk."""

    on_upgrades = False
    after_bytes: Count | None = None

    def play(self, scene: Scene) -> Script:
        return _cut(scene.answer(), self.after_bytes, Ending.CLOSE)


class StallMidBody(Fault, tag="stall_mid_body", frozen=True):
    """Silence after `after_bytes` of the body (default: half of it), the connection open."""

    on_upgrades = False
    after_bytes: Count | None = None

    def play(self, scene: Scene) -> Script:
        return _cut(scene.answer(), self.after_bytes, Ending.HANG)


class CutJson(Fault, tag="cut_json", frozen=True):
    """Only the first `after_bytes` of the body (default: half), framed as if that were all."""

    on_upgrades = False
    after_bytes: Count | None = None

    def play(self, scene: Scene) -> Script:
        answer = scene.answer()
        if answer.events is not None:
            limit = 64 if self.after_bytes is None else self.after_bytes
            answer.events = _first_bytes(answer.events, limit)
        else:
            limit = len(answer.body) // 2 if self.after_bytes is None else self.after_bytes
            answer.body = answer.body[:limit]
        return honest(answer)


class InvalidJson(Fault, tag="invalid_json", frozen=True):
    """A 200 whose body says it is JSON and is not."""

    def play(self, scene: Scene) -> Script:
        return honest(Answer(200, [JSON_TYPE, *scene.headers], body=b'{"id": "chatcmpl-1", "choices": [}'))


class HtmlIn200(Fault, tag="html_in_200", frozen=True):
    """A 200 with a web page, as a captive portal or a bot check sends."""

    def play(self, scene: Scene) -> Script:
        return honest(Answer(200, [(b"content-type", b"text/html; charset=utf-8"), *scene.headers], body=_HTML))


class ErrorIn200(Fault, tag="error_in_200", frozen=True):
    """A 200 whose JSON is an error document; also where a stream was asked for."""

    message: str = "The server had an error while processing your request."

    def play(self, scene: Scene) -> Script:
        return honest(Answer(200, [JSON_TYPE, *scene.headers], body=scene.wire.error(500, self.message)))


class IgnoreStream(Fault, tag="ignore_stream", frozen=True):
    """A JSON answer where a stream was asked for."""

    on_upgrades = False

    def play(self, scene: Scene) -> Script:
        return honest(scene.answer(stream=False))


class Gzip(Fault, tag="gzip", frozen=True):
    """The honest body packed with gzip, asked for or not."""

    on_upgrades = False

    def play(self, scene: Scene) -> Script:
        answer = scene.answer()
        body = answer.body if answer.events is None else b"".join(event.data for event in answer.events)
        return honest(
            Answer(
                answer.status,
                [*answer.headers, (b"content-encoding", b"gzip")],
                body=gzip.compress(body, mtime=0),
                delay=answer.delay,
            )
        )


class HugeBody(Fault, tag="huge_body", frozen=True):
    """A valid answer of `bytes`: a JSON document padded in a field of its own, other bodies at their end; in a stream,
    one huge content event.
    """

    on_upgrades = False
    bytes: Positive = 64 * 1024 * 1024

    def play(self, scene: Scene) -> Script:
        answer = scene.answer()
        if answer.events is None:
            if answer.body.startswith(b"{"):
                # {"padding":"xxx…", then the document's own fields.
                start, end = b'{"padding":"', b'",' + answer.body[1:]
            else:
                start, end = answer.body, b""
            padding = max(0, self.bytes - len(start) - len(end))
            pieces = [Piece(sized_head(answer, len(start) + padding + len(end)) + start, answer.delay)]
            whole, rest = divmod(padding, _BLOCK)
            pieces += repeat(Piece(b"x" * _BLOCK), whole)
            return Script([*pieces, Piece(b"x" * rest + end)], status=answer.status)
        answer.events = self._with_huge_event(answer.events)
        return honest(answer)

    def _with_huge_event(self, events: Iterable[Event]) -> Iterator[Event]:
        done = False
        for event in events:
            if event.role is Role.CONTENT and not done:
                done = True
                # Padding as leading blanks of the document: valid JSON of any size.
                before, mark, after = event.data.partition(b"data: ")
                yield event._replace(data=before + mark + b" " * max(0, self.bytes - len(event.data)) + after)
            else:
                yield event


class EndlessBody(Fault, tag="endless_body", frozen=True):
    """A body that never ends, as fast as it is read or one block per `seconds`; on a stream, one event without end."""

    on_upgrades = False
    seconds: Seconds = 0.0

    def play(self, scene: Scene) -> Script:
        answer = scene.answer()
        opening = b'{"padding":"' if answer.events is None else b'data: {"padding":"'
        block = chunk(b"x" * _BLOCK)

        def pieces() -> Iterator[Piece]:
            yield Piece(chunked_head(answer) + chunk(opening), answer.delay)
            while True:
                yield Piece(block, self.seconds)

        return Script(pieces(), Ending.CLOSE, status=answer.status)
