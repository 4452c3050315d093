"""Samples of one target: what its last answers were like. Pure numbers, passive: they rank, they never remove.

Two windows of the last 100 outcomes not older than an hour, one for streams (time to first event) and one for
other requests (latency, and latency per output token). A failed attempt counts as its time-out. Beside them a
peak EWMA per kind. Imports the vocabulary. Writers hold the lock of
``LocalLiveState``.
"""

from __future__ import annotations

from collections import deque
from math import ceil, exp
from typing import TYPE_CHECKING

from routes.engine.live import HeadLoad, LoadReport, Means

if TYPE_CHECKING:
    from threading import Lock

#: Outcomes kept per window, and for how long.
SAMPLES = 100
MAX_AGE = 3600.0
#: Time constant of the peak EWMA, seconds.
TAU = 10.0
#: What a failed attempt does to the peak EWMA: so many times the estimate, at most its time-out. A failure
#: must cost something even when it was quick, or a target that refuses at once looks like the fastest; the
#: whole time-out for every single error would drown all differences in latency.
FAILURE_PENALTY = 3.0

NOTHING = Means(None, 0, None, 0)


class Sample:
    """One outcome. ``seconds``: first event (streams) or latency; the time-out if it failed."""

    __slots__ = ("at", "failed", "seconds", "tokens")

    def __init__(self, at: float, seconds: float, tokens: int, failed: bool) -> None:
        self.at = at
        self.seconds = seconds
        self.tokens = tokens
        self.failed = failed


class SampleWindow:
    """The last 100 samples of one kind of request, with running sums: reading a mean is O(1)."""

    __slots__ = (
        "_answer_tokens",
        "_answers",
        "_answers_s",
        "_failures",
        "_lock",
        "_means",
        "_samples",
        "_seconds",
        "_timeouts_s",
    )

    def __init__(self, lock: Lock) -> None:
        self._lock = lock
        self._samples: deque[Sample] = deque()
        self._means: Means | None = None
        self._seconds = 0.0
        # of those that reported output tokens; failures apart, because they have a time but no tokens
        self._answers = 0
        self._answers_s = 0.0
        self._answer_tokens = 0
        self._failures = 0
        self._timeouts_s = 0.0

    def add(self, sample: Sample) -> None:
        samples = self._samples
        if len(samples) >= SAMPLES:
            self._count(samples.popleft(), -1)
        samples.append(sample)
        self._count(sample, 1)

    def change(self, sample: Sample, seconds: float, failed: bool) -> None:
        """What was a success so far has failed after all (a stream that was cut)."""
        held = sample in self._samples
        if held:
            self._count(sample, -1)
        sample.seconds, sample.failed = seconds, failed
        if held:
            self._count(sample, 1)

    def clear(self) -> None:
        while self._samples:
            self._count(self._samples.popleft(), -1)

    def means(self, now: float) -> Means:
        """Means over what is not too old; computed once per change. The only method that takes the lock; whoever
        calls the others holds it."""
        samples = self._samples
        means = self._means
        if means is None or (samples and samples[0].at < now - MAX_AGE):
            with self._lock:
                while samples and samples[0].at < now - MAX_AGE:
                    self._count(samples.popleft(), -1)
                means = self._compute()
        return means

    def percentile(self, percent: float, now: float) -> tuple[float | None, int]:
        """Nearest rank."""
        self.means(now)
        values = sorted(sample.seconds for sample in list(self._samples))
        if not values:
            return None, 0
        return values[max(0, ceil(percent / 100.0 * len(values)) - 1)], len(values)

    def _compute(self) -> Means:
        count = len(self._samples)
        if not count:
            means = NOTHING
        elif not self._answers:
            means = Means(self._seconds / count, count, None, 0)
        else:
            typical = self._answer_tokens / self._answers
            tokens = self._answer_tokens + self._failures * typical
            per_token = (self._answers_s + self._timeouts_s) / tokens
            means = Means(self._seconds / count, count, per_token, self._answers + self._failures)
        self._means = means
        return means

    def _count(self, sample: Sample, sign: int) -> None:
        self._means = None
        self._seconds += sign * sample.seconds
        if sample.failed:
            self._failures += sign
            self._timeouts_s += sign * sample.seconds
        elif sample.tokens:
            self._answers += sign
            self._answers_s += sign * sample.seconds
            self._answer_tokens += sign * sample.tokens


class PeakEwma:
    """Rises to a peak at once, falls back with time constant TAU. On reading it decays towards 0, so that a
    target which was slow once is tried again although nobody sends it anything."""

    __slots__ = ("_at", "_value")

    def __init__(self) -> None:
        self._value: float | None = None
        self._at = 0.0

    def add(self, seconds: float, now: float) -> None:
        if self._value is None or seconds >= self._value:
            self._value = seconds
        else:
            kept = exp(-max(0.0, now - self._at) / TAU)
            self._value = self._value * kept + seconds * (1.0 - kept)
        self._at = now

    def fail(self, timeout: float, now: float) -> None:
        estimate = self.read(now)
        self.add(timeout if estimate is None else min(timeout, FAILURE_PENALTY * estimate), now)

    def read(self, now: float) -> float | None:
        """Seconds, or None without samples."""
        if self._value is None:
            return None
        return self._value * exp(-max(0.0, now - self._at) / TAU)


class TargetStats:
    """All figures of one target. ``in_flight`` counts attempts between claim and release."""

    __slots__ = (
        "_ewma",
        "_tokens",
        "_tokens_sum",
        "_windows",
        "consecutive_failures",
        "_requests",
        "_speeds",
        "_used",
        "in_flight",
        "mean_output_tokens",
        "reports",
        "sent",
        "sent_at_report",
        "success_rate",
    )

    def __init__(self, lock: Lock) -> None:
        self.in_flight = 0
        self.consecutive_failures = 0
        self._windows = (SampleWindow(lock), SampleWindow(lock))  # others, streams
        self._ewma = (PeakEwma(), PeakEwma())
        self._tokens: deque[int] = deque()
        self._tokens_sum = 0
        self.success_rate = 1.0
        self._speeds: deque[tuple[float, float]] = deque(maxlen=SAMPLES)
        self._requests: deque[float] = deque(maxlen=100_000)
        self._used: deque[tuple[float, int]] = deque(maxlen=100_000)
        self.reports: deque[LoadReport] = deque(maxlen=10)
        self.sent = 0
        self.sent_at_report = 0
        self.mean_output_tokens: float | None = None  # of the last 100 answers that reported them

    def means_s(self, stream: bool, now: float) -> Means:
        """Both means of the window for requests of that kind."""
        return self._windows[stream].means(now)

    def mean_latency_s(self, stream: bool, now: float) -> tuple[float | None, int]:
        """(mean seconds, samples): first event of streams, latency of others."""
        return self._windows[stream].means(now)[:2]

    def ewma_s(self, stream: bool, now: float) -> float | None:
        """Peak EWMA of the first event (streams) or the latency (others), decayed to ``now``."""
        return self._ewma[stream].read(now)

    def succeeded(self, stream: bool, seconds: float, tokens: int | None, now: float) -> Sample:
        self.consecutive_failures = 0
        self.success_rate = 0.9 * self.success_rate + 0.1
        sample = Sample(now, seconds, tokens or 0, False)
        self._windows[stream].add(sample)
        self._ewma[stream].add(seconds, now)
        return sample

    def failed(self, stream: bool, timeout: float, now: float, sample: Sample | None) -> None:
        """``sample``: what the same attempt had been counted as before it failed."""
        self.consecutive_failures += 1
        self.success_rate *= 0.9
        if sample is None:
            self._windows[stream].add(Sample(now, timeout, 0, True))
        else:
            self._windows[stream].change(sample, timeout, True)
        self._ewma[stream].fail(timeout, now)

    def percentile_s(self, stream: bool, percent: float, now: float) -> tuple[float | None, int]:
        """(nearest-rank percentile, samples)."""
        return self._windows[stream].percentile(percent, now)

    def begun(self, now: float) -> None:
        """An attempt is sent."""
        self.sent += 1
        self._requests.append(now)

    def used(self, tokens: int, now: float) -> None:
        """An answer has cost so many tokens, input and output."""
        self._used.append((now, tokens))

    def requests_in(self, seconds: float, now: float) -> int:
        """Attempts begun in the last ``seconds``."""
        return sum(1 for at in list(self._requests) if at > now - seconds)

    def tokens_in(self, seconds: float, now: float) -> int:
        """Tokens of answers that ended in the last ``seconds``."""
        return sum(tokens for at, tokens in list(self._used) if at > now - seconds)

    def streamed(self, tokens_per_second: float, now: float) -> None:
        """A stream is complete."""
        self._speeds.append((now, tokens_per_second))

    def speed(self, now: float) -> tuple[float | None, int]:
        """(mean output tokens per second of streams, samples)."""
        inside = [speed for at, speed in list(self._speeds) if at >= now - MAX_AGE]
        return (sum(inside) / len(inside) if inside else None), len(inside)

    @property
    def load(self) -> HeadLoad | None:
        """The head's last report."""
        if not self.reports:
            return None
        return HeadLoad(self.reports[-1].load, self.reports[-1].at, self.sent - self.sent_at_report)

    def loads(self, since: float) -> list[LoadReport]:
        """Reports not older than ``since``, oldest first."""
        return [report for report in self.reports if report.at >= since]

    def report(self, load: float, now: float) -> None:
        """What the head says of itself."""
        self.reports.append(LoadReport(now, load))
        self.sent_at_report = self.sent

    def recovered(self) -> None:
        """The circuit has closed: what the target was like while it failed says nothing of what it is like now.
        Failures count as whole time-outs, so a few of them would keep it last for up to an hour; unmeasured, it
        is explored and earns its place again."""
        for window in self._windows:
            window.clear()

    def answered(self, tokens: int) -> None:
        """An answer of so many output tokens is complete."""
        if len(self._tokens) >= SAMPLES:
            self._tokens_sum -= self._tokens.popleft()
        self._tokens.append(tokens)
        self._tokens_sum += tokens
        self.mean_output_tokens = self._tokens_sum / len(self._tokens)
