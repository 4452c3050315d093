"""Strategies seen from outside: requests sent to a running installation, counted where they arrive.

Every test names its providers anew: a provider that comes back under its name brings its samples and circuits along.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from tests.load import Load
from tests.stack import document

if TYPE_CHECKING:
    from tests.simulators import ProviderHandle, Simulator
    from tests.stack import Stack

pytestmark = pytest.mark.slow
DRAWS = 800
#: Points of percent: four standard deviations of so many draws at one half; chance alone fails one run in 10,000.
CLOSE = 7.1


async def send(stack: Stack, total: int) -> None:
    load = Load(stack.url, stack.key, rate=400, total=total)
    seen = await load.run()
    assert [each for each in seen if each.status != 200] == []


def shares(providers: list[ProviderHandle]) -> list[float]:
    counts = [each.count() for each in providers]
    return [100 * count / sum(counts) for count in counts]


def test_round_robin_gives_everybody_the_same(single: Stack, simulator: Simulator) -> None:
    providers = [simulator.add(name) for name in ("first", "second", "third")]
    single.import_config(document(*providers, strategy="round_robin"))
    for _ in range(9):
        assert single.chat().status == 200
    assert [each.count() for each in providers] == [3, 3, 3]


async def test_weighted_follows_the_weights_also_with_one_down(single: Stack, simulator: Simulator) -> None:
    providers = [simulator.add(name, log=False) for name in ("half", "rest", "fifth")]
    configuration = document(*providers, strategy="weighted")
    for provider, weight in zip(configuration["providers"], (50, 30, 20), strict=True):
        provider["weight"] = weight
    await asyncio.to_thread(single.import_config, configuration)
    await send(single, DRAWS)
    assert shares(providers) == [pytest.approx(share, abs=CLOSE) for share in (50, 30, 20)]

    providers[1].stop()
    await send(single, 50)  # opens the circuit
    for each in providers:
        each.forget()
    await send(single, DRAWS)
    left = [providers[0], providers[2]]
    assert shares(left) == [pytest.approx(share, abs=CLOSE) for share in (71.4, 28.6)]
    assert sum(each.count() for each in left) == DRAWS


def test_least_latency_finds_the_really_fastest(single: Stack, simulator: Simulator) -> None:
    latencies = {"slow": 0.06, "fast": 0.01, "slowest": 0.12}
    providers = [simulator.add(name, latency=latency) for name, latency in latencies.items()]
    single.import_config(document(*providers, strategy="round_robin"))
    for _ in range(60):
        single.chat()
    assert [each.count() for each in providers] == [20, 20, 20]
    for each in providers:
        each.forget()
    single.import_config(document(*providers, strategy="least_latency"))  # a publish keeps what was measured
    for _ in range(20):
        single.chat()
    assert [each.count() for each in providers] == [0, 20, 0]


def test_least_cost_finds_the_cheapest_for_the_model_that_would_be_used(single: Stack, simulator: Simulator) -> None:
    providers = [simulator.add(name) for name in ("dear", "cheap", "middling")]
    configuration: dict[str, Any] = document(*providers, strategy="least_cost")
    # For gpt-4o the first is the cheapest; it is the second for gpt-4o-mini, which is what its target would use.
    for provider, price in zip(configuration["providers"], (9.0, 1.0, 5.0), strict=True):
        provider["prices"] = {"gpt-4o": {"input": 10 - price, "output": 10}, "mini": {"input": price, "output": 10}}
    for target in configuration["profiles"][0]["targets"]:
        target["model"] = "mini"
    single.import_config(configuration)
    for _ in range(5):
        assert single.chat("gpt-4o").headers["x-route-provider"] == "cheap"
