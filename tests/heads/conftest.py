"""Heads in a data folder and a live state of each test's own, over a published configuration with one provider."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from django.db import connection
from django.test import TestCase

from health.heads import actions, service
from health.heads.documents import HeadRegistration
from routes import actions as routes_actions
from routes.engine.provider import head_key
from tests.control import samples
from tests.control.conftest import actor, both_databases, env, host_state

if TYPE_CHECKING:
    from collections.abc import Iterator

    from health.models import Head
    from routes.live import SharedLiveState
    from routing_project.env import Env

__all__ = ["both_databases", "env"]

OPERATOR = actor("operate")
ADMIN = actor("admin")


@pytest.fixture(autouse=True)
def host(env: Env, monkeypatch: pytest.MonkeyPatch) -> Iterator[SharedLiveState]:
    """The host's live state as a gateway has it; who spoke how often is forgotten."""
    monkeypatch.setattr(service.desk, "__dict__", service.HeadDesk().__dict__)
    with host_state(env.live_path) as state:
        yield state


@pytest.fixture
def provider(db: None) -> Any:
    """``gpus``, published: heads in 10.20.0.0/16 need no approval."""
    row = routes_actions.create_provider(
        samples.provider("gpus", network="private", head_networks=["10.20.0.0/16"]), actor=ADMIN
    )
    routes_actions.create_profile(samples.profile("default", "gpus"), actor=ADMIN)
    routes_actions.publish(actor=ADMIN)
    return row


def registration(head_id: str = "one", **given: Any) -> dict[str, Any]:
    return {"head_id": head_id, "provider": "gpus", "endpoint": "http://10.20.0.7:8000/v1", **given}


def register(head_id: str = "one", **given: Any) -> Head:
    with committed():
        row, _ = actions.register(HeadRegistration.model_validate(registration(head_id, **given)), actor=OPERATOR)
    return row


@contextmanager
def committed() -> Iterator[None]:
    """What happens within is committed at its end, as far as listeners and the overlay can tell."""
    connection.run_on_commit.clear()  # of what was set up: an overlay that waits there already is not asked for again
    with TestCase.captureOnCommitCallbacks(execute=True):
        yield


def key_of(row: Head) -> str:
    return head_key(str(row.provider_id), row.head_id)


def silence(state: SharedLiveState, row: Head, seconds: float = 20.0) -> None:
    """As if the head had last been heard of so long ago."""
    now = time.monotonic()
    state.hear_head(key_of(row), None, False, now - seconds + 15.0, now - seconds)
