"""How messages reach their channels, and what happens when they do not. Receivers are real servers."""

from __future__ import annotations

import hashlib
import hmac
import threading
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest
from django.db import connections

from health.alerts import actions, delivery, formats, matching, sending, tasks
from health.models import AlertChannel, AlertDelivery
from routes.actions.errors import Conflict
from routing_project.celery import SCHEDULE
from routing_project.env import get_env
from routing_project.worker import TASK_MODULES
from tests.alerts.conftest import ADA, NOON, SECRET, after, channel, opened, rule
from tests.alerts.receivers import HttpReceiver, MailReceiver

if TYPE_CHECKING:
    from datetime import datetime

pytestmark = pytest.mark.django_db


def told(**fields: Any) -> AlertChannel:
    """A channel of which a rule has just queued a message."""
    made = channel(**fields)
    rule("all", made)
    matching.take(opened(fields=(("Provider", "acme-eu"),)), now=NOON)
    return made


def row() -> AlertDelivery:
    return AlertDelivery.objects.get()


def at(moment: datetime) -> int:
    return delivery.deliver(lambda: moment)


def deliver(**time: float) -> int:
    return at(after(**time))


# -- webhooks ------------------------------------------------------------------------------------------
def test_a_webhook_is_signed_json_with_the_id_of_the_delivery(receiver: HttpReceiver) -> None:
    told(url=f"{receiver.url}?team=ops")
    assert deliver() == 1
    (got,) = receiver.requests
    assert got.path == "/hook?team=ops"
    signed = got.headers["x-signalbox-timestamp"].encode() + b"." + got.body
    digest = hmac.new(SECRET.encode(), signed, hashlib.sha256).hexdigest()
    assert got.headers["x-signalbox-signature"] == f"sha256={digest}"
    assert got.headers["content-type"] == "application/json"
    assert got.headers["x-signalbox-delivery"] == str(row().pk) == got.json["id"]
    assert got.json == {
        "id": str(row().pk),
        "event": "circuit_opened",
        "severity": "warning",
        "title": "Circuit opened: acme-eu / gpt-4o",
        "text": "acme-eu / gpt-4o is left alone.",
        "subject": "acme-eu / gpt-4o",
        "provider": "acme-eu",
        "rule": "all",
        "at": NOON.isoformat(),
        "first_at": NOON.isoformat(),
        "count": 1,
        "fields": [{"name": "Provider", "value": "acme-eu"}],
        "held_back": 0,
        "test": False,
        "link": "http://127.0.0.1:8000/admin/",
    }
    assert (row().status, row().http_status, row().attempts, row().error) == ("sent", 200, 1, "")
    assert deliver(hours=9) == 0, "sent is sent"


def test_links_lead_to_the_public_address(receiver: HttpReceiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIGNALBOX_PUBLIC_URL", "https://router.example/")
    get_env.cache_clear()
    told(url=receiver.url)
    deliver()
    assert receiver.requests[0].json["link"] == "https://router.example/admin/"


def test_a_receiver_that_fails_is_tried_five_times_within_about_an_hour_and_then_given_up(
    receiver: HttpReceiver,
) -> None:
    receiver.answers = [(500, {}, b"out of order")] * 9
    told(url=receiver.url)
    now = NOON
    for wanted in delivery.WAITS:
        assert at(now) == 1
        tried, now = now, row().next_try_at or NOON
        assert 0.8 * wanted <= (now - tried).total_seconds() <= 1.2 * wanted
        assert at(tried) == 0, "not before its time"
    assert at(now) == 1
    assert (row().status, row().attempts, row().http_status) == ("failed", 5, 500)
    assert row().error == "HTTP 500: out of order"
    assert len({got.headers["x-signalbox-delivery"] for got in receiver.requests}) == 1 < len(receiver.requests)


def test_a_receiver_that_works_again_gets_the_message(receiver: HttpReceiver) -> None:
    receiver.answers = [(503, {}, b""), (429, {"retry-after": "200"}, b"")]
    told(url=receiver.url)
    deliver()
    deliver(minutes=1)
    assert row().next_try_at == after(minutes=1, seconds=200), "longer than we would have waited"
    deliver(minutes=5)
    assert (row().status, row().attempts, row().error) == ("sent", 3, "")


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410])
def test_a_refusal_for_good_is_not_tried_again(receiver: HttpReceiver, status: int) -> None:
    receiver.answers = [(status, {}, b"no_service")]
    told(url=receiver.url)
    deliver()
    assert (row().status, row().attempts, row().error) == ("failed", 1, f"HTTP {status}: no_service")


def test_a_redirect_is_never_followed(receiver: HttpReceiver) -> None:
    with HttpReceiver() as elsewhere:
        receiver.answers = [(307, {"location": elsewhere.url}, b"")]
        told(url=receiver.url)
        deliver()
        assert elsewhere.connections == 0
    assert (row().status, row().attempts) == ("failed", 1)
    assert row().error == "HTTP 307: redirects are not followed; enter the final URL"


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "0x7f.1"])
def test_a_public_channel_never_leads_to_loopback_whatever_its_host_is_called(
    receiver: HttpReceiver, host: str
) -> None:
    told(url=f"http://{host}:{receiver.port}/hook", network="public")
    deliver()
    assert receiver.connections == 0
    assert (row().status, row().attempts) == ("failed", 1)
    assert "not allowed" in row().error or "resolved" in row().error


def test_the_ceiling_of_the_installation_holds_for_channels_too(
    receiver: HttpReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SIGNALBOX_UPSTREAM_NETWORKS", "public,private")
    get_env.cache_clear()
    told(url=receiver.url)
    deliver()
    assert (receiver.connections, row().status) == (0, "failed")


def test_who_does_not_answer_is_waited_for_no_longer_than_the_limit_and_asked_again(
    receiver: HttpReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sending, "TIMEOUT", 0.2)
    receiver.hold.clear()
    told(url=receiver.url)
    deliver()
    assert (row().status, row().error) == ("pending", "no answer within 0.2 s")
    receiver.hold.set()
    deliver(minutes=1)
    assert row().status == "sent"


def test_nobody_at_the_address_is_told_as_such() -> None:
    with HttpReceiver() as gone:
        url = gone.url
    told(url=url)
    deliver()
    assert (row().status, row().error) == ("pending", "cannot connect: Connection refused")


def test_what_a_receiver_repeats_of_url_and_secret_is_not_kept(receiver: HttpReceiver) -> None:
    token = "T0K3N-in-the-path"
    echo = f"no hook /services/{token}?key=abcdef123 signed {SECRET}\n<b>" + "x" * 500
    receiver.answers = [(500, {}, echo.encode())]
    told(url=f"{receiver.url}/services/{token}?key=abcdef123")
    deliver()
    assert row().error.startswith("HTTP 500: no hook ")
    assert token not in row().error
    assert "abcdef123" not in row().error
    assert SECRET not in row().error
    assert len(row().error) <= 300
    assert row().error.isprintable()


@pytest.mark.parametrize("before", [*range(275, 300, 6), 64 * 1024 - 40])
def test_not_even_half_of_a_secret_is_kept_where_an_answer_is_cut(receiver: HttpReceiver, before: int) -> None:
    receiver.answers = [(500, {}, b"x" * before + SECRET.encode() * 3)]
    told(url=receiver.url)
    deliver()
    assert row().error.startswith("HTTP 500: xxx")
    assert SECRET[:4] not in row().error


def test_a_channel_whose_url_cannot_be_opened_fails_with_a_hint(receiver: HttpReceiver) -> None:
    made = told(url=receiver.url)
    AlertChannel.objects.filter(pk=made.pk).update(url=b"sbx1 damaged beyond repair, and long enough")
    deliver()
    assert row().status == "failed"
    assert "enter it again" in row().error


# -- who sends -----------------------------------------------------------------------------------------
def test_a_slow_receiver_holds_up_only_itself(receiver: HttpReceiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sending, "TIMEOUT", 0.5)
    with HttpReceiver() as slow:
        slow.hold.clear()
        rule("all", channel("slow", slow.url), channel("quick", receiver.url))
        for number in range(3):
            matching.take(opened(f"acme / {number}"), now=after(seconds=number))
        assert deliver(seconds=5) == 6
        assert [got.json["subject"] for got in receiver.requests] == ["acme / 0", "acme / 1", "acme / 2"]
    assert set(AlertDelivery.objects.values_list("channel_name", "status")) == {("slow", "pending"), ("quick", "sent")}


@pytest.mark.django_db(databases=["default", "pg"], transaction=True)
@pytest.mark.usefixtures("both_databases")
def test_two_workers_send_every_message_once(receiver: HttpReceiver) -> None:
    names = [f"channel {number}" for number in range(3)]
    rule("all", *(channel(name, receiver.url) for name in names))
    for number in range(4):
        matching.take(opened(f"acme / {number}"), now=NOON)
    usual = connections["default"]
    barrier = threading.Barrier(2)
    made = []

    def work() -> None:
        # Threads have connections of their own; both_databases changes only the main thread's.
        if usual.vendor == "postgresql":
            connections["default"] = connections["pg"]
        barrier.wait(10)
        with closing(connections["default"]):
            made.append(delivery.deliver(lambda: NOON))

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(made) == 12
    ids = [got.json["id"] for got in receiver.requests]
    assert len(ids) == len(set(ids)) == 12
    assert set(AlertDelivery.objects.values_list("status", "attempts")) == {("sent", 1)}


def test_what_a_dead_worker_had_claimed_is_sent_by_the_next_when_the_lease_is_over(receiver: HttpReceiver) -> None:
    told(url=receiver.url)
    (lost,) = delivery.claim(NOON)
    assert deliver(seconds=delivery.LEASE - 1) == 0
    assert deliver(seconds=delivery.LEASE) == 1
    assert (row().status, row().attempts) == ("sent", 2)
    delivery.settle(lost, sending.Outcome(False, "late news"), after(hours=1))
    assert (row().status, row().error) == ("sent", ""), "who comes back late has nothing to say"


def test_a_message_over_which_workers_die_is_given_up(receiver: HttpReceiver) -> None:
    told(url=receiver.url)
    for number in range(delivery.TRIES):
        assert len(delivery.claim(after(hours=number))) == 1
    assert delivery.claim(after(hours=9)) == []
    assert (row().status, row().attempts) == ("failed", delivery.TRIES)
    assert receiver.requests == []


def test_a_channel_that_is_switched_off_or_deleted_gets_nothing_that_still_waits(receiver: HttpReceiver) -> None:
    off, gone = channel("off", receiver.url), channel("gone", receiver.url)
    all_of_it = rule("all", off, gone)
    matching.take(opened(), now=NOON)
    actions.update_channel(off, {"enabled": False}, actor=ADA)
    actions.update_rule(all_of_it, {"channels": ["off"]}, actor=ADA)
    actions.delete_channel(gone, actor=ADA)
    assert deliver() == 0
    found = AlertDelivery.objects.order_by("channel_name").values_list("channel_name", "status", "error")
    assert list(found) == [
        ("gone", "failed", "the channel was deleted"),
        ("off", "suppressed", "the channel was switched off"),
    ]
    assert receiver.requests == []


def test_the_tasks_are_scheduled_under_their_names_and_the_worker_knows_them(receiver: HttpReceiver) -> None:
    names = {entry["task"] for entry in SCHEDULE.values()}
    assert {tasks.deliver.name, tasks.watch.name, tasks.prune.name} <= names
    assert tasks.__name__ in TASK_MODULES
    told(url=receiver.url)
    tasks.watch()
    tasks.prune()
    with tasks._delivering:
        tasks.deliver()
        assert receiver.requests == [], "one run at a time in a worker"
    tasks.deliver()
    assert len(receiver.requests) == 1


def test_old_messages_leave_the_log_and_those_that_wait_stay(receiver: HttpReceiver) -> None:
    told(url=receiver.url)
    assert delivery.prune(after(days=31)) == 0
    deliver()
    assert delivery.prune(after(days=29)) == 0
    assert delivery.prune(after(days=31)) == 1
    assert not AlertDelivery.objects.exists()


# -- tests by hand -------------------------------------------------------------------------------------
def test_a_test_message_is_tried_once_whatever_rules_and_switches_say(receiver: HttpReceiver, kicks: list[str]) -> None:
    made = channel(url=receiver.url, enabled=False, per_hour=1)
    receiver.answers = [(500, {}, b"broken")]
    actions.send_test(made, actor=ADA)
    with pytest.raises(Conflict, match="under way already"):
        actions.send_test(made, actor=ADA)
    delivery.deliver()
    assert (row().status, row().attempts, row().error) == ("failed", 1, "HTTP 500: broken")
    actions.send_test(made, actor=ADA)
    delivery.deliver()
    got = receiver.requests[1].json
    assert (got["event"], got["test"], got["rule"]) == ("test", True, None)
    assert got["text"] == "ada asked for a test of the alert channel ops. Nothing has happened."


# -- other kinds ---------------------------------------------------------------------------------------
HOSTILE = "<!channel> *acme* [x](http://evil.example) & @everyone"


def hostile(kind: str, **fields: Any) -> None:
    rule("all", channel(kind=kind, **fields), severity="critical")
    matching.take(opened(HOSTILE, fields=(("Provider", HOSTILE), ("Reason", "x" * 5000))), now=NOON)
    assert deliver() == 1
    assert row().status == "sent"


def test_slack_gets_blocks_in_which_text_from_outside_is_only_text(receiver: HttpReceiver) -> None:
    hostile("slack", url=receiver.url)
    (got,) = receiver.requests
    assert "x-signalbox-signature" not in got.headers
    told = got.json
    assert set(told) == {"text", "blocks"}
    assert [block["type"] for block in told["blocks"]] == ["header", "section", "section", "context"]
    assert told["blocks"][0]["text"]["text"].startswith("CRITICAL: Circuit opened: ")
    assert told["blocks"][1]["text"]["text"].startswith("&lt;!channel&gt; *acme*")
    assert "<!channel>" not in told["text"]
    assert "|Open in Signalbox>" in told["blocks"][3]["elements"][0]["text"]
    assert all(len(field["text"]) <= 2000 for field in told["blocks"][2]["fields"])


def test_discord_gets_an_embed_that_mentions_nobody(receiver: HttpReceiver) -> None:
    hostile("discord", url=receiver.url)
    told = receiver.requests[0].json
    assert told["allowed_mentions"] == {"parse": []}
    (embed,) = told["embeds"]
    assert embed["title"].startswith(r"Circuit opened: <!channel\> \*acme\* \[x\]\(http")
    assert embed["timestamp"] == NOON.isoformat()
    assert all(len(field["value"]) <= 1024 for field in embed["fields"])


def test_an_e_mail_is_plain_text_under_the_id_of_the_delivery(mail_server: MailReceiver) -> None:
    hostile("email", recipients=["ops@example.org", "lead@example.org"])
    ((recipients, mail),) = mail_server.mails
    assert recipients == ["ops@example.org", "lead@example.org"]
    assert mail["subject"] == f"[Signalbox] CRITICAL: Circuit opened: {HOSTILE}"
    assert mail["from"] == "Signalbox <alerts@router.example>"
    assert mail["message-id"] == f"<{row().pk}@router.example>"
    assert mail.get_content_type() == "text/plain"
    assert "Open" not in mail.get_content()
    assert "http://127.0.0.1:8000/admin/" in mail.get_content()


def test_a_name_with_a_line_break_makes_no_header_of_its_own(mail_server: MailReceiver) -> None:
    rule("all", channel(kind="email"))
    matching.take(opened("acme\r\nBcc: evil@example.org"), now=NOON)
    deliver()
    ((recipients, mail),) = mail_server.mails
    assert recipients == ["ops@example.org"]
    assert mail["bcc"] is None


@pytest.mark.parametrize(("refusal", "status"), [(b"451 later", "pending"), (b"550 never", "failed")])
def test_what_the_mail_server_says_is_told_and_decides(mail_server: MailReceiver, refusal: bytes, status: str) -> None:
    mail_server.refusal = refusal
    told(kind="email")
    deliver()
    assert (row().status, row().error) == (status, f"SMTP {refusal.decode()[:3]}: {refusal.decode()[4:]}")


def test_without_a_mail_server_an_e_mail_fails_with_the_name_of_the_setting(settings: Any) -> None:
    settings.EMAIL_HOST = ""
    told(kind="email")
    deliver()
    assert (row().status, row().error) == ("failed", "no mail server is set: SIGNALBOX_EMAIL_URL")


def test_every_format_says_that_messages_were_held_back() -> None:
    message = formats.test_message(channel(), "ada", NOON)
    message["held_back"] = 2
    for form in (formats.slack, formats.discord, formats.email):
        assert "2 messages were held back before this one" in str(form(message, "id", "http://x"))
    assert formats.webhook(message, "id", "http://x")["held_back"] == 2
