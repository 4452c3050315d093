"""Windows of numbers: samples with their means, peak EWMAs, rings of values, use by second and minute.

Each works on a run of *cells* (see ``circuit``) that several processes may share, and knows nothing of locks: whoever
writes holds the target's guard. Sums are kept beside what they sum up, so that reading costs no walk; ``repair`` sums
up again after a writer was killed in between. Imports the vocabulary.
"""

from __future__ import annotations

from array import array
from math import ceil, exp, inf
from typing import TYPE_CHECKING

from routes.engine.live import Means

if TYPE_CHECKING:
    from collections.abc import Sequence

    from routes.engine.circuit import Cells

#: Outcomes kept per window, and for how long.
SAMPLES = 100
MAX_AGE = 3600.0
#: Time constant of the peak EWMA, seconds.
TAU = 10.0
#: What a failed attempt does to the peak EWMA: so many times the estimate, at most its time-out. A failure
#: must cost something even when it was quick, or a target that refuses at once looks like the fastest; the
#: whole time-out for every single error would drown all differences in latency.
FAILURE_PENALTY = 3.0
#: Buckets of use, by second and by minute.
USE = 60

NOTHING = Means(None, 0, None, 0)

# Cells of a window. TOTAL: samples ever; the last COUNT of them are in.
TOTAL, COUNT, SECONDS, ANSWERS, ANSWERS_S, ANSWER_TOKENS, FAILURES, TIMEOUTS_S = range(8)
_AT = 8
_SECONDS = _AT + SAMPLES
_TOKENS = _SECONDS + SAMPLES  # -1: the attempt failed
WINDOW_SIZE = _TOKENS + SAMPLES
# Cells of a ring of plain values: TOTAL, COUNT, sum, then moments and values.
_SUM = 2
_RING_AT = 3
_RING_VALUE = _RING_AT + SAMPLES
RING_SIZE = _RING_VALUE + SAMPLES
# Cells of an EWMA.
_ADDED, _VALUE, MOMENT = range(3)
EWMA_SIZE = 3
# Cells of use: newest second and minute, then requests and tokens by each.
_NEWEST = (0, 1)
_REQUESTS = (2, 2 + 2 * USE)
_USED = (2 + USE, 2 + 3 * USE)
USE_SIZE = 2 + 4 * USE

_NO_SUMS = array("d", bytes(8 * 7))
_NO_USE = array("d", bytes(8 * USE))


class SampleWindow:
    """The last 100 samples of one kind of request, with running sums: a mean costs no walk."""

    __slots__ = ("cells",)

    def __init__(self, cells: Cells | None = None) -> None:
        self.cells: Cells = [0.0] * WINDOW_SIZE if cells is None else cells

    def add(self, at: float, seconds: float, tokens: int) -> int:
        """``seconds``: first event (streams) or latency; the time-out if it failed, and ``tokens`` -1 then.
        The serial number of the sample."""
        cells = self.cells
        serial = int(cells[TOTAL])
        place = serial % SAMPLES
        if cells[COUNT] >= SAMPLES:
            self._sum(place, -1)  # the oldest sample is where the new one goes
        else:
            cells[COUNT] += 1
        cells[_AT + place] = at
        cells[_SECONDS + place] = seconds
        cells[_TOKENS + place] = tokens
        self._sum(place, 1)
        cells[TOTAL] = serial + 1
        while cells[_AT + self._oldest()] < at - MAX_AGE:
            self._count(self._oldest(), -1)
        return serial

    def fail(self, serial: int, seconds: float) -> None:
        """What was a success so far has failed after all (a stream that was cut)."""
        total = self.cells[TOTAL]
        if total - self.cells[COUNT] <= serial < total:
            place = serial % SAMPLES
            self._sum(place, -1)
            self.cells[_SECONDS + place] = seconds
            self.cells[_TOKENS + place] = -1.0
            self._sum(place, 1)

    def clear(self) -> None:
        self.cells[COUNT : TIMEOUTS_S + 1] = _NO_SUMS

    def means(self, now: float) -> tuple[Means, float]:
        """Means over what is not too old, and until when they hold if nothing is added."""
        cells = self.cells
        count = cells[COUNT]
        if not count:
            return NOTHING, inf
        oldest = cells[_AT + self._oldest()]
        if oldest >= now - MAX_AGE:
            return _means(cells[COUNT : TIMEOUTS_S + 1]), oldest + MAX_AGE
        inside = SampleWindow()  # rare: nothing was added for long
        for at, seconds, tokens in self._inside(now):
            inside.add(at, seconds, int(tokens))
        return _means(inside.cells[COUNT : TIMEOUTS_S + 1]), now

    def percentile(self, percent: float, now: float) -> tuple[float | None, int]:
        """Nearest rank."""
        values = sorted(seconds for _, seconds, _ in self._inside(now))
        return _nearest_rank(values, percent), len(values)

    def answered(self, percents: Sequence[float], now: float) -> tuple[list[float | None], int]:
        """Nearest rank of several, among what did not fail."""
        values = sorted(seconds for _, seconds, tokens in self._inside(now) if tokens >= 0)
        return [_nearest_rank(values, percent) for percent in percents], len(values)

    def repair(self) -> None:
        """Sum up again after a writer was killed."""
        count = min(int(self.cells[COUNT]), int(self.cells[TOTAL]), SAMPLES)
        self.clear()
        total = int(self.cells[TOTAL])
        for serial in range(total - count, total):
            self._count(serial % SAMPLES, 1)

    def shift(self, seconds: float) -> None:
        for place in range(SAMPLES):
            self.cells[_AT + place] += seconds

    def _inside(self, now: float) -> list[tuple[float, float, float]]:
        cells, total = self.cells, int(self.cells[TOTAL])
        places = [serial % SAMPLES for serial in range(total - int(cells[COUNT]), total)]
        samples = [(cells[_AT + place], cells[_SECONDS + place], cells[_TOKENS + place]) for place in places]
        return [sample for sample in samples if sample[0] >= now - MAX_AGE]

    def _oldest(self) -> int:
        return int(self.cells[TOTAL] - self.cells[COUNT]) % SAMPLES

    def _count(self, place: int, sign: int) -> None:
        """Take a sample in at the new end, or out at the old one."""
        cells = self.cells
        if sign < 0 and cells[COUNT] <= 1:
            self.clear()  # exact again, whatever rounding has left
            return
        cells[COUNT] += sign
        self._sum(place, sign)

    def _sum(self, place: int, sign: int) -> None:
        cells = self.cells
        seconds, tokens = sign * cells[_SECONDS + place], cells[_TOKENS + place]
        cells[SECONDS] += seconds
        if tokens < 0:
            cells[FAILURES] += sign
            cells[TIMEOUTS_S] += seconds
        elif tokens:
            cells[ANSWERS] += sign
            cells[ANSWERS_S] += seconds
            cells[ANSWER_TOKENS] += sign * tokens


def _nearest_rank(values: Sequence[float], percent: float) -> float | None:
    """``values`` in order."""
    return values[max(0, ceil(percent / 100.0 * len(values)) - 1)] if values else None


def _means(sums: Sequence[float] | memoryview[float]) -> Means:
    """From the cells COUNT to TIMEOUTS_S of a window."""
    count, seconds, answers, answers_s, answer_tokens, failures, timeouts_s = sums
    if not count:
        return NOTHING
    if not answers or not answer_tokens:
        return Means(seconds / count, int(count), None, 0)
    tokens = answer_tokens + failures * (answer_tokens / answers)
    return Means(seconds / count, int(count), (answers_s + timeouts_s) / tokens, int(answers + failures))


class PeakEwma:
    """Rises to a peak at once, falls back with time constant TAU. On reading it decays towards 0, so that a
    target which was slow once is tried again although nobody sends it anything."""

    __slots__ = ("cells",)

    def __init__(self, cells: Cells | None = None) -> None:
        self.cells: Cells = [0.0] * EWMA_SIZE if cells is None else cells

    def add(self, seconds: float, now: float) -> None:
        cells = self.cells
        value = cells[_VALUE]
        if cells[_ADDED] and seconds < value:
            kept = exp(-max(0.0, now - cells[MOMENT]) / TAU)
            seconds = value * kept + seconds * (1.0 - kept)
        cells[_VALUE] = seconds
        cells[MOMENT] = now
        cells[_ADDED] = 1.0

    def fail(self, timeout: float, now: float) -> None:
        estimate = self.read(now)
        self.add(timeout if estimate is None else min(timeout, FAILURE_PENALTY * estimate), now)

    def read(self, now: float) -> float | None:
        """Seconds, or None without samples."""
        cells = self.cells
        if not cells[_ADDED]:
            return None
        return cells[_VALUE] * exp(-max(0.0, now - cells[MOMENT]) / TAU)


class Ring:
    """The last 100 of some value, and their sum."""

    __slots__ = ("cells",)

    def __init__(self, cells: Cells) -> None:
        self.cells = cells

    def add(self, value: float, now: float) -> None:
        cells = self.cells
        place = int(cells[TOTAL]) % SAMPLES
        if cells[COUNT] >= SAMPLES:
            cells[_SUM] -= cells[_RING_VALUE + place]
        else:
            cells[COUNT] += 1
        cells[_RING_AT + place] = now
        cells[_RING_VALUE + place] = value
        cells[_SUM] += value
        cells[TOTAL] += 1

    def mean(self) -> float | None:
        return self.cells[_SUM] / self.cells[COUNT] if self.cells[COUNT] else None

    def mean_since(self, moment: float) -> tuple[tuple[float | None, int], float]:
        """((mean of what is not older, how many), moment of the oldest of those)"""
        count = int(self.cells[COUNT])
        moments, values = self.cells[_RING_AT : _RING_AT + count], self.cells[_RING_VALUE : _RING_VALUE + count]
        if count and (oldest := min(moments)) >= moment:
            return (sum(values) / count, count), oldest
        inside = [(at, value) for at, value in zip(moments, values, strict=True) if at >= moment]
        if not inside:
            return (None, 0), inf
        return (sum(value for _, value in inside) / len(inside), len(inside)), min(at for at, _ in inside)

    def repair(self) -> None:
        count = int(min(self.cells[COUNT], self.cells[TOTAL], SAMPLES))
        self.cells[COUNT] = count
        self.cells[_SUM] = sum(self.cells[_RING_VALUE : _RING_VALUE + count])

    def shift(self, seconds: float) -> None:
        for place in range(SAMPLES):
            self.cells[_RING_AT + place] += seconds


class Use:
    """Requests and tokens by second for a minute, and by minute for an hour."""

    __slots__ = ("cells",)

    def __init__(self, cells: Cells) -> None:
        self.cells = cells

    def add(self, requests: int, tokens: int, began: float, now: float) -> None:
        """The attempt began then and its answer is complete now: tokens count now, the request when it began."""
        cells = self.cells
        if now // 1.0 > cells[0]:
            self._advance(0, now // 1.0)
            self._advance(1, now // 60.0)
        second, minute = cells[0], cells[1]
        if began // 1.0 > second - USE:
            cells[_REQUESTS[0] + int(began) % USE] += requests
        if began // 60.0 > minute - USE:
            cells[_REQUESTS[1] + int(began // 60.0) % USE] += requests
        if tokens:
            cells[_USED[0] + int(second) % USE] += tokens
            cells[_USED[1] + int(minute) % USE] += tokens

    def requests(self, seconds: float, now: float) -> int:
        return self._sum(_REQUESTS, seconds, now)

    def tokens(self, seconds: float, now: float) -> int:
        return self._sum(_USED, seconds, now)

    def forget(self) -> None:
        """Numbers of seconds and minutes mean nothing any more: the clock starts anew."""
        for start in (*_REQUESTS, *_USED):
            self.cells[start : start + USE] = _NO_USE
        self.cells[_NEWEST[0]] = self.cells[_NEWEST[1]] = 0.0

    def _advance(self, scale: int, number: float) -> None:
        cells = self.cells
        steps = number - cells[_NEWEST[scale]]
        if steps <= 0:
            return
        requests, used = _REQUESTS[scale], _USED[scale]
        if steps >= USE:
            cells[requests : requests + USE] = _NO_USE
            cells[used : used + USE] = _NO_USE
        else:
            for step in range(int(steps)):
                slot = int(number - step) % USE
                cells[requests + slot] = cells[used + slot] = 0.0
        cells[_NEWEST[scale]] = number

    def _sum(self, starts: tuple[int, int], seconds: float, now: float) -> int:
        scale, width = (0, 1.0) if seconds <= USE else (1, 60.0)
        newest = int(self.cells[_NEWEST[scale]])
        oldest = max(newest - USE + 1, int(now // width) - ceil(seconds / width) + 1)
        if oldest > newest:
            return 0
        start, first, last = starts[scale], oldest % USE, newest % USE
        if first <= last:
            return int(sum(self.cells[start + first : start + last + 1]))
        return int(sum(self.cells[start + first : start + USE]) + sum(self.cells[start : start + last + 1]))
