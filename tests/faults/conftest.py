"""The fixtures of the gateway's own tests, with one process for the whole folder."""

from __future__ import annotations

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
