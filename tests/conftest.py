"""Fixtures every test folder may use: the databases, Redis, a data folder."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, settings

from tests import databases, servers

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# Without a deadline: a time is never an assertion, and the machine may be busy. The same examples in every run, so
# that a red suite means a change; `pytest --hypothesis-profile=explore` looks for new ones, and for more of them.
settings.register_profile("explore", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("signalbox", settings.get_profile("explore"), derandomize=True, max_examples=40)
settings.load_profile("signalbox")


@pytest.fixture(scope="session")
def django_db_modify_db_settings(
    request: pytest.FixtureRequest, django_db_modify_db_settings_parallel_suffix: None, django_db_blocker: Any
) -> None:
    """Before pytest-django creates databases: start the servers that the collected tests ask for."""
    servers.redis_url()
    wanted = {"default"}
    for item in request.session.items:
        marker = item.get_closest_marker("django_db")
        named = marker.kwargs.get("databases") if marker else None
        if named == "__all__" or (named and "pg" in named):
            servers.postgres_url()
            wanted.add("pg")
            break
    with django_db_blocker.unblock():
        databases.prepare(wanted)


@pytest.fixture(scope="session")
def django_db_keepdb() -> bool:
    """What ``databases.prepare`` put there is used; the folder of a run goes with everything in it."""
    return True


@pytest.fixture(scope="session", autouse=True)
def forced_logins_are_none() -> Iterator[None]:
    """``Client.force_login`` is how tests come to a session: nobody has logged in, and nothing is on record."""
    from django.contrib.auth.signals import user_logged_in
    from django.test.client import ClientMixin

    from routing_project.console.logins import record_login

    log_in = ClientMixin._login  # type: ignore[attr-defined]

    def quietly(*arguments: Any) -> None:
        user_logged_in.disconnect(record_login)
        try:
            log_in(*arguments)
        finally:
            user_logged_in.connect(record_login)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ClientMixin, "_login", quietly)
        yield


@pytest.fixture
def redis_url() -> Iterator[str]:
    """A Redis of this test's own: messages on the shared one reach every database of it."""
    with servers.own_redis() as url:
        yield url


@pytest.fixture(scope="session")
def postgres_url() -> str:
    """The shared test PostgreSQL, its maintenance database; create one of your own to write in."""
    return servers.postgres_url()


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """An empty data folder (SIGNALBOX_DATA_DIR) for one test."""
    folder = tmp_path / "data"
    folder.mkdir(mode=0o700)
    return folder
