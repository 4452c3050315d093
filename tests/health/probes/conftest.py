"""What tests of probes share: a data folder, an admin, a gateway's hold on the live state, providers to ask."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from health.probes import runner as runners
from tests.control.conftest import admin, both_databases, env, gateway
from tests.simulators import Simulator, simulator

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.simulators import ProviderHandle

__all__ = ("admin", "both_databases", "env", "gateway", "simulator")


@pytest.fixture(scope="module")
def _wires() -> Iterator[dict[str, ProviderHandle]]:
    with Simulator() as running:
        wires = ("openai", "anthropic", "generic")
        yield {each.wire: each for each in running.add_all([{"name": wire, "wire": wire} for wire in wires])}


@pytest.fixture
def wires(_wires: dict[str, ProviderHandle]) -> dict[str, ProviderHandle]:
    """A simulated provider of each wire format, as new."""
    for each in _wires.values():
        each.reset()
    return _wires


@pytest.fixture
def openai(wires: dict[str, ProviderHandle]) -> ProviderHandle:
    return wires["openai"]


@pytest.fixture
def asking() -> Iterator[None]:
    """This process may probe; what it has under way at the end of the test is given up."""
    yield
    runner, runners._runner = runners._runner, None
    if runner is not None:
        runner.stop()
