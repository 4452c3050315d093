"""The fixtures of the gateway's own tests, with one process for the whole folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.gateway.conftest import gateway, lab, shared_gateway, simulator, start_gateways
from tests.gateways import Gateways

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["gateway", "lab", "shared_gateway", "simulator", "start_gateways"]


@pytest.fixture(scope="package")
def _lasting_gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateways]:
    gateways = Gateways(tmp_path_factory.mktemp("data"))
    gateways.start()
    yield gateways
    gateways.stop()


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All of the fault suite is left out of ``make test-fast``."""
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.thorough)
