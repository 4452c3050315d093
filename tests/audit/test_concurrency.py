"""Different actions at once, from many threads, on a real PostgreSQL: none fails, none waits for ever, one chain."""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from django.contrib.auth.models import Group
from django.db import connection, connections
from django.utils import timezone

from health import asking
from health.alerts import actions as alerts
from health.heads import actions as heads
from health.heads import liveness
from health.heads.documents import HeadRegistration
from health.models import AlertChannel, AlertRule, Head
from history import ids, payloads
from routes import actions, live
from routes.actions import Actor, audit
from routes.audit import delivery, verify
from routes.engine.live import HeadState
from routes.engine.local_live import LocalLiveState
from routes.models import AuditEntry, Profile, Provider
from routes.snapshots import live_snapshot
from tests.audit.conftest import ADA
from tests.control.samples import document, provider, rule
from tests.history import rows
from tests.history import samples as requests

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROUNDS = 4
PASSWORD = "correct horse battery"
#: Whether this transaction has written or locked a row, and whether it has the chain.
HOLDS = """
    SELECT pg_current_xact_id_if_assigned() IS NOT NULL,
    EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid() AND granted)
"""
pytestmark = pytest.mark.django_db(databases=["default", "pg"], transaction=True)


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """All threads use it as ``default``."""
    vendor: str = request.param
    usual = connections["default"]
    settings = connections.databases["default"]
    if vendor == "postgresql":
        connections.databases["default"] = connections.databases["pg"]
        connections["default"] = connections["pg"]
    state = LocalLiveState()
    monkeypatch.setattr(live, "current", lambda: state)
    monkeypatch.setattr(delivery, "look", lambda: None)  # the sinks have tests of their own
    yield vendor
    connections.databases["default"] = settings
    connections["default"] = usual


def registration(name: str) -> HeadRegistration:
    return HeadRegistration(
        head_id=name, provider="alpha", endpoint="https://head.example/v1", region="eu", model_type="chat", version="1"
    )


def prepare() -> None:
    actions.import_configuration(document(), actor=ADA, publish_now=True)
    heads.register(registration("shared"), actor=ADA)
    alerts.create_channel({"name": "c", "kind": "email", "recipients": ["ada@example.org"]}, actor=ADA)
    alerts.create_rule({"name": "r", "events": ["circuit_opened"], "channels": ["c"]}, actor=ADA)


def head_reports() -> None:
    row = Head.objects.select_related("provider").get(head_id="shared")
    draining = row.reported == Head.Reported.ACTIVE
    liveness.notice(row, HeadState(online=True, draining=draining, load=None, heard_at=0.0, until=0.0), ADA)


def acts(number: int) -> list[Callable[[], Any]]:
    """What thread ``number`` does again and again; rows of one are rows of others too."""
    beta = Provider.objects.get(slug="beta")
    alpha = Provider.objects.get(slug="alpha")
    profile = Profile.objects.get(slug="fast")
    tree = {**document(), "version": 1}
    return [
        lambda: actions.update_provider(alpha, {"weight": number + 2, "credential": {"value": "k" * 20}}, actor=ADA),
        lambda: actions.import_configuration(tree, actor=ADA, merge=True),
        lambda: actions.set_admin_state(beta, "draining" if number % 2 else "active", actor=ADA, reason=str(number)),
        lambda: actions.publish(actor=ADA),
        lambda: heads.register(registration("shared"), actor=ADA),
        head_reports,
        lambda: actions.revoke_access_key(
            actions.create_access_key({"name": f"k{number}-{uuid4()}"}, actor=ADA).key,
            actor=ADA,
        ),
        lambda: actions.create_rule(profile, rule(f"r{number}-{profile.rules.count()}"), actor=ADA),
        lambda: alerts.update_rule(AlertRule.objects.get(), {"window": 60 + number}, actor=ADA),
        lambda: actions.expire_admin_states(actor=Actor.system("tests")),
        lambda: audit.record(ADA, "history.exported", category="export", object_type="history"),
        lambda: actions.delete_provider(
            actions.create_provider(provider(f"p{number}"), actor=ADA), actor=ADA, remove_from_profiles=True
        ),
    ]


def people() -> list[Callable[[], Any]]:
    root = Actor.command("tests")
    grace = actions.create_user({"username": "grace", "password": PASSWORD, "roles": ["Viewer"]}, actor=root)
    own = Actor("user", "grace", str(grace.pk), frozenset({"read"}))
    group = Group.objects.create(name="Old hands")
    return [
        lambda: actions.first_admin("boss", PASSWORD, actor=root),
        lambda: actions.create_user({"username": "new", "password": PASSWORD}, actor=root),
        lambda: actions.update_user(grace, {"roles": ["Operator"], "is_active": False}, actor=root),
        lambda: actions.change_own_password(grace, PASSWORD, actor=own),
        lambda: actions.delete_user(grace, actor=root),
        lambda: actions.delete_role(group, actor=root),
    ]


def health() -> list[Callable[[], Any]]:
    """Acts on health, and what has a row of its own."""
    alpha = Provider.objects.get(slug="alpha")

    def target() -> str:
        snapshot = live_snapshot()
        assert snapshot is not None
        return next(t.id for p in snapshot.profile_list for t in p.targets if t.provider.slug == "alpha")

    return [
        lambda: actions.force_circuit(target(), "open", actor=ADA),
        lambda: actions.reset_circuit(target(), actor=ADA),
        lambda: actions.clear_quarantine(alpha, actor=ADA),
        lambda: actions.set_credential(alpha, "k" * 30, actor=ADA),
        lambda: actions.set_credential(alpha, None, actor=ADA),
        lambda: actions.drop_pins(actor=ADA),
        lambda: asking.ask(alpha, actor=ADA),
        lambda: alerts.delete_rule(AlertRule.objects.get(), actor=ADA),
        lambda: alerts.update_channel(AlertChannel.objects.get(), {"per_hour": 3}, actor=ADA),
        lambda: alerts.delete_channel(AlertChannel.objects.get(), actor=ADA),
    ]


@pytest.mark.slow
def test_many_actors_leave_one_chain_and_no_error(database: str) -> None:
    prepare()
    errors: list[str] = []

    def run(number: int) -> None:
        try:
            for turn in range(ROUNDS):
                todo = acts(number)
                act = todo[(number + turn * 5) % len(todo)]
                act()
        except Exception as error:
            errors.append(f"{number}: {type(error).__name__}: {error}")
        finally:
            connection.close()

    before = AuditEntry.objects.count()
    threads = [threading.Thread(target=run, args=(number,)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    found = verify.table()
    assert found.entries == found.head.id == AuditEntry.objects.count(), "no gaps"
    assert found.entries > before + ROUNDS * 6


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
def test_every_action_takes_the_chain_before_it_locks_anything_else(database: str) -> None:
    """What comes to the chain with rows in its hands may wait for one that waits for those rows."""
    prepare()
    late: list[int] = []
    taken = 0

    def look(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        nonlocal taken
        if "pg_advisory_xact_lock" in sql:
            taken += 1
            with context["connection"].connection.cursor() as cursor:
                cursor.execute(HOLDS)
                holds_rows, holds_chain = cursor.fetchone()
                if holds_rows and not holds_chain:
                    late.append(number)
        return execute(sql, params, many, context)

    more: list[Callable[[], Any]] = [
        lambda: actions.delete_profile(Profile.objects.get(slug="spare"), actor=ADA),
        lambda: actions.rollback(1, actor=ADA),
        lambda: actions.export_configuration(actor=ADA),
        lambda: heads.approve("shared", actor=ADA),
        lambda: heads.forget_gone(actor=ADA, now=timezone.now() + timedelta(days=30)),
        lambda: heads.deregister("other", actor=ADA),
        *people(),
        *health(),
        lambda: payloads.read(kept, actor=ADA),
    ]
    kept_id = ids.new_id().bytes
    (kept,) = rows.store(requests.finished(kept_id))
    rows.store(requests.payload(kept_id))
    actions.create_profile({"slug": "spare", "name": "Spare", "targets": []}, actor=ADA)
    heads.register(registration("other"), actor=ADA)
    heads.register(registration("gone"), actor=ADA)
    Head.objects.filter(head_id="gone").update(online=False)
    with connection.execute_wrapper(look):
        for number, act in enumerate([*acts(1), *more]):
            before = taken
            act()
            assert taken > before, f"action {number} leaves an entry and does not begin with the chain"
    assert late == []
