"""What tests of the shared live state have in common: a revision, and other processes to share with."""

from __future__ import annotations

import os
import signal
import sys
import traceback
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import orjson

from routes.engine.types import Outcome
from tests.documents import profile, provider, snapshot, target

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from routes.engine.live import LiveState
    from routes.engine.snapshot import Snapshot, Target
    from routes.engine.types import Transition

NOW = 1000.0


def revision(slugs: str = "abc", number: int = 1, strategy: str = "round_robin", **circuit: Any) -> Snapshot:
    places = [target(slug) for slug in slugs]
    providers = [provider(slug, circuit=circuit) for slug in slugs]
    return snapshot(providers, [profile(targets=places, strategy=strategy)], number=number)


def targets(of: Snapshot) -> dict[str, Target]:
    """By slug of their provider."""
    return {each.provider.slug: each for each in of.profiles["default"].targets}


def attempt(live: LiveState, to: Target, verdict: Any = "success", now: float = NOW) -> list[Transition]:
    claim = live.claim(to, now)
    assert claim is not None
    live.settle(claim, to, Outcome(verdict, None, 0.1), now)
    live.release(claim, now)
    return claim.transitions


class Process:
    """A forked child that runs ``work`` and hands back what it returns, as JSON."""

    def __init__(self, work: Callable[..., Any], *given: Any) -> None:
        reading, writing = os.pipe()
        self._reading = reading
        self.pid = os.fork()
        if self.pid == 0:
            os.close(reading)
            code = 1
            try:
                with os.fdopen(writing, "wb") as pipe:
                    result = work(*given)
                    pipe.write(orjson.dumps(result))
                code = 0
            except BaseException:
                traceback.print_exc(file=sys.__stderr__)
            finally:
                os._exit(code)
        os.close(writing)
        self._done = False

    def result(self) -> Any:
        """Wait for its end."""
        with os.fdopen(self._reading, "rb") as pipe:
            answer = pipe.read()
        self._reading = -1
        _, status = os.waitpid(self.pid, 0)
        self._done = True
        assert status == 0, f"the process ended with {status}"
        return orjson.loads(answer)

    def kill(self) -> None:
        if not self._done:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
            self._done = True
        if self._reading >= 0:
            os.close(self._reading)
            self._reading = -1


@contextmanager
def processes(count: int, work: Callable[..., Any], *given: Any) -> Iterator[list[Process]]:
    """``count`` of them at once; each gets its number as the last argument."""
    running = [Process(work, *given, number) for number in range(count)]
    try:
        yield running
    finally:
        for each in running:
            each.kill()
