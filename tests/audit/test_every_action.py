"""Every way to change something leaves exactly one entry that says what, who, from where and why, in the table, the
file and on the channel alike; what was refused or changed nothing leaves none; and no way is missing here.

One installation is led through its life. An address with an unsafe method, a command, or an action on record that is
not met on the way, fails the last test of the three at the end of it: it belongs into ``life``, or, with a reason, into
the lists below.
"""

from __future__ import annotations

import ast
import io
import json
import re
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import redis
from django.core.cache import cache
from django.core.management import get_commands
from django.urls import URLPattern, get_resolver
from django.utils import timezone

from health import asking
from health.alerts import delivery
from health.heads import liveness, service
from health.heads.actions import forget_gone
from health.models import AlertChannel, AlertRule, Head
from history import ids
from routes import actions
from routes.actions import Actor
from routes.admin import preview
from routes.api.throttling import CallerThrottle
from routes.audit import delivery as sinks
from routes.audit.chain import document_of
from routes.audit.channel import CHANNEL
from routes.audit.reading import COLUMNS
from routes.engine.provider import head_key, target_id
from routes.models import AccessKey, AuditEntry, ConfigRevision, Profile, Provider, Rule
from routes.roles import ROLES
from routing_project import announce
from routing_project.console import demo
from routing_project.console.sockets.base import Socket
from routing_project.env import get_env
from tests.audit.world import PASSWORD, SETUP, UNSAFE, WEBHOOK_SECRET, World
from tests.control import samples
from tests.control.conftest import env, host_state
from tests.history import rows
from tests.history import samples as requests

if TYPE_CHECKING:
    from collections.abc import Iterator

    from routes.live import SharedLiveState

__all__ = ["env"]
ROOT = Path(__file__).resolve().parents[2]

#: Addresses that take an unsafe method and change nothing that an audit log is about, and why.
NOTHING_TO_TELL = {
    "post explain": "asks what would be decided",
    "post decisions": "a decision is a route, and in the history",
    "patch decision-outcome": "what came of a decision is in the history",
    "post /webhook/routing-decision": "as a decision over REST",
    "patch head-status": "a heartbeat; a change that it tells is in `life`",
}
#: Pages that ask, or only read: nothing in them writes, whatever is sent.
READING_PAGES = re.compile(
    r"admin:(index|login|logout|live|explain|autocomplete|jsi18n|view_on_site|app_list|password_change_done|health_board"
    r"|health_target|\w+_history|history_\w+|routes_auditentry_\w+|health_alertdelivery_\w+|\w+_compare|\w+_shares"
    r"|\w+_rule_shares|routes_rule_condition|routes_rule_changelist|routes_policy_(add|delete|change)"
    r"|routes_configrevision_(changelist|add|delete|change)"
    r"|(routes_(provider|profile|accesskey)|health_(head|alertrule|alertchannel)|auth_(user|group))_changelist"
    r"|health_head_(add|change)|auth_group_(add|change))"
)
#: Messages of sockets that ask, watch, or (a decision) are in the history.
READING_MESSAGES = frozenset(
    ("get_heads", "get_routing_decision", "get_routing_strategies", "subscribe", "pause", "resume", "ping")
)
#: Our commands that change nothing, or nothing that anybody decided.
READING_COMMANDS = {
    "config_schema": "prints",
    "explain_route": "asks what would be decided",
    "ship_history": "what happened becomes history",
    "rebuild_rollups": "sums are made anew from the same rows",
    "simulate": "a provider for trying things",
    "verify_audit": "reads the audit log",
}
#: Commands of Django that write no configuration, nor anything that people decide.
OF_OTHERS = ("django.", "rest_framework", "channels", "daphne", "drf_", "django_")
#: Seen by other tests only, and why.
ELSEWHERE = {"provider.credential": "an action of its own that no address has: a provider is changed with it"}


@pytest.fixture
def installation(env: Any, monkeypatch: pytest.MonkeyPatch, redis_url: str) -> Iterator[SharedLiveState]:
    monkeypatch.setenv("REDIS_URL", redis_url)
    monkeypatch.setenv("SIGNALBOX_WEBHOOK_SECRET", WEBHOOK_SECRET)
    get_env.cache_clear()
    monkeypatch.setattr(service.desk, "__dict__", service.HeadDesk().__dict__)
    monkeypatch.setattr(delivery, "kick", lambda: None)
    monkeypatch.setattr(preview, "DRAWS", 100)
    monkeypatch.setattr(asking, "PATIENCE_SECONDS", 0.0)
    monkeypatch.setattr(CallerThrottle, "get_rate", lambda self: None)
    cache.clear()
    with host_state(get_env().live_path) as state:
        yield state


@pytest.mark.django_db(transaction=True)
def test_every_action_leaves_exactly_one_entry_in_every_sink(
    installation: SharedLiveState, redis_url: str, tmp_path: Path
) -> None:
    with redis.Redis.from_url(redis_url) as client, client.pubsub() as listener:
        listener.subscribe(CHANNEL)
        listener.get_message(timeout=5)
        world = World()
        for chapter in (configuration, publishing, consoles, health, heads, alerts, history, people, commands):
            chapter(world, installation, tmp_path)
        assert world.problems == []
        sinks.deliver()
        heard = []
        while (message := listener.get_message(ignore_subscribe_messages=True, timeout=0.5)) is not None:
            heard.append(json.loads(message["data"]))
    table = [document_of(row) for row in AuditEntry.objects.order_by("pk").values(*COLUMNS)]
    assert len(table) > 100
    assert heard == table
    lines = [json.loads(line) for line in get_env().audit_log_path.read_text().splitlines()]
    assert [line for line in lines if "action" in line] == table
    told = json.dumps(table)
    assert [secret for secret in (PASSWORD, samples.CREDENTIAL, *world.keys.values()) if secret in told] == []
    assert ways() - world.covered - NOTHING_TO_TELL.keys() == set(), "ways to change something that are not tried"
    assert actions_in_source() - world.seen - ELSEWHERE.keys() == set(), "actions that nobody has seen on record"


# -- its life --------------------------------------------------------------------------------------------------------
def configuration(w: World, state: SharedLiveState, folder: Path) -> None:
    w.api("post providers/", samples.provider("acme", network="private", head_networks=["10.20.0.0/16"]),
                 ("provider.created", "admin", "acme"))  # fmt: skip
    w.api("patch providers/acme/", {"weight": 3}, ("provider.updated", "admin", "acme"), again=True)
    w.api("patch providers/acme/", {"credential": {"value": samples.CREDENTIAL}}, ("provider.updated", "admin", "acme"))
    w.api("patch providers/acme/", {}, again=True)
    w.api("post providers/", samples.provider("spare"), ("provider.created", "admin", "spare"))
    w.api("delete providers/spare/", None, ("provider.deleted", "admin", "spare"))
    w.api("post profiles/", samples.profile("default", "acme"), ("profile.created", "routing", "default"))
    w.api("patch profiles/default/", {"name": "Main"}, ("profile.updated", "routing", "default"), again=True)
    w.api("post profiles/", samples.profile("spare", "acme"), ("profile.created", "routing", "spare"))
    w.api("delete profiles/spare/", None, ("profile.deleted", "routing", "spare"))
    long, other = (
        {"profile": "default", **samples.rule("long", "acme")},
        {"profile": "default", **samples.rule("other")},
    )
    w.api("post rules/", long, ("rule.created", "routing", "default: long"))
    w.api("post rules/", other, ("rule.created", "routing", "default: other"))
    w.api(
        "patch rules/long/?profile=default",
        {"enabled": False},
        ("rule.updated", "routing", "default: long"),
        again=True,
    )
    w.api("patch rules/long/?profile=default", {"position": 1}, ("rule.moved", "routing", "default: long"), again=True)
    w.api("delete rules/other/?profile=default", None, ("rule.deleted", "routing", "default: other"))
    w.api("patch policy/", {"default_strategy": "weighted"}, ("policy.updated", "policy", ""), again=True)
    prices = {"prices": {"gpt-4o": {"input": 2.5, "output": 10}}}
    w.api("patch prices/", prices, ("prices.updated", "policy", ""), again=True)
    w.api("post access-keys/", {"name": "app"}, ("access_key.created", "auth", "app"))
    w.api("patch access-keys/app/", {"enabled": False}, ("access_key.updated", "auth", "app"), again=True)
    w.api("delete access-keys/app/", None, ("access_key.revoked", "auth", "app"))


def publishing(w: World, state: SharedLiveState, folder: Path) -> None:
    w.api("post revisions/", {"message": "first"}, ("revision.published", "routing", "revision 1"), reason="first")
    w.api("patch profiles/default/", {"name": "Other"}, ("profile.updated", "routing", "default"))
    # Going back undoes what waits, one entry for each object that changes, and says so once more as a whole.
    w.api("post revisions/1/rollback/", {}, ("profile.updated", "routing", "default"),
          ("draft.discarded", "routing", ""), ("revision.rolled_back", "routing", "revision 2"))  # fmt: skip
    w.api("post revisions/2/rollback/", {}, ("revision.rolled_back", "routing", "revision 3"))


def consoles(w: World, state: SharedLiveState, folder: Path) -> None:
    add = {"slug": "typed", "name": "Typed", "wire": "openai", "base_url": "https://typed.example/v1"}
    w.page("routes/provider/add/", add, ("provider.created", "admin", "typed"), form=True)
    typed = f"routes/provider/{Provider.objects.get(slug='typed').pk}"
    w.page(f"{typed}/change/", {"weight": "7"}, ("provider.updated", "admin", "typed"), form=True)
    w.page(f"{typed}/change/", {}, form=True)
    w.page(f"{typed}/state/", {"state": "disabled", "reason": "why"},
           ("provider.admin_state", "routing", "typed"), reason="why")  # fmt: skip
    w.page(
        "routes/profile/add/", {"slug": "typed", "name": "Typed"}, ("profile.created", "routing", "typed"), form=True
    )
    profile = Profile.objects.get(slug="typed")
    page = f"routes/profile/{profile.pk}"
    w.page(f"{page}/change/", {"name": "x"}, ("profile.updated", "routing", "typed"), form=True)
    w.page(f"{page}/change/", {}, form=True)
    for name in ("one", "two"):
        actions.create_rule(profile, samples.rule(name, "typed"), actor=SETUP)
    w.page(
        f"routes/rule/add/?profile={profile.pk}",
        {"name": "three"},
        ("rule.created", "routing", "typed: three"),
        form=True,
    )
    rule = f"routes/rule/{Rule.objects.get(name='two').pk}"
    w.page(f"{rule}/change/", {"description": "x"}, ("rule.updated", "routing", "typed: two"), form=True)
    w.page(f"{rule}/change/", {}, form=True)
    w.page(f"{rule}/switch/", {"enabled": "0"}, ("rule.updated", "routing", "typed: two"))
    w.page(f"{rule}/move/", {"to": "0", "position": "0", "direction": "up"}, ("rule.moved", "routing", "typed: two"))
    w.page(f"{rule}/delete/", {"version": version(Rule, name="two")}, ("rule.deleted", "routing", "typed: two"))
    w.page(f"{page}/delete/", {"version": version(Profile, slug="typed")}, ("profile.deleted", "routing", "typed"))
    w.page(f"{typed}/delete/", {"version": version(Provider, slug="typed")}, ("provider.deleted", "admin", "typed"))
    w.page("routes/policy/", {"capacity_threshold": "70"}, ("policy.updated", "policy", ""), form=True)
    w.page("routes/policy/", {}, form=True)
    w.page("routes/accesskey/add/", {"name": "typed", "profile": "default"},
           ("access_key.created", "auth", "typed"), form=True)  # fmt: skip
    key = f"routes/accesskey/{AccessKey.objects.get(name='typed').pk}"
    w.page(f"{key}/change/", {"limits.rpm": "60"}, ("access_key.updated", "auth", "typed"), form=True)
    w.page(f"{key}/change/", {}, form=True)
    w.page(f"{key}/revoke/", {"enabled": "0"}, ("access_key.updated", "auth", "typed"))
    w.page(f"{key}/delete/", {"version": version(AccessKey, name="typed")}, ("access_key.revoked", "auth", "typed"))
    number = ConfigRevision.objects.count()
    w.page("routes/configrevision/publish/", {"message": "why"},
           ("revision.published", "routing", f"revision {number + 1}"), reason="why")  # fmt: skip
    w.page(f"routes/configrevision/{number + 1}/rollback/", {"message": "back"},
           ("revision.rolled_back", "routing", f"revision {number + 2}"), reason="back")  # fmt: skip


def health(w: World, state: SharedLiveState, folder: Path) -> None:
    acme = Provider.objects.get(slug="acme")
    target = target_id(str(acme.pk), None)
    told, circuit = ("provider.admin_state", "routing", "acme"), "acme"
    w.api("post health/acme/state/", {"state": "draining", "reason": "r"}, told, reason="r", again=True)
    w.api("post health/acme/state/", {"state": "active"}, told)
    w.api("post health/acme/state/", {"state": "disabled", "target": target, "reason": "r"},
          ("target.admin_state", "routing", "acme"), reason="r")  # fmt: skip
    w.api("post health/acme/state/", {"state": "active", "target": target}, ("target.admin_state", "routing", "acme"))
    w.api("post health/acme/probe/", None, ("provider.probed", "routing", "acme"))
    w.api("post health/acme/clear-quarantine/", {"reason": "r"}, ("quarantine.cleared", "routing", "acme"), reason="r")
    w.api(f"post circuits/{target}/force/", {"state": "open", "reason": "r"},
          ("circuit.forced", "routing", circuit), reason="r")  # fmt: skip
    w.api(f"post circuits/{target}/reset/", {"reason": "r"}, ("circuit.reset", "routing", circuit), reason="r")
    w.api("delete affinity/?profile=default", None, ("affinity.dropped", "routing", "default"))
    for act, action, name in (
        ("drain", "target.admin_state", "acme"),
        ("enable", "target.admin_state", "acme"),
        ("open", "circuit.forced", circuit),
        ("reset", "circuit.reset", circuit),
        ("clear", "quarantine.cleared", "acme"),
        ("probe", "provider.probed", "acme"),
    ):
        data = {"act": act, "target": target, "provider": str(acme.pk), "kind": "target", "id": target, "reason": "r"}
        w.page("health/act/", data, (action, "routing", name), reason="r")
    soon = timezone.now() + timedelta(seconds=60)
    actions.set_admin_state(acme, "draining", actor=SETUP, until=soon)
    actions.force_circuit(target, "open", actor=SETUP, until=soon)
    system = Actor.system("reconcile")
    w.clock("the end of an admin state", lambda: actions.expire_admin_states(actor=system, now=soon),
            ("provider.admin_state", "routing", "acme"), who="reconcile")  # fmt: skip
    w.clock("the end of a force", lambda: actions.release_circuits(actor=system, now=soon),
            ("circuit.released", "routing", circuit), who="reconcile")  # fmt: skip


def heads(w: World, state: SharedLiveState, folder: Path) -> None:
    def registration(head_id: str, address: str = "10.20.0.7") -> dict[str, Any]:
        return {"head_id": head_id, "provider": "acme", "endpoint": f"http://{address}:8000/v1"}

    def status(head_id: str, status: str = "active") -> dict[str, Any]:
        return {"head_id": head_id, "status": status, "load": 1}

    socket = "/ws/head-management"
    w.api("post heads/", registration("one", "10.30.0.7"), ("head.registered", "head", "one"))
    w.api("post heads/one/approve/", None, ("head.approved", "head", "one"), again=True)
    w.api("patch heads/one/status/", {"status": "active", "load": 1})
    w.api("patch heads/one/status/", {"status": "draining", "load": 1}, ("head.status", "head", "one"), again=True)
    w.api("delete heads/one/", None, ("head.deregistered", "head", "one"))
    w.socket(socket, {"type": "register_head", "payload": registration("two")}, ("head.registered", "head", "two"))
    w.socket(socket, {"type": "update_status", "payload": status("two")})
    w.socket(socket, {"type": "update_status", "payload": status("two", "draining")}, ("head.status", "head", "two"))
    w.socket(socket, {"type": "deregister_head", "payload": {"head_id": "two"}},
             ("head.deregistered", "head", "two"))  # fmt: skip
    address = "/webhook/head-status"
    w.webhook(address, {"action": "register", **registration("three")}, ("head.registered", "head", "three"))
    w.webhook(address, {"action": "update", **status("three")})
    w.webhook(address, {"action": "update", **status("three", "draining")}, ("head.status", "head", "three"))
    w.webhook(address, {"action": "deregister", "head_id": "three"}, ("head.deregistered", "head", "three"))
    for name in ("four", "five"):
        actor = Actor("system", "tests", scopes=SETUP.scopes)
        service.desk.register(service_registration(registration(name, "10.30.0.7")), actor)
    head = Head.objects.get(head_id="four")
    w.page(f"health/head/{head.pk}/approve/", {}, ("head.approved", "head", "four"))
    w.page(f"health/head/{head.pk}/delete/", {}, ("head.deregistered", "head", "four"))
    five = Head.objects.get(head_id="five")
    key = head_key(str(five.provider_id), "five")
    state.forget_head(key)
    Head.objects.update(seen_at=timezone.now() - timedelta(hours=1))
    w.clock("a head goes silent", liveness.notice_all, ("head.status", "head", "five"), who="heads")
    w.api("patch heads/five/status/", {"status": "active", "load": 1}, ("head.status", "head", "five"))
    state.forget_head(key)
    Head.objects.update(seen_at=timezone.now() - timedelta(days=8), online=False)
    w.clock("a head is gone for long", lambda: forget_gone(actor=Actor.system("heads")),
            ("head.deregistered", "head", "five"), who="heads")  # fmt: skip


def alerts(w: World, state: SharedLiveState, folder: Path) -> None:
    channel = {"name": "ops", "kind": "email", "recipients": ["ops@example.org"]}
    rule = {"name": "all", "events": ["circuit_opened"], "channels": ["ops"]}
    w.api("post alerts/channels/", channel, ("alert_channel.created", "admin", "ops"))
    w.api("patch alerts/channels/ops/", {"enabled": False}, ("alert_channel.updated", "admin", "ops"), again=True)
    w.api("patch alerts/channels/ops/", {"enabled": True}, ("alert_channel.updated", "admin", "ops"))
    w.api("post alerts/channels/ops/test/", None, ("alert_channel.tested", "admin", "ops"))
    w.api("post alerts/rules/", rule, ("alert_rule.created", "admin", "all"))
    w.api("patch alerts/rules/all/", {"enabled": False}, ("alert_rule.updated", "admin", "all"), again=True)
    w.api("delete alerts/rules/all/", None, ("alert_rule.deleted", "admin", "all"))
    w.api("delete alerts/channels/ops/", None, ("alert_channel.deleted", "admin", "ops"))
    typed = {"name": "typed", "kind": "email", "recipients": "ops@example.org"}
    w.page("health/alertchannel/add/", typed, ("alert_channel.created", "admin", "typed"), form=True)
    to = f"health/alertchannel/{AlertChannel.objects.get().pk}"
    w.page(f"{to}/change/", {"recipients": "dev@example.org"}, ("alert_channel.updated", "admin", "typed"), form=True)
    w.page(f"{to}/test/", {}, ("alert_channel.tested", "admin", "typed"))
    typed_rule = {"name": "typed", "events": ["circuit_opened"], "channels": ["typed"]}
    w.page("health/alertrule/add/", typed_rule, ("alert_rule.created", "admin", "typed"), form=True)
    of = f"health/alertrule/{AlertRule.objects.get().pk}"
    w.page(f"{of}/change/", {"name": "other"}, ("alert_rule.updated", "admin", "other"), form=True)
    w.page(f"{of}/delete/", {"version": version(AlertRule)}, ("alert_rule.deleted", "admin", "other"))
    w.page(f"{to}/delete/", {"version": version(AlertChannel)}, ("alert_channel.deleted", "admin", "typed"))


def history(w: World, state: SharedLiveState, folder: Path) -> None:
    identifier = ids.new_id().bytes
    (route,) = rows.store(requests.finished(identifier))
    rows.store(requests.payload(identifier))
    export = ("history.exported", "export", "")
    for form in ("csv", "ndjson"):
        w.api(f"get history/export/?format={form}", None, export)
    w.api("get history/", None, export, accept="text/csv")
    w.api("get history/", None, export, accept="application/x-ndjson")
    w.api("get history/", None)
    w.api(f"get history/{route}/", None)
    w.api(f"get history/{route}/payload/", None, ("payload.read", "export", str(route)))
    page = f"history/routehistory/{route}/change/"
    w.page(page, None)
    w.page(page, {"show_payload": ""}, ("payload.read", "export", str(route)), viewers_see=True)
    w.command(f"history export --output {folder / 'all.csv'}", export)


def people(w: World, state: SharedLiveState, folder: Path) -> None:
    account = {"username": "grace", "password": PASSWORD, "roles": ["Viewer"]}
    w.api("post users/", account, ("user.created", "admin", "grace"))
    w.api("patch users/grace/", {"roles": ["Operator"]}, ("user.updated", "admin", "grace"), again=True)
    w.api("delete users/grace/", None, ("user.deleted", "admin", "grace"))
    typed = {"username": "typed", "password": PASSWORD, "again": PASSWORD, "roles": ["Operator"]}
    w.page("auth/user/add/", typed, ("user.created", "admin", "typed"))
    user = actions.users.User.objects.get(username="typed")
    page = f"auth/user/{user.pk}"
    w.page(f"{page}/change/", {"first_name": "T"}, ("user.updated", "admin", "typed"), form=True)
    w.page(f"{page}/change/", {}, form=True)
    w.page(f"{page}/password/", {"password": PASSWORD, "again": PASSWORD}, ("user.updated", "admin", "typed"))
    group = actions.users.Group.objects.create(name="Old hands")
    w.page(f"auth/group/{group.pk}/delete/", {}, ("role.deleted", "admin", "Old hands"))
    logins(w)
    version = actions.users.version_of(actions.users.User.objects.get(pk=user.pk))
    w.page(f"{page}/delete/", {"version": version}, ("user.deleted", "admin", "typed"))


def logins(w: World) -> None:
    def act(what: str, path: str, data: dict[str, str], who: tuple[str, str], *expected: tuple[str, str, str]) -> None:
        before = AuditEntry.objects.latest("pk").pk
        w.covered.add(f"post admin:{path.strip('/').replace('/', '_')}")
        client.post(f"/admin/{path}", data)
        w.expect(what, before, list(expected), who, None)

    client, typed, stranger = w.browser(), ("user", "typed"), ("system", "not logged in")
    right = {"username": "typed", "password": PASSWORD}
    act("a login", "login/", right, typed, ("user.login", "auth", "typed"))
    own = {"old": PASSWORD, "password": PASSWORD + "!", "again": PASSWORD + "!"}
    act("a wrong present password", "password_change/", {**own, "old": "x"}, typed,
        ("user.password_failed", "auth", "typed"))  # fmt: skip
    act("an own password", "password_change/", own, typed, ("user.password", "auth", "typed"))
    act("a logout", "logout/", {}, typed, ("user.logout", "auth", "typed"))
    act("a logout of nobody", "logout/", {}, stranger)
    act("no such user", "login/", {**right, "username": "nobody"}, stranger,
        ("user.login_failed", "auth", "(unknown)"))  # fmt: skip
    for _ in range(5):
        act("a wrong password", "login/", {**right, "password": "x"}, stranger, ("user.login_failed", "auth", "typed"))
    act("a throttled login", "login/", right, stranger, ("user.login_throttled", "auth", "typed"))
    act("another one", "login/", right, stranger)


def commands(w: World, state: SharedLiveState, folder: Path) -> None:
    w.command("create_access_key cli", ("access_key.created", "auth", "cli"))
    file = folder / "all.yaml"
    file.write_text(w.command("export_config", ("document.exported", "export", "")))
    # What is there already changes nothing; that somebody imported it is on record all the same.
    w.command(f"import_config {file}", ("document.imported", "admin", ""))
    file.write_text("version: 1\npolicy: {default_strategy: single}\n")
    number = ConfigRevision.objects.count() + 1
    w.command(f"import_config {file} --publish --message why", ("policy.updated", "policy", ""),
              ("document.imported", "admin", ""), ("revision.published", "routing", f"revision {number}"))  # fmt: skip
    w.command("publish --message why", ("revision.published", "routing", f"revision {number + 1}"), reason="why")
    actions.update_provider(Provider.objects.get(), {"models": {"gpt-4o-mini": "gpt-4o-mini"}}, actor=SETUP)
    w.command("sync_prices", ("prices.updated", "policy", ""))
    w.command("sync_prices")
    rows.many(3, timezone.now() - timedelta(days=3))
    w.command("prune_history --days 1 --dry-run")
    w.command("prune_history --days 1", ("history.pruned", "admin", ""))
    w.command("prune_history --days 1")
    with pytest.MonkeyPatch.context() as patch:
        passwords(w, patch)
    a_fresh_installation(w)


def passwords(w: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands that read one; in the place of Django's own, which nobody would hear of."""
    for line, action in (("createsuperuser boss", "user.created"), ("changepassword boss", "user.updated")):
        monkeypatch.setattr("sys.stdin", io.StringIO(f"{PASSWORD}\n"))
        w.command(line, (action, "admin", "boss"))


def a_fresh_installation(w: World) -> None:
    """``setup`` looks for an admin who can log in, and for any configuration: here there is neither."""
    for role in ROLES:
        actions.users.Group.objects.get(name=role).user_set.clear()
    actions.users.User.objects.update(is_active=False)
    w.command("setup", ("user.created", "admin", "admin"))
    w.command("setup")
    for model in (Profile, AccessKey):
        model.objects.all().delete()
    Provider.with_deleted.all().delete()
    ConfigRevision.objects.all()._raw_delete("default")
    env = get_env()
    objects = [*(("provider.created", "admin", slug) for slug, *_ in demo.PROVIDERS),
               ("profile.created", "routing", "default"), ("access_key.created", "auth", "demo")]  # fmt: skip
    before = AuditEntry.objects.latest("pk").pk
    demo.create(env, Actor.command("setup"))
    (published,) = ConfigRevision.objects.values_list("number", flat=True)
    w.expect("the demo", before, [*objects, ("document.imported", "admin", ""),
             ("revision.published", "routing", f"revision {published}")], ("command", "setup"), None)  # fmt: skip
    assert announce.demo(env)
    actions.update_user(w.users["ada"], {"is_active": True}, actor=SETUP)
    w.person, w.viewer = w.browser(w.users["ada"]), w.browser(w.users["vera"])
    actions.update_user(w.users["vera"], {"is_active": True}, actor=SETUP)
    w.viewer = w.browser(w.users["vera"])
    gone = [*(("provider.deleted", "admin", slug) for slug, *_ in demo.PROVIDERS),
            ("profile.deleted", "routing", "default"), ("access_key.revoked", "auth", "demo")]  # fmt: skip
    w.page("demo/remove/", {}, *gone, ("revision.published", "routing", f"revision {published + 1}"))


def version(model: Any, **named: Any) -> int:
    return int(model.objects.get(**named).version)


def service_registration(data: dict[str, Any]) -> Any:
    from health.heads.documents import HeadRegistration

    return HeadRegistration.model_validate(data)


# -- what there is ---------------------------------------------------------------------------------------------------
def ways() -> set[str]:
    """Every address with an unsafe method, every page that may write, and every command of ours."""
    found = set()
    for address, pattern in addresses(get_resolver()):
        name = pattern.name or f"/{address.removeprefix('^').removesuffix('/?$')}"
        view: Any = pattern.callback
        kind = getattr(view, "cls", None) or getattr(view, "view_class", None)
        if address.startswith("admin/"):
            if pattern.name and not READING_PAGES.fullmatch(f"admin:{name}"):
                found.add(f"post admin:{name}")
        elif kind is not None and kind.__name__ != "RedirectView":
            methods = getattr(view, "actions", None) or [each for each in UNSAFE if hasattr(kind, each)]
            found |= {f"{method} {name}" for method in methods if method in UNSAFE}
        else:
            # Redirects, /metrics, and the answer to what is nowhere.
            assert address in ("", "metrics", "^(?:api|events|webhook)/"), address
    ours = {
        name
        for name, app in get_commands().items()
        if str(app).split(".")[0] in ("routes", "history", "health", "routing_project")
    }
    messages = {kind for each in Socket.__subclasses__() for kind in each.handlers} - READING_MESSAGES
    assert len(messages) > 1
    found |= {f"message {kind}" for kind in messages}
    return found | {f"command {name}" for name in ours - READING_COMMANDS.keys()}


def addresses(resolver: Any, prefix: str = "") -> Iterator[tuple[str, URLPattern]]:
    for each in resolver.url_patterns:
        path = f"{prefix}{each.pattern}".replace("/v1/^", "/v1/")
        if isinstance(each, URLPattern):
            yield path, each
        else:
            yield from addresses(each, path)


def actions_in_source() -> set[str]:
    """Whatever is written as the action of an entry anywhere in the product."""
    found: set[str] = set()
    for folder in ("routes", "health", "history", "routing_project"):
        for path in (ROOT / folder).rglob("*.py"):
            text = path.read_text()
            if "audit" in text:
                calls = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Call)]
                for call in calls:
                    called = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
                    if called in ("record", "_record", "_audit"):
                        found |= set(words(call))
    assert len(found) > 30
    return found


def words(call: ast.Call) -> Iterator[str]:
    for node in (each for argument in call.args for each in ast.walk(argument)):
        if isinstance(node, ast.Constant) and re.fullmatch(r"[a-z_]+\.[a-z_]+", str(node.value)):
            yield str(node.value)
