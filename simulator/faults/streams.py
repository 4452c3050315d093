"""Faults in the middle of a stream. `after_events` counts content events; what comes before the first is sent too.

They strike only requests that asked for a stream.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from simulator.faults.base import Count, Fault, HttpStatus, Scene, Seconds
from simulator.script import Ending, Event, Role, Script, honest, streamed

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from simulator.connection import Request
    from simulator.script import Answer


def _until_content(events: Iterable[Event], after: int, *, opening: bool = True) -> Iterator[Event]:
    """The opening and the first `after` content events."""
    seen = 0
    for event in events:
        if event.role is not Role.OPENING:
            if event.role is not Role.CONTENT or seen == after:
                return
            seen += 1
        elif not opening:
            continue
        elif seen == after and seen:
            return
        yield event


class StreamFault(Fault, frozen=True):
    """A fault that strikes only where a stream was asked for."""

    def __post_init__(self) -> None:
        if self.stream is False:
            raise ValueError("stream: this fault needs one")

    def matches(self, request: Request, model: str | None, stream: bool) -> bool:
        return stream and super().matches(request, model, stream)

    def play(self, scene: Scene) -> Script:
        answer = scene.answer()
        if answer.events is None:
            return honest(answer)  # an honest refusal, such as a wrong key
        return self.bend(answer, answer.events, scene)

    def bend(self, answer: Answer, events: Iterable[Event], scene: Scene) -> Script:
        raise NotImplementedError


class ResetMidStream(StreamFault, tag="reset_mid_stream", frozen=True):
    """RST after so many content events; `opening: false` leaves out what comes before the first."""

    after_events: Count = 1
    opening: bool = True

    def bend(self, answer: Answer, events: Iterable[Event], scene: Scene) -> Script:
        return streamed(answer, _until_content(events, self.after_events, opening=self.opening), Ending.RESET)


class CutMidStream(StreamFault, tag="cut_mid_stream", frozen=True):
    """FIN without the last chunk after so many content events."""

    after_events: Count = 1
    opening: bool = True

    def bend(self, answer: Answer, events: Iterable[Event], scene: Scene) -> Script:
        return streamed(answer, _until_content(events, self.after_events, opening=self.opening), Ending.CLOSE)


class EndWithoutTerminator(StreamFault, tag="end_without_terminator", frozen=True):
    """A clean end (last chunk and all) after so many content events: no finish reason, no terminator."""

    after_events: Count = 1
    opening: bool = True

    def bend(self, answer: Answer, events: Iterable[Event], scene: Scene) -> Script:
        kept = _until_content(events, self.after_events, opening=self.opening)
        return streamed(answer, kept)


class NoDone(StreamFault, tag="no_done", frozen=True):
    """Everything but the terminator: the finish reason is there, `[DONE]` (or `message_stop`) is not."""

    def bend(self, answer: Answer, events: Iterable[Event], scene: Scene) -> Script:
        kept = (event for event in events if event.role is not Role.TERMINATOR)
        return streamed(answer, kept)


class SlowFirstContent(StreamFault, tag="slow_first_content", frozen=True):
    """Head and opening at once, the first content after `seconds`, with `pings` spread over the wait."""

    seconds: Seconds = 5.0
    pings: Count = 0
    opening: bool = True

    def bend(self, answer: Answer, events: Iterable[Event], scene: Scene) -> Script:
        return streamed(answer, self._waited(events, scene.wire.ping()))

    def _waited(self, events: Iterable[Event], ping: bytes) -> Iterator[Event]:
        waited = False
        for event in events:
            if event.role is Role.OPENING or waited:
                if self.opening or waited:
                    yield event
                continue
            waited = True
            step = self.seconds / (self.pings + 1)
            for _ in range(self.pings):
                yield Event(ping, Role.OPENING, step)
            yield event._replace(delay=event.delay + step)


class IdleStall(StreamFault, tag="idle_stall", frozen=True):
    """Silence after so many content events: for ever, or for `seconds` and then the rest."""

    after_events: Count = 1
    seconds: Seconds | None = None
    opening: bool = True

    def bend(self, answer: Answer, events: Iterable[Event], scene: Scene) -> Script:
        if self.seconds is None:
            return streamed(answer, _until_content(events, self.after_events, opening=self.opening), Ending.HANG)
        return streamed(answer, self._resumed(events, self.seconds))

    def _resumed(self, events: Iterable[Event], seconds: float) -> Iterator[Event]:
        seen = 0
        stalled = False
        for event in events:
            if event.role is Role.OPENING:
                if self.opening:
                    yield event
                continue
            if not stalled and (seen == self.after_events or event.role is not Role.CONTENT):
                stalled = True
                event = event._replace(delay=event.delay + seconds)
            seen += 1
            yield event


class MalformedEvent(StreamFault, tag="malformed_event", frozen=True):
    """One event that is not JSON (or `data`, verbatim) after so many content events; the rest is whole."""

    after_events: Count = 1
    data: str = '{"id": "broken", "choices": ['

    def bend(self, answer: Answer, events: Iterable[Event], scene: Scene) -> Script:
        bad = Event(b"data: " + self.data.encode("utf-8", "surrogateescape") + b"\n\n", Role.CONTENT)
        return streamed(answer, _inserted(events, self.after_events, bad))


def _inserted(events: Iterable[Event], after: int, extra: Event) -> Iterator[Event]:
    seen = 0
    done = False
    for event in events:
        if not done and event.role is not Role.OPENING and (seen == after or event.role is not Role.CONTENT):
            done = True
            yield extra
        seen += event.role is Role.CONTENT
        yield event


class ErrorEvent(StreamFault, tag="error_event", frozen=True):
    """An error event after so many content events (default: as the very first event), then a clean end."""

    after_events: Count = 0
    status: HttpStatus = 529
    message: str = "Overloaded"
    opening: bool = False

    def bend(self, answer: Answer, events: Iterable[Event], scene: Scene) -> Script:
        def kept() -> Iterator[Event]:
            yield from _until_content(events, self.after_events, opening=self.opening or self.after_events > 0)
            yield Event(scene.wire.error_event(self.status, self.message), Role.CONTENT)

        return streamed(answer, kept())
