"""One running installation for the tests that only use it, and simulated providers beside it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.simulators import Simulator
from tests.stack import Stack

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="package")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Two gateways, no demo. Shared: a test leaves every process running."""
    with Stack(tmp_path_factory.mktemp("stack"), workers=2) as running:
        yield running


@pytest.fixture(scope="package")
def single(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """One gateway process; shared in the same way."""
    with Stack(tmp_path_factory.mktemp("single"), workers=1) as running:
        yield running


@pytest.fixture
def simulator() -> Iterator[Simulator]:
    """Providers in a process of their own: load must not share the interpreter with the test."""
    with Simulator(process=True) as running:
        yield running
