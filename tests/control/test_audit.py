"""Every action leaves exactly one entry that says who, what and how; a refused one leaves none."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from django.contrib.auth.models import Group, User
from django.utils import timezone
from structlog.testing import capture_logs

from routes import actions, live
from routes.actions.actor import Actor
from routes.actions.errors import ActionError
from routes.engine.local_live import LocalLiveState
from routes.events import acted
from routes.models import AccessKey, AuditEntry, Profile, Provider, Rule
from routes.snapshots import live_snapshot
from tests.control.api import Api
from tests.control.conftest import actor
from tests.control.samples import CREDENTIAL, document, provider, rule

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.django_db
LONG = "correct horse battery"
ROOT = actions.Actor("user", "ada", "7", frozenset({"read", "operate", "admin"}), "192.0.2.7", "req-1")


def alpha() -> Provider:
    return Provider.objects.get(slug="alpha")


def a_target() -> str:
    """The id of one of alpha's targets."""
    snapshot = live_snapshot()
    assert snapshot is not None
    return next(t.id for p in snapshot.profile_list for t in p.targets if t.provider.slug == "alpha")


def long() -> Rule:
    return Rule.objects.get(name="long")


ACTIONS: list[tuple[str, str, Callable[[], Any]]] = [
    ("provider.created", "admin", lambda: actions.create_provider(provider("new"), actor=ROOT)),
    ("provider.updated", "admin", lambda: actions.update_provider(alpha(), {"weight": 3}, actor=ROOT)),
    ("provider.credential", "admin", lambda: actions.set_credential(alpha(), CREDENTIAL, actor=ROOT)),
    ("provider.admin_state", "routing", lambda: actions.set_admin_state(alpha(), "disabled", actor=ROOT, reason="r")),
    ("provider.deleted", "admin", lambda: actions.delete_provider(Provider.objects.get(slug="spare"), actor=ROOT)),
    (
        "profile.created",
        "routing",
        lambda: actions.create_profile({"slug": "p", "name": "P", "targets": []}, actor=ROOT),
    ),
    (
        "profile.updated",
        "routing",
        lambda: actions.update_profile(Profile.objects.get(slug="fast"), {"name": "x"}, actor=ROOT),
    ),
    ("profile.deleted", "routing", lambda: actions.delete_profile(Profile.objects.get(slug="fast"), actor=ROOT)),
    (
        "rule.created",
        "routing",
        lambda: actions.create_rule(Profile.objects.get(slug="fast"), rule("new"), actor=ROOT),
    ),
    ("rule.updated", "routing", lambda: actions.update_rule(long(), {"enabled": False}, actor=ROOT)),
    ("rule.moved", "routing", lambda: actions.move_rule(long(), 1, actor=ROOT)),
    ("rule.deleted", "routing", lambda: actions.delete_rule(long(), actor=ROOT)),
    ("access_key.created", "auth", lambda: actions.create_access_key({"name": "k"}, actor=ROOT)),
    (
        "access_key.updated",
        "auth",
        lambda: actions.update_access_key(AccessKey.objects.get(), {"enabled": False}, actor=ROOT),
    ),
    ("access_key.revoked", "auth", lambda: actions.revoke_access_key(AccessKey.objects.get(), actor=ROOT)),
    ("policy.updated", "policy", lambda: actions.update_policy({"default_strategy": "single"}, actor=ROOT)),
    ("prices.updated", "policy", lambda: actions.replace_prices({"prices": {}}, actor=ROOT)),
    ("prices.updated", "policy", lambda: actions.sync_prices(actor=ROOT, reset=True)),
    ("affinity.dropped", "routing", lambda: actions.drop_pins(actor=ROOT)),
    ("circuit.forced", "routing", lambda: actions.force_circuit(a_target(), "open", actor=ROOT)),
    ("circuit.reset", "routing", lambda: actions.reset_circuit(a_target(), actor=ROOT)),
    ("quarantine.cleared", "routing", lambda: actions.clear_quarantine(alpha(), actor=ROOT)),
    (
        "target.admin_state",
        "routing",
        lambda: actions.set_admin_state(alpha(), "disabled", actor=ROOT, target=a_target()),
    ),
    ("revision.published", "routing", lambda: actions.publish(actor=ROOT, message="r")),
    ("revision.rolled_back", "routing", lambda: actions.rollback(1, actor=ROOT, message="r")),
    ("user.created", "admin", lambda: actions.create_user({"username": "new", "password": LONG}, actor=ROOT)),
    (
        "user.updated",
        "admin",
        lambda: actions.update_user(User.objects.get(username="linus"), {"email": "a@b"}, actor=ROOT),
    ),
    ("user.deleted", "admin", lambda: actions.delete_user(User.objects.get(username="linus"), actor=ROOT)),
    ("user.password", "auth", lambda: actions.change_own_password(User.objects.get(pk=7), LONG, actor=ROOT)),
    ("user.created", "admin", lambda: actions.first_admin("root", LONG, actor=ROOT)),
    ("role.deleted", "admin", lambda: actions.delete_role(Group.objects.get(name="Old hands"), actor=ROOT)),
    ("document.imported", "admin", lambda: actions.import_configuration({"version": 1}, actor=ROOT)),
    ("document.exported", "export", lambda: actions.export_configuration(actor=ROOT)),
]


@pytest.fixture(autouse=True)
def configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    state = LocalLiveState()
    monkeypatch.setattr(live, "current", lambda: state)
    User.objects.create_superuser("ada", pk=7)
    User.objects.create_user("linus")
    Group.objects.create(name="Old hands")
    tree = document()
    tree["providers"].append(provider("spare"))
    tree["profiles"][1]["rules"] = [
        rule("long", {"provider": "beta", "model": "claude-3-5-haiku-latest"}),
        rule("other"),
    ]
    actions.import_configuration(tree, actor=actor("admin"), publish_now=True)


@pytest.mark.parametrize(("action", "category", "act"), ACTIONS, ids=[action for action, _, _ in ACTIONS])
def test_an_action_leaves_exactly_one_entry(action: str, category: str, act: Callable[[], Any]) -> None:
    before = AuditEntry.objects.count()
    act()
    entries = list(AuditEntry.objects.order_by("pk")[before:])
    assert [(entry.action, entry.category) for entry in entries] == [(action, category)]
    entry = entries[0]
    assert (entry.actor_kind, entry.actor_id, entry.actor_name) == ("user", "7", "ada")
    assert (entry.client_ip, entry.request_id) == ("192.0.2.7", "req-1")
    assert CREDENTIAL not in str(entry.changes)
    assert LONG not in str(entry.changes)


def test_every_public_action_is_in_the_list_above() -> None:
    reads = {"Actor", "CreatedKey", "document_of", "live_revision", "pending_changes"}
    by_the_clock = {"expire_admin_states", "release_circuits"}
    told_by_health = {"heads_changed"}
    # An admin state is one action on two kinds of object.
    assert len(set(actions.__all__) - reads - by_the_clock - told_by_health) == len(ACTIONS) - 1


def test_what_ends_by_the_clock_is_in_the_trail_too() -> None:
    soon = timezone.now() + timedelta(seconds=60)
    actions.set_admin_state(alpha(), "draining", actor=ROOT, target=a_target(), until=soon)
    actions.force_circuit(a_target(), "open", actor=ROOT, until=soon)
    before = AuditEntry.objects.count()
    system = Actor.system("reconcile")
    assert actions.expire_admin_states(actor=system, now=soon) == 1
    assert actions.release_circuits(actor=system, now=soon) == 1
    assert actions.release_circuits(actor=system, now=soon) == 0
    ended = AuditEntry.objects.order_by("pk")[before:]
    assert [(entry.action, entry.actor_kind) for entry in ended] == [
        ("target.admin_state", "system"),
        ("circuit.released", "system"),
    ]


def test_an_entry_says_what_was_and_what_is() -> None:
    actions.update_provider(alpha(), {"circuit": {"slow_start": 5}, "credential": {"value": CREDENTIAL}}, actor=ROOT)
    entry = AuditEntry.objects.latest("pk")
    assert entry.changes == {"circuit.slow_start": [30, 5], "credential": "changed"}
    assert (entry.object_type, entry.object_id, entry.object_name) == ("provider", str(alpha().pk), "alpha")


def test_going_back_says_to_which_revision_and_as_which() -> None:
    actions.update_provider(alpha(), {"weight": 3}, actor=ROOT)
    actions.publish(actor=ROOT)
    assert "rolled_back_to" not in AuditEntry.objects.latest("pk").changes
    actions.rollback(1, actor=ROOT)
    entry = AuditEntry.objects.latest("pk")
    assert (entry.action, entry.object_id, entry.object_name) == ("revision.rolled_back", "3", "revision 3")
    assert entry.changes == {"rolled_back_to": 1, "changes": ["provider alpha: weight 3 → 1"]}


def test_a_refused_action_leaves_no_entry() -> None:
    before = AuditEntry.objects.count()
    for act in (
        lambda: actions.create_provider(provider("alpha"), actor=ROOT),
        lambda: actions.update_provider(alpha(), {"weight": -1}, actor=ROOT),
        lambda: actions.delete_provider(alpha(), actor=ROOT),
        lambda: actions.publish(actor=actor("read")),
    ):
        with pytest.raises(ActionError):
            act()
    assert AuditEntry.objects.count() == before


def test_listeners_hear_of_it_after_the_commit_and_cannot_break_it(
    django_capture_on_commit_callbacks: Any,
) -> None:
    heard: list[str] = []

    def broken(entry: AuditEntry, **_: Any) -> None:
        heard.append(entry.action)
        raise RuntimeError("a listener that fails")

    acted.connect(broken)
    try:
        with django_capture_on_commit_callbacks(execute=True):
            actions.update_provider(alpha(), {"weight": 3}, actor=ROOT)
            assert heard == []
        assert heard == ["provider.updated"]
    finally:
        acted.disconnect(broken)


def test_a_line_of_the_log_tells_a_key_from_a_person_of_its_name(django_capture_on_commit_callbacks: Any) -> None:
    with capture_logs() as lines, django_capture_on_commit_callbacks(execute=True):
        for actor_ in (ROOT, replace(ROOT, kind="key")):
            actions.update_provider(alpha(), {"weight": 2 + len(actor_.kind)}, actor=actor_)
    assert [line["actor"] for line in lines if line["event"] == "provider.updated"] == ["user:ada", "key:ada"]


def test_the_api_names_the_key_that_acted() -> None:
    api = Api("admin")
    api.patch("providers/alpha/", {"weight": 9}, x_request_id="from-the-client")
    entry = AuditEntry.objects.latest("pk")
    assert (entry.actor_kind, entry.actor_name, entry.client_ip) == ("key", "key with admin", "127.0.0.1")
    assert entry.request_id == "from-the-client"
