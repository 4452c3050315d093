"""A data folder of its own, receivers, and short ways to channels, rules and events."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from health.alerts import actions, delivery
from health.alerts.kinds import AlertEvent
from routes.actions import Actor
from routes.scopes import SCOPES
from tests.alerts.receivers import HttpReceiver, MailReceiver
from tests.control.conftest import both_databases, env, gateway

if TYPE_CHECKING:
    from collections.abc import Iterator

    from health.models import AlertChannel, AlertRule

__all__ = ["both_databases", "env", "gateway"]  # fixtures, found by their names

ADA = Actor("user", "ada", "1", frozenset(SCOPES))
NOON = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
SECRET = "a-signing-secret-of-the-tests"


@pytest.fixture(autouse=True)
def kicks(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Nobody is told of new messages: tests run the tasks themselves. How often somebody would have been."""
    made: list[str] = []
    monkeypatch.setattr(delivery, "kick", lambda: made.append("kick"))
    return made


@pytest.fixture
def receiver() -> Iterator[HttpReceiver]:
    with HttpReceiver() as running:
        yield running


@pytest.fixture
def mail_server(settings: Any) -> Iterator[MailReceiver]:
    """A mail server, and Django's settings lead to it."""
    with MailReceiver() as running:
        settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
        settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", running.port
        settings.DEFAULT_FROM_EMAIL = "Signalbox <alerts@router.example>"
        yield running


def after(**time: float) -> datetime:
    """So long after noon."""
    return NOON + timedelta(**time)


def channel(name: str = "ops", url: str = "https://hooks.example/services/x", **fields: Any) -> AlertChannel:
    kind = fields.get("kind", "webhook")
    data: dict[str, Any] = {"name": name, "kind": kind, "network": "loopback"}
    if kind == "email":
        data["recipients"] = ["ops@example.org"]
    else:
        data["url"] = {"value": url}
    if kind == "webhook":
        data["secret"] = {"value": SECRET}
    return actions.create_channel({**data, **fields}, actor=ADA)


def rule(
    name: str = "all", *channels: AlertChannel, events: tuple[str, ...] = ("circuit_opened",), **fields: Any
) -> AlertRule:
    data = {"name": name, "events": list(events), "channels": [each.name for each in channels], **fields}
    return actions.create_rule(data, actor=ADA)


def opened(
    target: str = "acme-eu / gpt-4o", at: datetime = NOON, kind: str = "circuit_opened", **fields: Any
) -> AlertEvent:
    provider = target.split(" / ")[0]
    return AlertEvent(kind, f"target:{target}", target, f"{target} is left alone.", at, provider, "/admin/", **fields)
