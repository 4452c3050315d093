"""The built-in context windows, and that what is published carries them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from routes import actions, snapshots
from routes.engine.context import context_window
from routes.pricing import builtin_context
from tests.control.conftest import actor
from tests.control.samples import profile, provider

if TYPE_CHECKING:
    from routing_project.env import Env


def test_built_in_windows_are_natural_numbers_of_known_models() -> None:
    table = builtin_context()
    assert len(table) > 500
    assert (table["gpt-4o"], table["gpt-3.5-turbo"]) == (128_000, 16_385)
    assert all(type(window) is int and window > 0 for window in table.values())
    assert list(table) == sorted(table)


@pytest.mark.django_db
def test_a_published_revision_knows_them_and_translates(env: Env) -> None:
    configuration = {
        "version": 1,
        "providers": [provider("alpha", context={"gpt-4o": 64_000})],
        "profiles": [profile("default", "alpha")],
    }
    actions.import_configuration(configuration, actor=actor("admin"), publish_now=True)
    snapshot = snapshots.live_snapshot()
    assert snapshot is not None
    alpha = snapshot.providers["alpha"]
    assert snapshot.translates
    assert context_window(snapshot, alpha, "gpt-4o", "gpt-4o") == 64_000
    assert context_window(snapshot, alpha, "gpt-3.5-turbo", "gpt-3.5-turbo") == 16_385
