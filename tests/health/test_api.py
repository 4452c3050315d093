"""Health over REST: the contract's documents, acts and who may do them, and refusals that name the field."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from django.db import DatabaseError
from django.utils import timezone

from health import asking, events
from health.models import Check, HealthEvent
from routes import actions, live
from routes.actions import Actor
from routes.models import AuditEntry
from tests.control.api import Answer, Api
from tests.control.conftest import actor
from tests.control.samples import provider

if TYPE_CHECKING:
    from tests.health.conftest import Site

pytestmark = pytest.mark.django_db
#: Acts are told after their commit.
committed = pytest.mark.django_db(transaction=True)
ADA = actor("operate")


def fields(answer: Answer) -> list[str]:
    assert answer.status == 400, answer.body
    return list(answer.error["fields"])


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


# -- reading -------------------------------------------------------------------------------------------------
def test_the_health_document_has_what_the_contract_says(site: Site) -> None:
    site.answer("beta", seconds=0.25)
    site.fail("alpha", "upstream_5xx", times=5, status=503)
    body = Api("read").get("health/").body
    counts = {name: body[f"{name}_providers"] for name in ("total", "healthy", "degraded", "unhealthy", "unknown")}
    assert counts == {"total": 2, "healthy": 1, "degraded": 0, "unhealthy": 1, "unknown": 0}
    assert (body["average_latency_ms"], body["revision"], body["live"]) == (250, 1, True)
    assert list(body["provider_details"]) == ["alpha", "beta"]
    alpha = body["provider_details"]["alpha"]
    assert alpha["provider_id"] == str(site.row("alpha").pk)
    assert (alpha["status"], alpha["admin_state"]) == ("unhealthy", "active")
    assert (alpha["last_check_timestamp"], alpha["consecutive_failures"]) == (None, 5)
    assert (alpha["success_rate"], alpha["usable"], alpha["listed_healthy"], alpha["quarantine"]) == (
        0.5905, False, False, None,
    )  # fmt: skip
    [target] = alpha["targets"]
    assert (target["id"], target["model"], target["endpoint"]) == (
        site.target("alpha").id, None, "https://alpha.example/v1",
    )  # fmt: skip
    assert (target["circuit"], target["in_flight"], target["circuit_reason"]) == ("open", 0, "consecutive_failures")
    assert moment(target["next_try"]) > timezone.now()
    assert {name: target["last_error"][name] for name in ("class", "http_status", "source")} == {
        "class": "upstream_5xx", "http_status": 503, "source": "traffic",
    }  # fmt: skip
    assert target["why"].startswith("Circuit open since ")
    assert {"p50_ms", "p95_ms", "p99_ms"} <= set(target)


def test_before_a_revision_the_document_is_there_and_empty(db: None) -> None:
    body = Api("read").get("health").body
    assert (body["revision"], body["total_providers"], body["provider_details"]) == (None, 0, {})


def test_one_provider_by_slug_or_id_and_none_that_is_not_live(site: Site) -> None:
    actions.create_provider(provider("draft"), actor=actor("admin"))
    api = Api("read")
    by_slug, by_id = api.get("health/alpha/"), api.get(f"health/{site.row('alpha').pk}")
    assert by_slug.body == by_id.body
    assert by_slug.body == api.get("health/").body["provider_details"]["alpha"]
    for name in ("draft", "nobody", "%00"):
        assert api.get(f"health/{name}/").error["code"] == "not_found"


def test_no_secret_and_no_address_of_a_credential_is_shown(site: Site) -> None:
    site.publish(provider("alpha", credential={"value": "sk-canary-1"}, headers={"x-secret": "canary-2"}))
    assert "canary" not in str(Api("read").get("health/").body)


def test_a_quarantine_is_shown_with_until_and_cause(site: Site) -> None:
    now = time.monotonic()
    site.state.quarantine(site.target("alpha"), "gpt-4o", 600, "rate_limited", now, told=True)
    site.state.quarantine(site.target("alpha"), None, 60, "auth_failed", now)
    body = Api("read").get("health/alpha/").body
    assert [(each["model"], each["cause"], each["told"]) for each in body["quarantines"]] == [
        (None, "auth_failed", False),
        ("gpt-4o", "rate_limited", True),
    ]
    assert body["quarantine"] == body["quarantines"][0], "the whole credential's comes before a model's"
    assert moment(body["quarantine"]["until"]) > timezone.now()


def test_circuits_are_listed_filtered_and_paged(site: Site) -> None:
    site.publish(
        provider("alpha"), provider("beta"),
        targets=[{"provider": slug, "model": model} for slug in ("alpha", "beta") for model in ("a", "b")],
    )  # fmt: skip
    site.fail("beta / b", times=5)
    api = Api("read")

    def labels(path: str) -> list[str]:
        return [row["label"] for row in api.get(path).body["results"]]

    assert labels("circuits/") == ["alpha / a", "alpha / b", "beta / a", "beta / b"]
    assert labels("circuits?state=open") == ["beta / b"]
    assert labels("circuits/?provider=alpha") == ["alpha / a", "alpha / b"]
    assert labels(f"circuits/?provider={site.row('beta').pk}&state=closed") == ["beta / a"]
    first = api.get("circuits/?limit=3").body
    assert (len(first["results"]), first["previous"]) == (3, None)
    second = api.get(first["next"].partition("/api/v1/")[2]).body
    assert ([row["label"] for row in second["results"]], second["next"]) == (["beta / b"], None)
    assert api.get(second["previous"].partition("/api/v1/")[2]).body["results"] == first["results"]
    one = api.get(f"circuits/{site.target('beta / b').id}/").body
    assert one == second["results"][0]
    assert (one["circuit"], one["provider"], one["model"], one["head_id"]) == ("open", "beta", "b", None)


def test_a_filter_of_circuits_that_cannot_be_is_named(site: Site) -> None:
    api = Api("read")
    for query in ("state=ajar", "provider=nobody", "provider=%00", "cursor=x", "limit=0"):
        assert fields(api.get(f"circuits/?{query}")) == [query.partition("=")[0]]


# -- the timeline ----------------------------------------------------------------------------------------------
def happen(site: Site) -> None:
    """Something of each kind, to alpha and one of its two targets, and something to beta."""
    site.publish(provider("alpha"), provider("beta"), targets=[
        {"provider": "alpha", "model": "a"}, {"provider": "alpha", "model": "b"}, "beta"])  # fmt: skip
    site.fail("alpha / a", times=5)
    site.state.quarantine(site.target("alpha / b"), "b", 60, "rate_limited", time.monotonic())
    site.state.quarantine(site.target("alpha / b"), None, 60, "auth_failed", time.monotonic())
    state = live.current()
    assert isinstance(state, live.SharedLiveState)
    events.collect(state)
    actions.force_circuit(site.target("beta").id, "open", actor=ADA)
    actions.set_admin_state(site.row("alpha"), "draining", actor=ADA, reason="disks")


def told(answer: Answer) -> list[tuple[str, str, str]]:
    assert answer.status == 200, answer.body
    return [(each["kind"], each["subject"], each["after"]) for each in answer.body["results"]]


@committed
def test_the_timeline_of_a_target_has_its_own_lines_and_its_providers(site: Site) -> None:
    happen(site)
    answer = Api("read").get(f"circuits/{site.target('alpha / a').id}/transitions/")
    assert told(answer) == [
        ("admin", "alpha", "draining"),
        ("quarantine", "alpha", "auth_failed"),
        ("circuit", "alpha / a", "open"),
    ]
    opened = answer.body["results"][-1]
    assert (opened["before"], opened["reason"], opened["actor"], opened["provider"]) == (
        "closed", "consecutive_failures", "traffic", "alpha",
    )  # fmt: skip
    assert opened["target"] == site.target("alpha / a").id
    assert [each["error_class"] for each in opened["detail"]["outcomes"]] == ["connect_refused"] * 5
    assert opened["sentence"].startswith("Circuit opened: 5 consecutive failures: 5 × connect_refused; tried again at ")


@committed
def test_the_whole_timeline_is_newest_first_filtered_and_paged(site: Site) -> None:
    happen(site)
    api, beta = Api("read"), site.target("beta").id
    everything = told(api.get("health/events/"))
    assert everything == [
        ("admin", "alpha", "draining"),
        ("circuit", "beta", "open"),
        ("quarantine", "alpha", "auth_failed"),
        ("quarantine", "alpha", "rate_limited"),
        ("circuit", "alpha / a", "open"),
    ]
    assert told(api.get("health/events?kind=circuit")) == [everything[1], everything[4]]
    assert told(api.get("health/events/?provider=beta")) == [everything[1]]
    assert told(api.get(f"health/events/?provider={site.row('alpha').pk}&kind=admin")) == [everything[0]]
    assert told(api.get(f"health/events/?target={beta}")) == [everything[1]]
    middle = HealthEvent.objects.get(target_id=beta).at.isoformat().replace("+00:00", "Z")
    assert told(api.get(f"health/events/?from={middle}")) == everything[:2]
    assert told(api.get(f"health/events/?to={middle}")) == everything[2:]
    seen, path = [], "health/events/?limit=2&count=exact"
    while path:
        page = api.get(path)
        assert page.body["count"] == 5
        seen += told(page)
        path = (page.body["next"] or "").partition("/api/v1/")[2]
    assert seen == everything


@committed
def test_the_timeline_outlives_what_it_tells_of(site: Site) -> None:
    happen(site)
    gone = site.target("alpha / a").id
    site.publish(provider("beta"))
    api = Api("read")
    assert told(api.get(f"circuits/{gone}/transitions/")) == [("circuit", "alpha / a", "open")]
    assert len(told(api.get("health/events/?provider=alpha"))) == 4
    assert api.get(f"circuits/{gone}/").status == 404
    assert api.get(f"circuits/{uuid4()}/transitions/").status == 404


def test_a_filter_of_the_timeline_that_cannot_be_is_named(site: Site) -> None:
    api = Api("read")
    for query in ("kind=x", "provider=nobody", "provider=%00", "target=alpha", "from=soon", "to=9"):
        assert fields(api.get(f"health/events/?{query}")) == [query.partition("=")[0]]
    for cursor in ("x", "cD1ub3doZXJl", "cD0xOTk5LTk5LTk5", "bz0tMQ=="):
        assert api.get(f"health/events/?cursor={cursor}").error["code"] == "not_found"


# -- acts ----------------------------------------------------------------------------------------------------------
ACTS = [
    ("health/alpha/state/", {"state": "draining"}),
    ("health/alpha/probe/", None),
    ("health/alpha/clear-quarantine/", {}),
    ("circuits/{target}/force/", {"state": "open"}),
    ("circuits/{target}/reset/", {}),
]


def test_reading_is_for_viewers_and_acting_for_operators(site: Site) -> None:
    nobody, operator = Api(), Api("operate")
    others = [Api("route"), Api("read")]
    for path, body in ACTS:
        address = path.format(target=site.target("alpha").id)
        assert nobody.post(address, body).status == 401
        for other in others:
            refused = other.post(address, body)
            assert (refused.status, refused.error["code"]) == (403, "permission_denied")
        assert operator.post(address, body).status in {200, 202}
    for address in ("health/", "health/alpha/", "health/events/", "circuits/"):
        assert nobody.get(address).status == 401
        assert others[0].get(address).status == 403
        assert others[1].get(address).status == 200


@committed
def test_an_operator_holds_a_circuit_and_lets_go_of_it(site: Site) -> None:
    api, path = Api("operate"), f"circuits/{site.target('alpha').id}"
    until = timezone.now() + timedelta(hours=1)
    held = api.post(f"{path}/force", {"state": "open", "until": until.isoformat(), "reason": "wrong answers"}).body
    assert (held["circuit"], held["forced"], held["forced_reason"]) == ("open", True, "wrong answers")
    assert (held["forced_by"], held["circuit_reason"]) == ("key with operate", "forced_open")
    assert abs(moment(held["forced_until"]) - until) < timedelta(milliseconds=2)
    assert site.state.circuit(site.target("alpha"), time.monotonic()).state == "open", (
        "gateways of the host hold it too"
    )
    assert api.get(f"{path}/").body["circuit"] == "open"
    let_go = api.post(f"{path}/reset/", {"reason": "repaired"}).body
    assert (let_go["circuit"], let_go["forced"]) == ("closed", False)
    assert [each["reason"] for each in api.get(f"{path}/transitions/").body["results"]] == ["reset", "forced_open"]
    assert api.post(f"{path}/reset").status == 200, "a reset needs no body"


def test_an_operator_drains_one_target_or_all_of_a_provider(site: Site) -> None:
    api, target = Api("operate"), site.target("alpha").id
    answer = api.post("health/alpha/state/", {"state": "draining", "target": target, "reason": "slow"}).body
    assert (answer["provider"], answer["target"], answer["state"], answer["by"]) == (
        "alpha", target, "draining", "key with operate",
    )  # fmt: skip
    details = api.get("health/alpha/").body
    assert (details["admin_state"], details["targets"][0]["admin_state"]) == ("active", "draining")
    answer = api.post(f"health/{site.row('alpha').pk}/state", {"state": "disabled"}).body
    assert (answer["target"], answer["state"]) == (None, "disabled")
    details = api.get("health/alpha/").body
    assert (details["admin_state"], details["targets"][0]["admin_state"]) == ("disabled", "disabled")


@committed
def test_an_operator_lifts_quarantines(site: Site) -> None:
    site.state.quarantine(site.target("alpha"), None, 60, "quota_exhausted", time.monotonic())
    api = Api("operate")
    assert api.get("health/alpha/").body["quarantine"]["cause"] == "quota_exhausted"
    lifted = api.post("health/alpha/clear-quarantine/", {"reason": "paid"}).body
    assert (lifted["quarantine"], lifted["quarantines"], lifted["eligible_targets"]) == (None, [], 1)
    [line] = api.get("health/events/?kind=quarantine&limit=1").body["results"]
    assert (line["before"], line["after"], line["actor"], line["detail"]) == (
        "quota_exhausted", "none", "key with operate", {"note": "paid"},
    )  # fmt: skip


REFUSED: list[tuple[str, Any, list[str]]] = [
    ("health/alpha/state/", {"state": "away"}, ["state"]),
    ("health/alpha/state/", {"state": "draining", "until": "soon", "why": 1}, ["until", "why"]),
    ("health/alpha/state/", {"state": "draining", "until": "2020-01-01"}, ["until"]),
    ("health/alpha/state/", {"state": "draining", "target": "alpha"}, ["target"]),
    ("circuits/{target}/force/", {"state": "half_open"}, ["state"]),
    ("circuits/{target}/force/", {}, ["state"]),
    ("circuits/{target}/force/", {"state": "open", "until": "2020-01-01T00:00:00Z"}, ["until"]),
    ("circuits/{target}/force/", {"state": "open", "reason": "a\nb"}, ["reason"]),
    ("circuits/{target}/reset/", {"reason": 7}, ["reason"]),
    ("health/alpha/clear-quarantine/", {"because": "x"}, ["because"]),
]


def test_a_refusal_names_the_field_and_changes_nothing(site: Site) -> None:
    api = Api("operate")
    before = api.get("circuits/").body
    for path, body, named in REFUSED:
        assert sorted(fields(api.post(path.format(target=site.target("alpha").id), body))) == named
    assert api.get("circuits/").body == before
    assert not HealthEvent.objects.exists()


def test_what_is_not_there_cannot_be_acted_on(site: Site) -> None:
    api, stranger = Api("operate"), str(uuid4())
    of_beta = site.target("beta").id
    for path, body in [
        ("health/nobody/state/", {"state": "active"}),
        ("health/nobody/probe/", None),
        ("health/nobody/clear-quarantine/", {}),
        (f"circuits/{stranger}/force/", {"state": "open"}),
        (f"circuits/{stranger}/reset/", {}),
        ("health/alpha/state/", {"state": "disabled", "target": stranger}),
        ("health/alpha/state/", {"state": "disabled", "target": of_beta}),
    ]:
        answer = api.post(path, body)
        assert (answer.status, answer.error["code"]) == (404, "not_found"), path
    assert not HealthEvent.objects.exists()


# -- probing now -----------------------------------------------------------------------------------------------------
def heartbeat(site: Site) -> None:
    from routing_project.env import get_env

    path = get_env().heartbeat_path
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()


def test_without_a_worker_the_wish_is_kept_and_the_answer_says_so(site: Site) -> None:
    answer = Api("operate").post("health/alpha/probe/")
    assert (answer.status, answer.body["done"]) == (202, False)
    assert answer.body["message"] == (
        "No worker is at work (none has been heard of yet); the checks are made as soon as one is back."
    )
    assert [check["label"] for check in answer.body["checks"]] == ["alpha"]
    assert Check.objects.get(label="alpha").next_probe_at < timezone.now() - timedelta(days=1), "it is first in line"
    assert AuditEntry.objects.filter(action="provider.probed", object_name="alpha").count() == 1


def test_a_wish_that_cannot_be_put_on_record_is_none(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise DatabaseError("the disk is full")

    monkeypatch.setattr(asking.audit, "record", fail)
    with pytest.raises(DatabaseError):
        asking.ask(site.row("alpha"), actor=Actor.command("tests"))
    assert Check.objects.get(label="alpha").next_probe_at > timezone.now() - timedelta(days=1)


def test_with_a_worker_it_waits_for_the_answers(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    heartbeat(site)

    def worker(_: float) -> None:
        """Instead of a pause: the next tick makes the check."""
        Check.objects.filter(label="alpha").update(checked_at=timezone.now(), observed="healthy", kind="models")

    monkeypatch.setattr(asking.time, "sleep", worker)
    answer = Api("operate").post("health/alpha/probe")
    assert (answer.status, answer.body["done"], answer.body["message"]) == (200, True, "Checked.")
    [check] = answer.body["checks"]
    assert (check["state"], check["kind"]) == ("healthy", "models")
    assert moment(check["checked_at"]) > datetime(2026, 1, 1, tzinfo=UTC)


def test_it_does_not_wait_for_ever(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    heartbeat(site)
    monkeypatch.setattr(asking, "PATIENCE_SECONDS", 0.05)
    monkeypatch.setattr(asking, "LOOK_SECONDS", 0.01)
    answer = Api("operate").post("health/alpha/probe/")
    assert (answer.status, answer.body["message"]) == (
        202, "The checks are first in line, and not all of them are made yet.",
    )  # fmt: skip


def test_where_probes_are_off_there_is_nothing_to_ask(site: Site) -> None:
    site.publish(provider("alpha", probe={"kind": "off"}))
    answer = Api("operate").post("health/alpha/probe/")
    assert (answer.status, answer.error["code"]) == (409, "conflict")
    assert "probes: they are off" in answer.error["message"]
