"""A published configuration over simulated providers, and the plan that follows from it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from django.utils import timezone

from health.models import Check
from health.probes import claims
from health.probes.plan import plan_of
from routes import actions
from routes.snapshots import live_snapshot

if TYPE_CHECKING:
    from datetime import datetime

    from health.probes.plan import Plan, Subject
    from routes.actions import Actor

CREDENTIAL = "correct-horse-battery-7f3a"


def entry(slug: str = "acme", base_url: str = "http://127.0.0.1:9/v1", **given: Any) -> dict[str, Any]:
    """A provider of the document that is probed by its list of models."""
    return {
        "slug": slug,
        "name": slug.title(),
        "wire": "openai",
        "network": "loopback",
        "base_url": base_url,
        "credential": {"value": CREDENTIAL},
        **given,
        "probe": {"kind": "models", "timeout": 2, **given.get("probe", {})},
    }


def publish(
    admin: Actor, *entries: dict[str, Any], targets: list[dict[str, Any]] | None = None, **sections: Any
) -> Plan:
    """Replaces what was published before; the checks of it are due at their first moment."""
    listed = targets or [{"provider": each["slug"]} for each in entries]
    profile = {"slug": "default", "name": "Default", "strategy": "failover", "targets": listed}
    document = {"version": 1, "providers": list(entries), "profiles": [profile], **sections}
    actions.import_configuration(json.loads(json.dumps(document)), actor=admin, publish_now=True)
    return plan()


def plan() -> Plan:
    snapshot = live_snapshot()
    assert snapshot is not None
    return plan_of(snapshot)


def only(admin: Actor, **given: Any) -> Subject:
    """One provider with one check, which has its row."""
    (subject,) = publish(admin, entry(**given)).values()
    claims.agree(plan(), timezone.now())
    return subject


def all_due(now: datetime) -> None:
    Check.objects.update(next_probe_at=now)
