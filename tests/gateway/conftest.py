"""Gateway processes and a console stand-in, real processes and real sockets."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.gateway.lab import Lab
from tests.gateway.pair import Pair
from tests.gateways import Gateways
from tests.simulators import Simulator, simulator

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

__all__ = ["simulator"]


@pytest.fixture
def start_gateways(data_dir: Path) -> Iterator[Callable[..., Gateways]]:
    """Starts gateway processes with settings of the test's own: ``start_gateways(2, SIGNALBOX_MAX_BODY_MB="1")``."""
    made: list[Gateways] = []

    def start(count: int = 1, **environment: str) -> Gateways:
        gateways = Gateways(data_dir, count, environment)
        made.append(gateways)
        gateways.start()
        return gateways

    yield start
    for gateways in made:
        gateways.stop()


@pytest.fixture(scope="module")
def _lasting_gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateways]:
    gateways = Gateways(tmp_path_factory.mktemp("data"))
    gateways.start()
    yield gateways
    gateways.stop()


@pytest.fixture
def shared_gateway(_lasting_gateway: Gateways) -> Gateways:
    """One process for all tests of a module that leave no live state behind; starting one takes a second."""
    _lasting_gateway.forget()
    return _lasting_gateway


@pytest.fixture
def gateway(start_gateways: Callable[..., Gateways]) -> Gateways:
    """One running gateway process, nothing published yet; ``gateway.key`` is a valid key of profile ``default``."""
    return start_gateways()


@pytest.fixture
def lab(shared_gateway: Gateways, simulator: Simulator) -> Lab:
    """A gateway shared by the module and simulated providers of the test's own."""
    return Lab(shared_gateway, simulator)


@pytest.fixture(scope="module")
def _lasting_pair(_lasting_gateway: Gateways) -> Iterator[Pair]:
    with Simulator() as providers:
        made = Pair(_lasting_gateway, providers)
        yield made
        made.close()


@pytest.fixture
def pair(_lasting_pair: Pair) -> Pair:
    """A provider of each kind and the SDKs, shared by the module; providers are as new and the history is empty."""
    _lasting_pair.renew()
    return _lasting_pair
