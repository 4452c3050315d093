"""Channels, rules and the delivery log over REST: what is taken, refused, shown, and never shown."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
import yaml
from django.db import connection
from jsonschema import Draft202012Validator

from health.alerts import delivery, matching
from health.models import AlertChannel, AlertDelivery, AlertRule, ProviderOutage
from routes import actions, crypto
from routes.models import AuditEntry
from tests.alerts.conftest import ADA, NOON, SECRET, channel, opened, rule
from tests.control import samples
from tests.control.api import Api
from tests.control.test_openapi import SNAPSHOT
from tests.control.test_secrets import forms

if TYPE_CHECKING:
    from tests.alerts.receivers import HttpReceiver

pytestmark = pytest.mark.django_db
URL = "https://hooks.example/services/T0K3N/canary-5d1e?key=canary-9f"
WEBHOOK = {"name": "ops", "kind": "webhook", "url": {"value": URL}, "secret": {"value": "canary-" + SECRET}}


def test_secrets_go_in_and_never_come_out(receiver: HttpReceiver) -> None:
    api = Api("admin")
    url = URL.replace("https://hooks.example", f"http://127.0.0.1:{receiver.port}")
    made = api.post("alerts/channels/", {**WEBHOOK, "url": {"value": url}, "network": "loopback"})
    assert made.status == 201
    assert made.body["url"] == made.body["secret"] == {"keep": True}
    assert made.body["host"] == f"http://127.0.0.1:{receiver.port}"
    row = AlertChannel.objects.get()
    assert crypto.unseal(bytes(row.url or b""), row.context("url")).decode() == url
    with pytest.raises(crypto.SealError):
        crypto.unseal(bytes(row.url or b""), row.context("secret"))
    answers = [made, api.get("alerts/channels/"), api.get("alerts/channels/ops/")]
    bodies: tuple[dict[str, Any], ...] = (
        {"url": {"value": url + "2"}},
        {"url": {"value": url + "\n"}},
        {"secret": f"canary-{SECRET}"},
        {"url": {"value": url, "keep": True}},
    )
    answers += [api.patch("alerts/channels/ops/", body) for body in bodies]
    assert [answer.status for answer in answers[3:]] == [200, 400, 400, 400]
    rule("all", row)
    matching.take(opened())
    receiver.answers = [(500, {}, f"no {url}2 for canary-{SECRET}".encode())]
    delivery.deliver()
    assert len(receiver.requests) == 1
    answers += [api.get("alerts/deliveries/"), api.get("alerts/")]
    assert api.delete("alerts/rules/all/").status == 204
    assert api.delete("alerts/channels/ops/").status == 204
    told = [json.dumps(answer.body).encode() for answer in answers]
    with connection.cursor() as cursor:
        for table in connection.introspection.table_names(cursor):
            cursor.execute(f"SELECT * FROM {connection.ops.quote_name(table)}")
            told.append(repr(cursor.fetchall()).encode())
    for secret in ("T0K3N/canary-5d1e?key=canary-9f", f"canary-{SECRET}"):
        for form in forms(secret):
            assert [text[:80] for text in told if form in text] == [], form


def test_every_change_is_audited_and_secrets_only_as_changed() -> None:
    api = Api("admin")
    api.post("alerts/channels/", WEBHOOK)
    api.patch("alerts/channels/ops/", {"url": {"value": URL + "2"}, "per_hour": 5})
    api.post("alerts/rules/", {"name": "r", "events": ["no_target"], "channels": ["ops"]})
    api.patch("alerts/rules/r/", {"thresholds": {"no_target": 3}})
    api.patch("alerts/rules/r/", {"thresholds": {"no_target": 3}})
    api.delete("alerts/rules/r/")
    api.post("alerts/channels/ops/test/")
    api.delete("alerts/channels/ops/")
    entries = AuditEntry.objects.filter(action__startswith="alert_").order_by("id")
    assert [entry.action for entry in entries] == [
        "alert_channel.created",
        "alert_channel.updated",
        "alert_rule.created",
        "alert_rule.updated",
        "alert_rule.deleted",
        "alert_channel.tested",
        "alert_channel.deleted",
    ]
    assert entries[1].changes == {"per_hour": [60, 5], "url": "changed"}
    assert entries[3].changes == {"thresholds.no_target": [1, 3]}
    assert {(entry.category, entry.actor_name) for entry in entries} == {("admin", "key with admin")}


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({**WEBHOOK, "secret": None}, "secret"),
        ({**WEBHOOK, "secret": {"value": "short"}}, "secret"),
        ({**WEBHOOK, "secret": {"keep": True}}, "secret"),
        ({**WEBHOOK, "url": None}, "url"),
        ({**WEBHOOK, "url": {"value": "ftp://x.example"}}, "url"),
        ({**WEBHOOK, "url": {"value": "https://user:pass@x.example"}}, "url"),
        ({**WEBHOOK, "url": {"value": "http://169.254.169.254/latest"}}, "url"),
        ({**WEBHOOK, "url": {"value": "https://x.example/#top"}}, "url"),
        ({**WEBHOOK, "recipients": ["a@example.org"]}, "recipients"),
        ({**WEBHOOK, "kind": "slack"}, "secret"),
        ({**WEBHOOK, "kind": "pager"}, "kind"),
        ({**WEBHOOK, "per_hour": -1}, "per_hour"),
        ({"name": "m", "kind": "email"}, "recipients"),
        ({"name": "m", "kind": "email", "recipients": ["a@example.org\r\nBcc: b@example.org"]}, "recipients[0]"),
        ({"name": "m", "kind": "email", "recipients": ["a@example.org"], "url": {"value": URL}}, "url"),
    ],
)
def test_a_channel_that_could_not_work_is_refused_at_the_field(body: dict[str, Any], field: str) -> None:
    answer = Api("admin").post("alerts/channels/", body)
    assert (answer.status, list(answer.error["fields"])) == (400, [field])
    assert not AlertChannel.objects.exists()


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"events": []}, "events"),
        ({"events": ["rain"]}, "events[0]"),
        ({"channels": ["ops", "nobody"]}, "channels[1]"),
        ({"providers": ["nobody"]}, "providers[0]"),
        ({"thresholds": {"failover_rate": 0}}, "thresholds.failover_rate"),
        ({"window": 10}, "window"),
        ({"repeat": -1}, "repeat"),
        ({"severity": "loud"}, "severity"),
    ],
)
def test_a_rule_that_could_not_work_is_refused_at_the_field(changes: dict[str, Any], field: str) -> None:
    channel()
    body = {"name": "r", "events": ["no_target"], "channels": ["ops"]}
    answer = Api("admin").post("alerts/rules/", {**body, **changes})
    assert (answer.status, list(answer.error["fields"])) == (400, [field])
    assert not AlertRule.objects.exists()


def test_what_was_read_may_be_sent_back_whole_and_changes_nothing() -> None:
    actions.create_provider(samples.provider("alpha"), actor=ADA)
    api = Api("admin")
    api.post("alerts/channels/", WEBHOOK)
    api.post("alerts/rules/", {"name": "r", "events": ["no_target"], "channels": ["ops"], "providers": ["alpha"]})
    for path in ("alerts/channels/ops/", "alerts/rules/r/"):
        read = api.get(path)
        again = api.patch(path, read.body, if_match=read.headers["ETag"])
        assert (again.status, again.body) == (200, read.body)


def test_stale_writes_taken_names_and_channels_in_use_are_refused() -> None:
    api = Api("admin")
    api.post("alerts/channels/", WEBHOOK)
    api.post("alerts/rules/", {"name": "r", "events": ["no_target"], "channels": ["ops"]})
    assert api.patch("alerts/channels/ops/", {"per_hour": 1}, if_match='"7"').error["code"] == "stale_version"
    assert api.delete("alerts/rules/r/", if_match='"7"').status == 412
    assert api.post("alerts/channels/", WEBHOOK).error["code"] == "conflict"
    assert api.post("alerts/rules/", {"name": "r", "events": ["no_target"]}).error["code"] == "conflict"
    assert api.patch("alerts/channels/ops/", {"kind": "slack", "secret": None}).error["fields"] == {
        "kind": ["cannot be changed; add another channel instead"]
    }
    used = api.delete("alerts/channels/ops/")
    assert (used.status, used.error["used_by"]) == (409, ["alert rule r"])


def test_a_viewer_reads_an_operator_tests_and_only_an_admin_changes() -> None:
    made = channel()
    body = {"name": "r", "events": ["no_target"]}
    for scopes, reads, tests, writes in (
        (("route",), 403, 403, 403),
        (("read",), 200, 403, 403),
        (("operate",), 200, 202, 403),
    ):
        api = Api(*scopes)
        for path in (
            "alerts/",
            "alerts/channels/",
            f"alerts/channels/{made.pk}/",
            "alerts/rules/",
            "alerts/deliveries/",
        ):
            assert api.get(path).status == reads, (scopes, path)
        assert api.post("alerts/channels/ops/test/").status == tests
        assert api.post("alerts/rules/", body).status == writes
        assert api.patch("alerts/channels/ops/", {"per_hour": 1}).status == writes
        assert api.delete("alerts/channels/ops/").status == writes
    assert Api().get("alerts/").status == 401


def test_a_test_is_queued_at_once_and_its_result_is_in_the_log(receiver: HttpReceiver) -> None:
    channel(url=receiver.url)
    api = Api("operate")
    queued = api.post("alerts/channels/ops/test")
    assert (queued.status, queued.body["status"], queued.body["event"]) == (202, "pending", "test")
    assert receiver.requests == [], "never sent by a request"
    assert api.post("alerts/channels/ops/test/").error["code"] == "conflict"
    delivery.deliver()
    result = api.get(f"alerts/deliveries/{queued.body['id']}/").body
    assert (result["status"], result["http_status"], result["attempts"]) == ("sent", 200, 1)


def test_the_log_is_paged_and_filtered() -> None:
    one, two = channel("one"), channel("two", enabled=False)
    rule("all", one, two, repeat=0)
    for number in range(5):
        matching.take(opened(f"acme / {number}"))
    AlertDelivery.objects.filter(message__subject="acme / 0").update(status="sent")
    api = Api("read")
    first = api.get("alerts/deliveries/?limit=3&channel=one&event=circuit_opened&count=exact").body
    assert [each["title"][-1] for each in first["results"]] == ["4", "3", "2"]
    assert first["count"] == 5
    second = api.get(first["next"].partition("/api/v1/")[2]).body
    assert [each["title"][-1] for each in second["results"]] == ["1", "0"]
    assert len(api.get("alerts/deliveries/?status=sent").body["results"]) == 1
    assert api.get("alerts/deliveries/?channel=two").body["results"] == []
    for query, field in (("status=lost", "status"), ("event=rain", "event")):
        assert list(api.get(f"alerts/deliveries/?{query}").error["fields"]) == [field]
    assert api.get("alerts/deliveries/?channel=nobody").status == 404
    assert api.get(f"alerts/deliveries/{uuid4()}/").status == 404
    assert api.get("alerts/deliveries/" + "0" * 33 + "/").status == 404


def test_the_overview_counts_and_shows_what_fired_last() -> None:
    rule("all", channel(), channel("off", enabled=False))
    matching.take(opened())
    ProviderOutage.objects.create(pk=uuid4(), provider="alpha", since=NOON)
    found = Api("read").get("alerts/").body
    assert found["rules"] == {"total": 1, "enabled": 1}
    assert found["channels"] == {"total": 2, "enabled": 1}
    assert found["deliveries"] == {"pending": 1, "sent_24h": 0, "failed_24h": 0, "suppressed_24h": 0}
    assert found["providers_down"] == [{"provider": "alpha", "since": NOON.isoformat()}]
    assert [(alert["title"], alert["count"]) for alert in found["alerts"]] == [("Circuit opened: acme-eu / gpt-4o", 1)]


def test_real_answers_are_what_the_schema_says() -> None:
    schema = yaml.load(SNAPSHOT.read_text(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    rule("all", channel())
    matching.take(opened())
    identifier = str(AlertDelivery.objects.get().pk)
    calls: list[tuple[str, str, str, Any]] = [
        ("get", "", "", None),
        ("get", "channels/", "", None),
        ("post", "channels/", "", {**WEBHOOK, "name": "new"}),
        ("get", "channels/{id}/", "new", None),
        ("patch", "channels/{id}/", "new", {"per_hour": 3}),
        ("post", "channels/{id}/test/", "new", None),
        ("post", "channels/{id}/test/", "new", None),
        ("get", "rules/", "", None),
        ("post", "rules/", "", {"name": "r", "events": ["head_offline"]}),
        ("get", "rules/{id}/", "r", None),
        ("patch", "rules/{id}/", "r", {"window": 60}),
        ("get", "deliveries/", "", None),
        ("get", "deliveries/{id}/", identifier, None),
        ("delete", "channels/{id}/", "ops", None),
    ]
    api = Api("admin")
    for method, template, key, body in calls:
        answer = api.call(method, "alerts/" + template.replace("{id}", key), body)
        responses = schema["paths"][f"/api/v1/alerts/{template}"][method]["responses"]
        told = responses.get(str(answer.status), responses["default"])["content"]["application/json"]["schema"]
        problems = Draft202012Validator({**schema, "told": told, "$ref": "#/told"}).iter_errors(answer.body)
        assert [problem.message for problem in problems] == [], (method, template)
