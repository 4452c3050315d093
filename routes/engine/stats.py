"""Samples of one target: what its last answers were like. Pure numbers, passive: they rank, they never remove.

Two windows of the last 100 outcomes not older than an hour, one for streams (time to first event) and one for
other requests (latency, and latency per output token). A failed attempt counts as its time-out. Beside them a
peak EWMA per kind, the speed of streams, use by second and minute, and a head's own reports of its load.

Whoever writes holds the target's guard; readers take no lock: they read between two looks at the guard's sequence
word, and wait for the guard only when a writer is at it. Means are computed once per change and process. Imports the
vocabulary and the windows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TypeVar

from routes.engine.live import HeadLoad, LoadReport, Means
from routes.engine.windows import (
    EWMA_SIZE,
    MAX_AGE,
    MOMENT,
    NOTHING,
    RING_SIZE,
    USE_SIZE,
    WINDOW_SIZE,
    PeakEwma,
    Ring,
    SampleWindow,
    Use,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Columns = Callable[[], int]

#: Part of the success rate that each outcome makes up, and of the latency that each success does.
OUTCOME_SHARE = 0.1
LATENCY_SHARE = 0.2
#: Load reports kept of a head.
REPORTS = 10
#: How often a reader that meets writers tries again before it waits for them.
TRIES = 3

# Cells of load reports: how many ever, requests sent when the last came, then moments and loads.
_SENT = 1
_REPORT_AT = 2
_REPORT = _REPORT_AT + REPORTS
LOADS_SIZE = _REPORT + REPORTS

# Cells of a target's statistics.
CONSECUTIVE, FAILURE_RATE, LATENCY = range(3)
_WINDOWS = (3, 3 + WINDOW_SIZE)  # others, streams
_EWMAS = (_WINDOWS[1] + WINDOW_SIZE, _WINDOWS[1] + WINDOW_SIZE + EWMA_SIZE)
_OUTPUT = _EWMAS[1] + EWMA_SIZE
_SPEED = _OUTPUT + RING_SIZE
_USE = _SPEED + RING_SIZE
_LOADS = _USE + USE_SIZE
SIZE = _LOADS + LOADS_SIZE

T = TypeVar("T")


class Guard(Protocol):
    """Excludes writers of one record; ``sequence`` is odd while somebody writes."""

    @property
    def sequence(self) -> float: ...

    def still(self) -> float:
        """Wait until nobody writes, and keep it so until ``moving``; the sequence word."""
        ...

    def moving(self) -> None: ...


class TargetStats:
    """All figures of one target. ``columns`` reads what each process counts by itself, without a lock: attempts
    between claim and release, and attempts ever sent."""

    __slots__ = (
        "_ewmas",
        "_guard",
        "_in_flight",
        "_kept",
        "_kept_reports",
        "_kept_speed",
        "_kept_use",
        "_output",
        "_sent",
        "_speed",
        "_use",
        "_windows",
        "cells",
        "head",
    )

    def __init__(
        self,
        cells: memoryview[float],
        guard: Guard,
        in_flight: Columns = lambda: 0,
        sent: Columns = lambda: 0,
    ) -> None:
        self.cells = cells
        #: of the head as a whole, where this is one of its models: that is where its loads are
        self.head: TargetStats | None = None
        self._guard = guard
        self._in_flight = in_flight
        self._sent = sent
        self._windows = tuple(SampleWindow(cells[start : start + WINDOW_SIZE]) for start in _WINDOWS)
        self._ewmas = tuple(PeakEwma(cells[start : start + EWMA_SIZE]) for start in _EWMAS)
        self._output = Ring(cells[_OUTPUT : _OUTPUT + RING_SIZE])
        self._speed = Ring(cells[_SPEED : _SPEED + RING_SIZE])
        self._use = Use(cells[_USE : _USE + USE_SIZE])
        #: means per window as (sequence word they were computed at, until when they hold, means)
        self._kept: list[tuple[float, float, Means]] = [(-1.0, 0.0, NOTHING)] * 2
        # Likewise. A decision asks every target, and few of them have changed since the one before.
        self._kept_speed: tuple[float, float, tuple[float | None, int]] = (-1.0, 0.0, (None, 0))
        self._kept_reports: tuple[float, list[LoadReport], int] = (-1.0, [], 0)  # with what had been sent by then
        #: requests, tokens as (sequence word, second, of how many seconds, number)
        self._kept_use: list[tuple[float, float, float, int]] = [(-1.0, 0.0, 0.0, 0)] * 2

    # -- reading: no lock, unless somebody writes right now ------------------------------------------------
    def _read(self, reader: Callable[[], T]) -> tuple[T, float]:
        """What ``reader`` finds while nobody writes, and the sequence word of that moment."""
        guard = self._guard
        for _ in range(TRIES):
            sequence = guard.sequence
            if sequence % 2:
                break
            found = reader()
            if guard.sequence == sequence:
                return found, sequence
        sequence = guard.still()
        try:
            return reader(), sequence
        finally:
            guard.moving()

    @property
    def in_flight(self) -> int:
        return self._in_flight()

    @property
    def consecutive_failures(self) -> int:
        return int(self.cells[CONSECUTIVE])

    @property
    def success_rate(self) -> float:
        return 1.0 - self.cells[FAILURE_RATE]

    @property
    def latency_ema_s(self) -> float | None:
        """Moving average of what successes took; None before the first."""
        return self.cells[LATENCY] or None

    @property
    def mean_output_tokens(self) -> float | None:
        """Of the last 100 answers that reported them."""
        return self._output.mean()

    def means_s(self, stream: bool, now: float) -> Means:
        """Both means of the window for requests of that kind."""
        sequence, until, means = self._kept[stream]
        if sequence == self._guard.sequence and now <= until:
            return means
        window = self._windows[stream]
        (means, until), sequence = self._read(lambda: window.means(now))
        self._kept[stream] = sequence, until, means
        return means

    def mean_latency_s(self, stream: bool, now: float) -> tuple[float | None, int]:
        """(mean seconds, samples): first event of streams, latency of others."""
        return self.means_s(stream, now)[:2]

    def percentile_s(self, stream: bool, percent: float, now: float) -> tuple[float | None, int]:
        """(nearest-rank percentile, samples)"""
        return self._read(lambda: self._windows[stream].percentile(percent, now))[0]

    def answers_s(self, stream: bool, percents: Sequence[float], now: float) -> tuple[list[float | None], int]:
        """(nearest-rank percentiles, samples) of the window without what failed: what people call its latency, where
        strategies count a failure as its time-out. Costs a sort."""
        return self._read(lambda: self._windows[stream].answered(percents, now))[0]

    def ewma_s(self, stream: bool, now: float) -> float | None:
        """Peak EWMA of the first event (streams) or the latency (others), decayed to ``now``."""
        return self._ewmas[stream].read(now)

    def speed(self, now: float) -> tuple[float | None, int]:
        """(mean output tokens per second of streams, samples)"""
        sequence, until, found = self._kept_speed
        if sequence != self._guard.sequence or now > until:
            (found, oldest), sequence = self._read(lambda: self._speed.mean_since(now - MAX_AGE))
            self._kept_speed = sequence, oldest + MAX_AGE, found
        return found

    def requests_in(self, seconds: float, now: float) -> int:
        """Attempts of the last ``seconds``: those that ended, by when they began, and those under way."""
        return self._used(0, self._use.requests, seconds, now) + self._in_flight()

    def tokens_in(self, seconds: float, now: float) -> int:
        """Tokens of answers that ended in the last ``seconds``."""
        return self._used(1, self._use.tokens, seconds, now)

    def _used(self, kind: int, count: Callable[[float, float], int], seconds: float, now: float) -> int:
        """Counted by whole seconds, so it holds until the next one."""
        sequence, second, kept_seconds, number = self._kept_use[kind]
        if sequence != self._guard.sequence or second != now // 1 or kept_seconds != seconds:
            number, sequence = self._read(lambda: count(seconds, now))
            self._kept_use[kind] = sequence, now // 1, seconds, number
        return number

    @property
    def load(self) -> HeadLoad | None:
        """The head's last report."""
        if self.head is not None:
            return self.head.load
        sequence, reports, sent = self._kept_reports
        if sequence != self._guard.sequence:
            reports, sent = self._reported()
        if not reports:
            return None
        at, load = reports[-1]
        since = self._sent() - sent
        return HeadLoad(load, at, since if since > 0 else 0)

    def loads(self, since: float) -> Sequence[LoadReport]:
        """The last 10 reports that are not older than ``since``, oldest first."""
        if self.head is not None:
            return self.head.loads(since)
        reports, _ = self._reported()
        if not reports or reports[0].at >= since:
            return reports
        return [report for report in reports if report.at >= since]

    def _reported(self) -> tuple[list[LoadReport], int]:
        """(all reports kept, requests sent when the last one came)"""
        sequence, reports, sent = self._kept_reports
        if sequence != self._guard.sequence:
            (reports, sent), sequence = self._read(self._reports)
            self._kept_reports = sequence, reports, sent
        return reports, sent

    def _reports(self) -> tuple[list[LoadReport], int]:
        cells, total = self.cells, int(self.cells[_LOADS])
        places = [number % REPORTS for number in range(max(0, total - REPORTS), total)]
        reports = [LoadReport(cells[_LOADS + _REPORT_AT + each], cells[_LOADS + _REPORT + each]) for each in places]
        return reports, int(cells[_LOADS + _SENT])

    # -- writing: whoever calls holds the guard ------------------------------------------------------------
    def succeeded(self, stream: bool, seconds: float, tokens: int | None, now: float) -> int:
        """The sample's serial number, for ``failed``."""
        cells = self.cells
        cells[CONSECUTIVE] = 0.0
        cells[FAILURE_RATE] *= 1.0 - OUTCOME_SHARE
        before = cells[LATENCY]
        cells[LATENCY] = before + LATENCY_SHARE * (seconds - before) if before else seconds
        self._ewmas[stream].add(seconds, now)
        return self._windows[stream].add(now, seconds, tokens or 0)

    def failed(self, stream: bool, timeout: float, now: float, serial: int | None) -> None:
        """``serial``: of what the same attempt had been counted as before it failed."""
        cells = self.cells
        cells[CONSECUTIVE] += 1
        cells[FAILURE_RATE] += OUTCOME_SHARE * (1.0 - cells[FAILURE_RATE])
        if serial is None:
            self._windows[stream].add(now, timeout, -1)
        else:
            self._windows[stream].fail(serial, timeout)
        self._ewmas[stream].fail(timeout, now)

    def recovered(self) -> None:
        """The circuit has closed: what the target was like while it failed says nothing of what it is like now.
        Failures count as whole time-outs, so a few of them would keep it last for up to an hour; unmeasured, it
        is explored and earns its place again."""
        for window in self._windows:
            window.clear()

    def ended(self, began: float, output_tokens: int, input_tokens: int, now: float) -> None:
        """An attempt is over; tokens where known, else 0."""
        if output_tokens:
            self._output.add(output_tokens, now)
        self._use.add(1, output_tokens + input_tokens, began, now)

    def streamed(self, tokens_per_second: float, now: float) -> None:
        """A stream is complete."""
        self._speed.add(tokens_per_second, now)

    def report(self, load: float, now: float) -> None:
        """What the head says of itself."""
        cells, total = self.cells, int(self.cells[_LOADS])
        cells[_LOADS + _REPORT_AT + total % REPORTS] = now
        cells[_LOADS + _REPORT + total % REPORTS] = load
        cells[_LOADS + _SENT] = self._sent()
        cells[_LOADS] = total + 1

    def repair(self) -> None:
        """Count again what follows from other cells: a writer was killed."""
        for window in self._windows:
            window.repair()
        self._output.repair()
        self._speed.repair()

    def shift(self, seconds: float) -> None:
        """The clock starts anew, ``seconds`` ahead of where these times were taken."""
        for window in self._windows:
            window.shift(seconds)
        self._output.shift(seconds)
        self._speed.shift(seconds)
        for ewma in self._ewmas:
            ewma.cells[MOMENT] += seconds
        for place in range(REPORTS):
            self.cells[_LOADS + _REPORT_AT + place] += seconds
        self._use.forget()
