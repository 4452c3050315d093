"""Alerts in the console: what the forms store, what pages show, who may press what."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import uuid4

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from health.alerts import actions, delivery, matching
from health.alerts.kinds import WORDS
from health.models import AlertChannel, AlertDelivery, AlertRule, ProviderOutage
from routes import crypto
from tests.admin.conftest import filled, person, text
from tests.admin.test_pages import INLINE, MOST_QUERIES
from tests.admin.test_roles import buttons
from tests.alerts.conftest import ADA, channel, opened, rule

if TYPE_CHECKING:
    from django.test import Client

    from tests.alerts.receivers import HttpReceiver

pytestmark = pytest.mark.django_db
HOME = "/admin/health/alertrule/"
LOG = "/admin/health/alertdelivery/"
ADD_CHANNEL, ADD_RULE = "/admin/health/alertchannel/add/", f"{HOME}add/"


@pytest.fixture
def admin() -> Client:
    return person("Admin")


def page_of(row: AlertChannel | AlertRule, page: str = "change") -> str:
    return f"/admin/health/{row._meta.model_name}/{row.pk}/{page}/"


def test_a_channel_typed_into_the_form_is_stored_sealed_and_its_secrets_are_never_shown(admin: Client) -> None:
    url, secret = "https://hooks.example/T0K3N", "a-secret-that-signs"
    data = filled(admin.get(ADD_CHANNEL), name="On-call", url=url, secret=secret, per_hour="10")
    row = AlertChannel.objects.get(pk=admin.post(ADD_CHANNEL, data)["Location"].split("/")[-3])
    assert (row.name, row.kind, row.enabled, row.per_hour, row.network) == ("On-call", "webhook", True, 10, "public")
    page = admin.get(page_of(row))
    assert "https://hooks.example" in text(page)
    assert "T0K3N" not in text(page)
    assert secret not in text(page)
    data = filled(page, name="On-call team", network="private")
    assert admin.post(page_of(row), data).status_code == 302
    row.refresh_from_db()
    assert (row.name, row.network) == ("On-call team", "private")
    assert crypto.unseal(bytes(row.url or b""), row.context("url")).decode() == url, "empty keeps it"


def test_a_channel_of_another_kind_needs_other_fields(admin: Client) -> None:
    data = filled(admin.get(ADD_CHANNEL), name="Mail", kind="email", recipients="a@example.org, b@example.org")
    assert admin.post(ADD_CHANNEL, data).status_code == 302
    assert AlertChannel.objects.get().recipients == ["a@example.org", "b@example.org"]
    wrong = admin.post(ADD_CHANNEL, {**data, "name": "Other", "recipients": "nobody"})
    assert "is not an e-mail address" in text(wrong)
    wrong = admin.post(ADD_CHANNEL, filled(admin.get(ADD_CHANNEL), name="Hook"))
    assert "required for this kind of channel" in text(wrong)
    assert AlertChannel.objects.count() == 1


def test_a_rule_typed_into_the_form_is_stored_as_typed(admin: Client) -> None:
    channel("one")
    channel("two")
    fresh = admin.get(ADD_RULE)
    assert all(told.when in text(fresh) for told in WORDS.values()), "every event is explained"
    data = filled(
        fresh,
        name="Failing",
        severity="critical",
        events=["failover_rate", "no_target"],
        channels=["two"],
        repeat="60",
        window="120",
        **{"thresholds.failover_rate": "12.5", "thresholds.no_target": "4"},
    )
    assert admin.post(ADD_RULE, data).status_code == 302
    row = AlertRule.objects.get()
    tree = actions.rule_tree(row)
    assert tree == {
        "name": "Failing",
        "enabled": True,
        "severity": "critical",
        "events": ["failover_rate", "no_target"],
        "providers": [],
        "channels": ["two"],
        "thresholds": {"failover_rate": 12.5, "min_requests": 20, "no_target": 4, "journal_backlog": 100},
        "window": 120,
        "repeat": 60,
    }
    assert admin.post(page_of(row), filled(admin.get(page_of(row)))).status_code == 302
    row.refresh_from_db()
    assert (actions.rule_tree(row), row.version) == (tree, 1), "what is sent back unchanged changes nothing"
    wrong = admin.post(page_of(row), filled(admin.get(page_of(row)), providers="nobody", window="5"))
    assert "there is no provider" in text(wrong) or "must be" in text(wrong)


def test_somebody_elses_save_is_shown_beside_ones_own_and_no_secret_with_it(admin: Client) -> None:
    row = channel()
    data = filled(admin.get(page_of(row)), per_hour="7", url="https://mine.example/T0K3N")
    actions.update_channel(row, {"per_hour": 9}, actor=ADA)
    page = admin.post(page_of(row), data)
    assert page.status_code == 409
    assert "ada saved it" in text(page)
    assert "per_hour" in text(page)
    assert "T0K3N" not in text(page)
    row.refresh_from_db()
    assert row.per_hour == 9


def test_a_test_shows_its_result_on_the_page_of_the_channel(admin: Client, receiver: HttpReceiver) -> None:
    row = channel(url=receiver.url)
    receiver.answers = [(500, {}, b"<b>out of order</b>")]
    assert admin.post(page_of(row, "test"))["Location"] == f"{page_of(row)}#test"
    assert receiver.requests == []
    waiting = text(admin.get(page_of(row)))
    assert f'data-delivery="{AlertDelivery.objects.get().pk}"' in waiting
    assert admin.post(page_of(row, "test"), follow=True).context["messages"], "one at a time"
    delivery.deliver()
    failed = text(admin.get(page_of(row)))
    assert "HTTP 500: &lt;b&gt;out of order&lt;/b&gt;" in failed
    assert "data-delivery" not in failed
    admin.post(page_of(row, "test"))
    delivery.deliver()
    assert "answered with HTTP 200" in text(admin.get(page_of(row)))


def test_the_log_shows_every_message_and_can_be_filtered_and_turned(admin: Client) -> None:
    rule("all", channel("one"), channel("two"), repeat=0)
    for number in range(60):
        matching.take(opened(f"acme / {number}"))
    page = text(admin.get(LOG + "?channel=one&status=pending"))
    assert page.count("Circuit opened: acme") == 50
    assert "acme / 59" in page
    assert "acme / 9<" not in page
    older = page.partition('href="?channel=one')[2].partition('"')[0].replace("&amp;", "&")
    turned = text(admin.get(f"{LOG}?channel=one{older}"))
    assert turned.count("Circuit opened: acme") == 10
    assert "No message" in text(admin.get(LOG + "?status=failed"))
    assert admin.get(LOG + "?before=nonsense").status_code == 200


def test_a_channel_that_rules_use_is_not_deleted_and_the_page_names_them(admin: Client) -> None:
    row = channel()
    user = rule("loud", row)
    page = admin.post(page_of(row, "delete"), {"version": row.version})
    assert (page.status_code, "Alert rule loud" in text(page)) == (409, True)
    assert admin.post(page_of(user, "delete"), {"version": user.version})["Location"] == f"{HOME}#alertrules"
    assert admin.post(page_of(row, "delete"), {"version": row.version}).status_code == 302
    assert not AlertChannel.objects.exists()


def test_what_somebody_has_changed_meanwhile_is_not_deleted(admin: Client) -> None:
    row = channel()
    user = rule("loud", row)
    asked = {each: admin.get(page_of(each, "delete")).context["version"] for each in (row, user)}
    actions.update_channel(row, {"per_hour": 9}, actor=ADA)
    actions.update_rule(user, {"enabled": False}, actor=ADA)
    for each, version in asked.items():
        answer = admin.post(page_of(each, "delete"), {"version": version}, follow=True)
        assert "was changed by somebody else" in text(answer)
    assert (AlertChannel.objects.count(), AlertRule.objects.count()) == (1, 1)


def test_every_page_is_for_viewers_to_read_for_operators_to_test_and_for_admins_to_change(admin: Client) -> None:
    assert "No rule yet" in text(admin.get(HOME))
    to = channel()
    row = rule("<b>loud</b>", to)
    matching.take(opened("<script>alert(1)</script>"))
    ProviderOutage.objects.create(pk=uuid4(), provider="alpha", since=timezone.now())
    pages = [HOME, LOG, page_of(to), page_of(row)]
    viewer, operator = person("Viewer"), person("Operator")
    for address in pages:
        response = viewer.get(address)
        assert response.status_code == 200
        assert buttons(response) == [], address
        assert "/add/" not in text(response).partition("<main")[2]
        assert INLINE.findall(text(admin.get(address))) == [], address
        assert "<b>loud" not in text(response)
    assert "Send test" in buttons(operator.get(page_of(to)))
    assert viewer.post(page_of(to, "test")).status_code == 403
    assert operator.post(page_of(to, "test")).status_code == 302
    for client in (viewer, operator):
        for address in (
            ADD_CHANNEL,
            ADD_RULE,
            page_of(to),
            page_of(row),
            page_of(to, "delete"),
            page_of(row, "delete"),
        ):
            assert client.post(address, {"name": "x"}).status_code == 403, address
    assert person(None, "nobody").get(HOME).status_code == 403
    assert admin.get("/admin/health/alertchannel/")["Location"] == f"{HOME}#alertchannels"


def test_pages_need_few_queries_and_no_more_when_there_is_much() -> None:
    viewer = person("Viewer")
    row = rule("all", channel())
    matching.take(opened())
    pages = [HOME, LOG, page_of(row), page_of(AlertChannel.objects.get())]

    def queries() -> list[int]:
        counts = []
        for address in pages:
            viewer.get(address)
            with CaptureQueriesContext(connection) as captured:
                assert viewer.get(address).status_code == 200
            counts.append(len(captured))
        return counts

    before = queries()
    more = [channel(f"channel {number}") for number in range(10)]
    for number in range(10):
        rule(f"rule {number}", *more)
    matching.take(opened("b / x"))
    assert queries() == before
    assert max(before) <= MOST_QUERIES
