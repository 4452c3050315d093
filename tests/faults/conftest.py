"""The fixtures of the gateway's own tests, with one process for the whole folder, and two where it takes two."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.gateway.conftest import gateway, lab, shared_gateway, simulator, start_gateways
from tests.gateway.lab import Lab
from tests.gateways import Gateways

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.simulators import Simulator

__all__ = ["gateway", "lab", "shared_gateway", "simulator", "start_gateways"]


@pytest.fixture(scope="package")
def _lasting_gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateways]:
    gateways = Gateways(tmp_path_factory.mktemp("data"))
    gateways.start()
    yield gateways
    gateways.stop()


@pytest.fixture(scope="package")
def _two_gateways(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateways]:
    gateways = Gateways(tmp_path_factory.mktemp("data"), 2)
    gateways.start()
    yield gateways
    gateways.stop()


@pytest.fixture
def lab_of_two(_two_gateways: Gateways, simulator: Simulator) -> Lab:
    """A lab whose gateway is two processes on one socket."""
    _two_gateways.forget()
    return Lab(_two_gateways, simulator)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All of the fault suite is left out of ``make test-fast``."""
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.thorough)
