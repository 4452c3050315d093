"""``/webhook/*``: signed by who knows a secret, fresh, taken once by any process or host, and not in floods."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest
import redis
from django.test import RequestFactory
from rest_framework.exceptions import Throttled
from rest_framework.request import Request

from routing_project.console import webhooks
from routing_project.console.webhooks import Calls, Seen, WebhookRefused, WebhooksDisabled, sign, verify
from routing_project.env import Env, get_env
from tests.live_feed.clients import SECRETS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.live_feed.clients import Console

NOW = 1_800_000_000.0
BODY = b'{"route_type": "inference"}'


# -- through the product -------------------------------------------------------------------------------
def test_a_signed_request_is_decided_as_an_operators_would_be(console: Console) -> None:
    answer = console.webhook({"route_type": "service", "profile": "default", "session": "by webhook"})
    assert answer.status == 201
    decision = answer.json()
    assert (decision["status"], decision["provider"]) == ("decided", "acme")
    row = console.route(decision["id"])
    assert (row["profile"], row["route_type"], row["access_key"]) == ("default", "service", "webhook")
    without = console.webhook({"route_type": "inference"}, path="/webhook/routing-decision/")
    assert (without.status, without.json()["provider"]) == (201, "acme")
    report = {"status": "routed", "latency_ms": 5}
    path = f"/api/v1/decisions/{decision['id']}/"
    assert console.request("PATCH", path, report, key=console.keys["route"]).status == 404
    with console.socket() as watching:
        watching.ask("subscribe", {"filter": {"session": "by webhook", "status": "routed"}})
        assert console.request("PATCH", path, report, key=console.keys["operate"]).status == 200
        assert [event["id"] for event in watching.hear()["payload"]["events"]] == [decision["id"]]


def test_what_was_taken_once_is_refused_also_after_a_restart_of_the_console(console: Console) -> None:
    at = time.time()
    assert console.webhook({"route_type": "inference", "model": "gpt-4o"}, at=at).status == 201
    again = console.webhook({"route_type": "inference", "model": "gpt-4o"}, at=at, secret=SECRETS[0])
    assert (again.status, again.json()["error"]["code"]) == (401, "bad_signature")
    console.wait_replaced(console=console.kill("console"))
    assert console.webhook({"route_type": "inference", "model": "gpt-4o"}, at=at).status == 401


@pytest.mark.parametrize(
    ("change", "status", "code"),
    [
        ({"secret": "another"}, 401, "bad_signature"),
        ({"at": 1_000_000_000}, 401, "bad_signature"),
        ({"X_Signalbox_Timestamp": ""}, 401, "bad_signature"),
        ({"X_Signalbox_Signature": ""}, 401, "bad_signature"),
        ({"X_Signalbox_Signature": "sha256=" + "0" * 64}, 401, "bad_signature"),
        ({"body": b"{"}, 400, "parse_error"),
        ({"body": {"route_type": "other"}}, 400, "invalid"),
        ({"body": {"route_type": "inference", "strategy": "random"}}, 403, "permission_denied"),
        ({"body": {"route_type": "inference", "profile": "nothing"}}, 404, "not_found"),
        ({"path": "/webhook/other"}, 404, "not_found"),
    ],
)
def test_what_cannot_be_taken_is_refused_in_the_shape_of_the_api(
    console: Console, change: dict[str, Any], status: int, code: str
) -> None:
    answer = console.webhook(**{"body": {"route_type": "inference"}, **change})
    assert (answer.status, answer.json()["error"]["code"]) == (status, code)
    assert set(answer.json()["error"]) >= {"code", "message", "fields"}


def test_a_webhook_is_posted(console: Console) -> None:
    assert console.call("GET", "/webhook/routing-decision").status in {401, 405}


# -- signatures ------------------------------------------------------------------------------------------
@pytest.fixture
def secrets(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Sets them; what was seen is told to nobody else."""

    def use(*values: str) -> None:
        monkeypatch.setenv("SIGNALBOX_WEBHOOK_SECRET", ",".join(values))
        get_env.cache_clear()

    use("the secret")
    fresh = Seen(lambda _digest: None)
    monkeypatch.setattr(webhooks, "seen", lambda: fresh)
    yield use
    get_env.cache_clear()


def request(timestamp: str, signature: str, body: bytes = BODY) -> Request:
    headers = {"X-Signalbox-Timestamp": timestamp, "X-Signalbox-Signature": signature}
    made = RequestFactory().post("/webhook/x", body, content_type="application/json", headers=headers)
    return Request(made)


def signed(secret: str = "the secret", at: float = NOW, body: bytes = BODY) -> Request:
    timestamp = str(int(at))
    return request(timestamp, sign(secret, timestamp, body), body)


@pytest.mark.usefixtures("secrets")
def test_a_signature_counts_for_five_minutes_either_way() -> None:
    for off in (-300, 0, 300):
        verify(signed(at=NOW + off), NOW)
    for off in (-301, 301):
        with pytest.raises(WebhookRefused):
            verify(signed(at=NOW + off), NOW)


@pytest.mark.usefixtures("secrets")
@pytest.mark.parametrize(
    ("timestamp", "signature"),
    [
        ("", sign("the secret", "", BODY)),
        (" 1800000000", sign("the secret", " 1800000000", BODY)),
        ("1800000000.0", sign("the secret", "1800000000.0", BODY)),
        ("-5", sign("the secret", "-5", BODY)),
        ("1800000000", sign("the secret", "1800000000", BODY + b" ")),
        ("1800000000", sign("the secret", "1800000001", BODY)),
        ("1800000000", sign("the secret", "1800000000", BODY).partition("=")[2]),
        ("1800000000", "sha256="),
        ("1800000000", "sha256=\xe9"),
    ],
)
def test_a_signature_that_does_not_fit_to_the_letter_is_refused(timestamp: str, signature: str) -> None:
    with pytest.raises(WebhookRefused):
        verify(request(timestamp, signature), NOW)


def test_while_secrets_are_rotated_both_sign_and_afterwards_only_the_new_one(secrets: Callable[..., None]) -> None:
    secrets("new", "old")
    verify(signed("old", NOW), NOW)
    verify(signed("new", NOW + 1), NOW)
    secrets("new")
    with pytest.raises(WebhookRefused):
        verify(signed("old", NOW + 2), NOW)


def test_without_a_secret_webhooks_are_off(secrets: Callable[..., None]) -> None:
    secrets()
    with pytest.raises(WebhooksDisabled) as refused:
        verify(signed(""), NOW)
    assert (refused.value.status_code, refused.value.code) == (403, "webhooks_disabled")


def test_the_secret_may_be_in_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("one, two\n")
    monkeypatch.setenv("SIGNALBOX_WEBHOOK_SECRET_FILE", str(tmp_path / "secret"))
    monkeypatch.setenv("SIGNALBOX_WEBHOOK_SECRET", "")
    get_env.cache_clear()
    assert get_env().webhook_secret == ("one", "two")
    get_env.cache_clear()


# -- once ----------------------------------------------------------------------------------------------
@pytest.fixture
def elsewhere(redis_url: str, monkeypatch: pytest.MonkeyPatch, data_dir: Path) -> redis.Redis:
    """The Redis that all processes and hosts share."""
    monkeypatch.setattr(webhooks, "get_env", lambda: Env(data_dir=data_dir, REDIS_URL=redis_url))  # type: ignore[call-arg]
    return redis.Redis.from_url(redis_url)


def test_another_process_or_host_does_not_take_it_again(elsewhere: redis.Redis) -> None:
    one, other = Seen(webhooks._tell_redis), Seen(webhooks._tell_redis)
    assert one.first("digest", NOW)
    assert not one.first("digest", NOW)
    assert not other.first("digest", NOW)
    assert other.first("another", NOW)
    [key, _] = elsewhere.keys()
    assert 590 < elsewhere.ttl(key) <= 600  # type: ignore[operator]  # longer than a timestamp is good for
    elsewhere.close()


def test_without_redis_this_process_remembers(monkeypatch: pytest.MonkeyPatch, data_dir: Path) -> None:
    nowhere = f"unix://{data_dir}/nothing.sock"
    monkeypatch.setattr(webhooks, "get_env", lambda: Env(data_dir=data_dir, REDIS_URL=nowhere))  # type: ignore[call-arg]
    seen = Seen(webhooks._tell_redis)
    assert seen.first("digest", NOW)
    assert not seen.first("digest", NOW + 599)
    assert seen.first("digest", NOW + 601)


def test_a_full_memory_takes_nothing_new_until_something_lapses() -> None:
    seen = Seen(lambda _digest: None, limit=3)
    for digest in ("a", "b", "c"):
        assert seen.first(digest, NOW)
    with pytest.raises(Throttled):
        seen.first("d", NOW)
    assert not seen.first("a", NOW)  # nor is anything forgotten for it
    assert seen.first("d", NOW + 601)


# -- floods ------------------------------------------------------------------------------------------------
class Clock:
    now = 600.0

    def __call__(self) -> float:
        return self.now


def test_an_address_may_call_so_often_in_any_minute() -> None:
    clock = Clock()
    calls = Calls(10, clock)
    assert [calls.take("192.0.2.1") for _ in range(10)] == [None] * 10
    assert calls.take("192.0.2.1") == 60.0
    assert calls.take("192.0.2.2") is None
    clock.now += 66  # a tenth into the next window: nine tenths of the one before still count
    assert calls.take("192.0.2.1") is None
    assert calls.take("192.0.2.1") == 54.0
    clock.now += 120
    assert [calls.take("192.0.2.1") for _ in range(10)] == [None] * 10


def test_a_whole_network_of_ipv6_is_one_caller() -> None:
    calls = Calls(1, Clock())
    assert calls.take("2001:db8::1") is None
    assert calls.take("2001:db8::ffff") is not None
    assert calls.take("2001:db8:0:1::1") is None


def test_what_is_remembered_of_callers_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhooks, "MAX_ADDRESSES", 100)
    calls = Calls(1, Clock())
    for number in range(1000):
        calls.take(f"10.0.{number // 250}.{number % 250}")
    assert len(calls._counts) == 100


def test_a_flood_gets_429_with_retry_after_before_anything_is_checked(
    client: Any, monkeypatch: pytest.MonkeyPatch, secrets: Callable[..., None]
) -> None:
    few = Calls(2, Clock())
    monkeypatch.setattr(webhooks, "calls", lambda _limit: few)
    statuses = [client.post("/webhook/routing-decision", b"{}", content_type="application/json") for _ in range(3)]
    assert [answer.status_code for answer in statuses] == [401, 401, 429]
    assert int(statuses[2].headers["Retry-After"]) > 0
    assert statuses[2].json()["error"]["code"] == "throttled"
