"""One OpenAI and one Anthropic provider, as most of these tests want them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.simulators import ProviderHandle, Simulator

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def shared_simulator() -> Iterator[Simulator]:
    with Simulator() as running:
        running.add("acme")
        running.add("claudia", "anthropic")
        yield running


@pytest.fixture
def acme(shared_simulator: Simulator) -> ProviderHandle:
    """Speaks OpenAI; as new for each test."""
    provider = shared_simulator.providers["acme"]
    provider.reset()
    return provider


@pytest.fixture
def claudia(shared_simulator: Simulator) -> ProviderHandle:
    """Speaks Anthropic; as new for each test."""
    provider = shared_simulator.providers["claudia"]
    provider.reset()
    return provider
