"""Reading the timeline in both databases: which lines are a target's, and pages of them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from health import report, timeline
from health.models import HealthEvent
from routes import actions
from tests.control.api import Api
from tests.control.conftest import actor, both_databases
from tests.control.samples import profile, provider

if TYPE_CHECKING:
    from health.report import TargetHealth

__all__ = ["both_databases"]
pytestmark = [pytest.mark.django_db(databases=["default", "pg"]), pytest.mark.usefixtures("both_databases")]
START = datetime(2026, 11, 20, 14, tzinfo=UTC)


@pytest.fixture
def target(both_databases: None) -> TargetHealth:
    """The target ``alpha / a`` of a provider that has another."""
    targets = [{"provider": "alpha", "model": model} for model in ("a", "b")]
    tree = {"providers": [provider("alpha")], "profiles": [profile("default", *targets)]}
    actions.import_configuration(tree, actor=actor("admin"), publish_now=True)
    [alpha] = report.read().providers
    return next(each for each in alpha.targets if each.label == "alpha / a")


def write(kind: str, second: int, **fields: Any) -> HealthEvent:
    values = {"subject": "x", "after": "y", "reason": "z", "actor": "traffic", **fields}
    return HealthEvent.objects.create(at=START + timedelta(seconds=second), kind=kind, **values)


def test_a_targets_lines_are_its_own_its_endpoints_and_its_providers(target: TargetHealth) -> None:
    other = next(each for each in report.read().targets if each.label == "alpha / b")
    of = {"provider_id": target.provider_id}
    wanted = [
        write("circuit", 1, **of, target_id=target.id),
        write("admin", 2, **of, target_id=target.id),
        write("observed", 3, **of, target_id=timeline.head_key(target.provider_id, "")),
        write("admin", 4, **of),
        write("quarantine", 5, **of, target_id=other.id, detail={"model": None}),
        write("quarantine", 6, **of, detail={"note": "lifted by hand"}),
    ]
    write("circuit", 7, **of, target_id=other.id)
    write("circuit", 7, **of, target_id=timeline.head_key(target.provider_id, ""))
    write("admin", 7, **of, target_id=other.id)
    write("quarantine", 7, **of, target_id=other.id, detail={"model": "b"})
    write("budget", 7)
    assert list(timeline.of_target(target)) == wanted[::-1]


def test_pages_of_lines_of_one_moment_miss_none_and_repeat_none(target: TargetHealth) -> None:
    written = [write("circuit", second, target_id=target.id).pk for second in (0, 1, 1, 1, 1, 1, 2)]
    api, seen, path = Api("read"), [], f"circuits/{target.id}/transitions/?limit=2"
    while path:
        page = api.get(path)
        assert page.status == 200
        seen += [each["id"] for each in page.body["results"]]
        path = (page.body["next"] or "").partition("/api/v1/")[2]
    assert seen == written[::-1]
