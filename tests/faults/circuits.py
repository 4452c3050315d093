"""A host's circuits, slots and quarantines, read from its live state beside the gateways that use it.

Whoever looks is a process of the host as well: while it looks, the last gateway to leave is not the last process.
"""

from __future__ import annotations

import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any

from routes.engine.snapshot import Snapshot
from routes.live import SharedLiveState
from tests.gateways import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from routes.engine.circuit import CircuitView
    from routes.engine.live import Quarantine
    from routes.engine.snapshot import Target
    from tests.gateways import Answer
    from tests.simulators import ProviderHandle


class Look:
    """Targets are named by their provider's slug: none of these tests names a model with its target."""

    def __init__(self, live: SharedLiveState, document: dict[str, Any]) -> None:
        self.live = live
        snapshot = Snapshot.from_document({"number": 0, **document})
        self._targets = {each.provider.slug: each for profile in snapshot.profiles.values() for each in profile.targets}
        live.published(snapshot)

    def target(self, slug: str) -> Target:
        return self._targets[slug]

    def circuit(self, slug: str) -> CircuitView:
        return self.live.circuit(self.target(slug), time.monotonic())

    def changes(self, slug: str) -> list[tuple[str, str]]:
        """What its circuit went through, oldest first, by the host's log."""
        lines, lost = self.live.happenings(0)
        assert not lost
        own = sorted((each for each in lines if each.about == self.target(slug).id), key=lambda each: each.at)
        return [(each.before, each.after) for each in own]

    def quarantine(self, slug: str, model: str = "gpt-4o") -> Quarantine | None:
        return self.live.quarantined_until(self.target(slug), model, time.monotonic())

    def pins(self) -> int:
        return len(list(self.live.pins(time.monotonic())))

    def wait_for(self, slug: str, state: str, seconds: float = 10.0) -> None:
        wait_until(lambda: self.circuit(slug).state == state, seconds, f"{slug} is {state}")

    def wait_until_free(self, slug: str, model: str = "gpt-4o") -> None:
        wait_until(lambda: self.quarantine(slug, model) is None, what=f"{slug} is in no quarantine")


@contextmanager
def looking(data: Path, document: dict[str, Any], generations: dict[str, int] | None = None) -> Iterator[Look]:
    """``generations``: of the credentials, by provider id, as the overlay has them."""
    with closing(SharedLiveState(data / "live.state", "test")) as live:
        live.set_credentials(generations or {})
        yield Look(live, document)


class Burst:
    """Many requests at once (``ask`` gets the number of each), whose trials at one provider hang until it is stopped:
    nobody gets a slot because another one has given it back."""

    def __init__(self, ask: Callable[[int], Answer], weak: ProviderHandle, count: int) -> None:
        self._weak = weak
        weak.fail("hang_before_headers")
        weak.forget()
        self._pool = ThreadPoolExecutor(count)
        self._asked = [self._pool.submit(ask, number) for number in range(count)]

    def settled(self, trials: int) -> int:
        """How many reached the provider by the time that all but ``trials`` requests were answered; more would have
        left fewer to be answered."""
        rest = len(self._asked) - trials
        wait_until(lambda: sum(each.done() for each in self._asked) >= rest, 20, f"{rest} answers")
        self._weak.wait_for(lambda requests: len(requests) >= trials)
        return self._weak.count()

    def end(self) -> Counter[int]:
        """Let go of what hangs; how many answers of which status there were in all."""
        self._weak.stop()
        answers = [each.result() for each in self._asked]
        self._pool.shutdown()
        self._weak.start()
        self._weak.heal()
        return Counter(answer.status for answer in answers)
