"""One installation for the tests of sockets and streams, with what tests need to publish to its feeds themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.live_feed.clients import Console
from tests.servers import own_postgres
from tests.simulators import Simulator

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.simulators import ProviderHandle


@pytest.fixture(scope="package")
def acme() -> Iterator[ProviderHandle]:
    with Simulator() as running:
        yield running.add("acme", models=["gpt-4o"])


@pytest.fixture(scope="package")
def console(tmp_path_factory: pytest.TempPathFactory, acme: ProviderHandle) -> Iterator[Console]:
    """Shared: a test leaves every process running, also the database, and ends what it opened."""
    with own_postgres() as database, Console(tmp_path_factory.mktemp("live"), acme, database) as running:
        yield running
