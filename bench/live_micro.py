"""What the live state costs per call, in private memory and shared: ``python -m bench.live_micro``.

Prints a table of microseconds per call: the best of 40 short rounds, what it costs when nothing else runs. The last
column is the same while a second process does nothing but the same on the same target and pool, so that every lock
is fought for.
"""

from __future__ import annotations

import os
import signal
import tempfile
import time
from itertools import count, cycle
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

from routes.engine.limits import KeyLimits
from routes.engine.local_live import LocalLiveState
from routes.engine.tables.keys import Permit
from routes.engine.types import Outcome
from routes.gateway import limits as gateway_limits
from routes.gateway.auth import AccessKey
from routes.gateway.exchange import Exchange
from routes.live import SharedLiveState
from tests.documents import access_key, an_id, profile, provider, snapshot, target

if TYPE_CHECKING:
    from collections.abc import Callable

    from routes.engine.tables.state import TableState

ROUNDS, CALLS = 40, 1_000
NOW = 1000.0
WALL = 1.8e9
SUCCESS = Outcome("success", None, 0.2, 0.05, 200, True)
SNAPSHOT = snapshot(
    [provider("a"), provider("b"), provider("c", max_concurrency=1000)],
    [profile(targets=[target("a"), target("b"), target("c")])],
)
A, B, CAPPED = SNAPSHOT.profiles["default"].targets
POOL = SNAPSHOT.profiles["default"].id
ACCESS_KEY = an_id("key", "bench")
UNLIMITED = AccessKey.from_document(access_key("sbx_" + "bench" * 8))
KEYS = [Random(1).randbytes(16) for _ in range(1000)]


def workloads(live: TableState) -> dict[str, Callable[[], object]]:
    live.published(SNAPSHOT)
    ids = [each.id for each in (A, B, CAPPED)]
    stats = live.stats(A.id)
    keys = cycle(KEYS)
    guard = live._records.of(A.id).guard

    def lock() -> None:
        with guard:
            pass

    def attempt(to: object = A) -> None:
        claim = live.claim(to, NOW)  # type: ignore[arg-type]
        assert claim is not None
        live.settle(claim, to, SUCCESS, NOW)  # type: ignore[arg-type]
        live.release(claim, NOW, 200, 1000)

    def claim_and_release() -> None:
        claim = live.claim(A, NOW)
        assert claim is not None
        live.release(claim, NOW)

    def limited(limits: KeyLimits, tokens: int = 1000) -> None:
        permit = live.enter_key(ACCESS_KEY, limits, next(moments))
        assert isinstance(permit, Permit)
        if tokens:
            live.reserve(permit, tokens, NOW, WALL)
        live.leave_key(permit, 500, 20, NOW, WALL)

    def seated() -> None:
        seat = live.enter_profile(POOL, 1000, NOW)
        assert seat is not None
        live.leave_profile(seat)

    moments = (NOW + number / 1000 for number in count())  # a thousand requests a second
    unlimited = Exchange(bytes(16), "", NOW, 0, "POST", "/", b"", [], key=UNLIMITED)

    attempt(B)
    for key in KEYS:
        live.set_pin(key, A.id, NOW, 1800.0, profile_id=POOL, session="one of many sessions")
    return {
        "lock and unlock": lock,
        "claim + settle + release": attempt,
        "the same, capped concurrency": lambda: attempt(CAPPED),
        "claim + release": claim_and_release,
        "rotate": lambda: live.rotate(POOL),
        "no limits: enter": lambda: gateway_limits.enter(None, unlimited),  # type: ignore[arg-type]  # not looked at
        "limits: requests and concurrency": lambda: limited(KeyLimits(rpm=1e9, concurrency=1e9), 0),
        "limits: and tokens and a budget": lambda: limited(KeyLimits(1e9, 1e12, 1e9, month=1e15)),
        "limits: a seat on a profile": seated,
        "pin: look up": lambda: live.pin(next(keys), NOW),
        "pin: set": lambda: live.set_pin(next(keys), A.id, NOW, 1800.0, profile_id=POOL, session="a session"),
        "last input: remember": lambda: live.remember_input(next(keys), 1000, NOW),
        "last input: read": lambda: live.last_input(KEYS[0], NOW),
        "suspects, nothing wrong": lambda: live.suspects(NOW),
        "stats of 3 targets": lambda: live.stats_of(ids),
        "means, nothing new": lambda: live.stats(B.id).means_s(True, NOW),
        "peak EWMA + in flight": lambda: (stats.ewma_s(True, NOW), stats.in_flight),
        "requests in 60 s": lambda: stats.requests_in(60.0, NOW),
    }


def measure(call: Callable[[], object]) -> float:
    """Microseconds per call, best round."""
    best = float("inf")
    for _ in range(ROUNDS):
        start = time.perf_counter()
        for _ in range(CALLS):
            call()
        best = min(best, time.perf_counter() - start)
    return best / CALLS * 1e6


def rival(path: Path, name: str) -> int:
    """Start a process that does ``name`` over and over."""
    pid = os.fork()
    if pid == 0:
        call = workloads(SharedLiveState(path, "rival"))[name]
        while True:
            for _ in range(1000):
                call()
    return pid


def main() -> None:
    path = Path(tempfile.mkdtemp()) / "live.state"
    local, shared = LocalLiveState(), SharedLiveState(path, "bench")
    shared.tend = lambda now: float("inf")  # type: ignore[method-assign]  # that is once a second, not per call
    print("| µs per call | private | shared | shared, with a rival |")
    print("|---|---|---|---|")
    alone = {name: measure(call) for name, call in workloads(local).items()}
    ours = workloads(shared)
    for name in alone:
        quiet = measure(ours[name])
        pid = rival(path, name)
        try:
            time.sleep(0.3)
            busy = measure(ours[name])
        finally:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        print(f"| {name} | {alone[name]:.2f} | {quiet:.2f} | {busy:.2f} |", flush=True)


if __name__ == "__main__":
    main()
