"""Honest answers in other shapes a client must cope with: other line ends in streams, writes of odd sizes.

These are not faults: every byte is legal.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from simulator.script import Answer, Event, Piece, Script, chunk, chunked_head, honest

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from simulator.behaviour import Behaviour

_NEWLINES = {"crlf": b"\r\n", "cr": b"\r"}


def reshaped(answer: Answer, behaviour: Behaviour) -> Script:
    """The answer's script in the line ends and write sizes the behaviour asks for."""
    if answer.events is None:
        return honest(answer)
    if behaviour.newline != "lf":
        newline = _NEWLINES[behaviour.newline]
        answer.events = (event._replace(data=event.data.replace(b"\n", newline)) for event in answer.events)
    if not behaviour.chunk_bytes:
        return honest(answer)
    return Script(_chopped(answer, answer.events, behaviour.chunk_bytes), status=answer.status)


def _chopped(answer: Answer, events: Iterable[Event], size: int) -> Iterator[Piece]:
    """The stream in chunks of `size` bytes that pay no heed to where events end.

    An event counts as sent with the write that holds its last byte. What does not fill a chunk goes out before a
    wait, so that pacing is kept.
    """
    yield Piece(chunked_head(answer), answer.delay)
    held, ended, delay = b"", 0, 0.0
    for event in events:
        if event.delay and held:
            yield Piece(chunk(held), delay, ended)
            held, ended, delay = b"", 0, 0.0
        delay += event.delay
        held += event.data
        while len(held) > size:
            yield Piece(chunk(held[:size]), delay, ended)
            held, ended, delay = held[size:], 0, 0.0
        ended += 1
    if held:
        yield Piece(chunk(held), delay, ended)
    yield Piece(b"0\r\n\r\n")
