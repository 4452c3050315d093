"""Limits per access key and per profile through two gateway processes and real sockets: what is refused and how it is
said, what is counted and given back, whatever ends a request."""

from __future__ import annotations

import itertools
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import anthropic
import openai
import pytest

from routes.live import SharedLiveState
from tests.documents import access_key, an_id
from tests.gateway.lab import CHAT, Lab
from tests.gateways import KEY, Gateways, wait_until

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterator

    from history.records import Finished
    from routes.engine.limits import KeyUsage
    from tests.gateway.lab import Provider
    from tests.gateways import Answer
    from tests.simulators import Simulator

#: Processes to talk to, and client libraries.
pytestmark = pytest.mark.thorough

_numbers = itertools.count(1)
#: A dollar a token of output: what was spent is what was said.
DEAR: dict[str, Any] = {"prices": {"gpt-4o": {"input": 0, "output": 1_000_000}}}


@pytest.fixture(scope="module")
def _pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateways]:
    gateways = _Pair(tmp_path_factory.mktemp("data"), 2)
    gateways.start()
    yield gateways
    gateways.stop()


class _Pair(Gateways):
    """Two journals have no common order, so nothing can be left out by its place; tests look for rows by key."""

    def forget(self) -> None:
        pass


@pytest.fixture
def lab(_pair: Gateways, simulator: Simulator) -> Lab:
    """Two processes, shared by the module; every test has a key of its own."""
    _pair.overlay()
    return Lab(_pair, simulator)


class Limited:
    """A key with limits, and what the host's live state knows of it."""

    def __init__(self, gateway: Gateways, **limits: float) -> None:
        self.gateway = gateway
        self.name = f"app-{next(_numbers)}"
        self.limit(**limits)

    def limit(self, **limits: float) -> None:
        self.gateway.overlay(keys=[access_key(KEY, name=self.name, limits=limits)])

    def rows(self, **wanted: Any) -> list[Finished]:
        """Its requests, those of which these fields are so."""
        rows = [row for row in self.gateway.finished() if row.key_name == self.name]
        return [row for row in rows if all(getattr(row, name) == value for name, value in wanted.items())]

    def usage(self) -> KeyUsage:
        with closing(SharedLiveState(self.gateway.data / "live.state", "test")) as live:
            return live.key_usage(an_id("key", self.name), time.monotonic(), time.time())


def limited(lab: Lab, only: Provider | None = None, **limits: float) -> tuple[Provider, Limited]:
    only = only or lab.provider()
    lab.publish(only)
    return only, Limited(lab.gateway, **limits)


def at_once(lab: Lab, count: int, **more: Any) -> list[Answer]:
    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(lambda _: lab.chat(**more), range(count)))


def counted(answers: list[Answer]) -> list[int]:
    return [sum(answer.status == status for answer in answers) for status in (200, 429)]


# -- requests a minute -----------------------------------------------------------------------------------------


def test_exactly_the_requests_of_a_minute_are_served_over_two_processes(lab: Lab) -> None:
    only, key = limited(lab, rpm=10)
    answers = at_once(lab, 16)
    assert counted(answers) == [10, 6]
    assert only.count == 10
    assert key.usage().requests == 10
    refused = next(answer for answer in answers if answer.status == 429)
    error = refused.json()["error"]
    assert (error["code"], error["type"]) == ("rate_limited", "rate_limited")
    assert error["message"] == f"access key '{key.name}' may make 10 requests a minute"
    assert 0 < int(refused.headers["retry-after"]) <= 61
    assert "x-should-retry" not in refused.headers
    rows = key.rows(http_status=429)
    assert len(rows) == 6
    assert {(row.status, row.error_code) for row in rows} == {("rejected", "rate_limited")}


def test_headers_say_what_is_left_in_the_clients_dialect(lab: Lab) -> None:
    _, _key = limited(lab, rpm=2, tpm=10_000)
    first = lab.chat(max_tokens=100)
    assert first.status == 200
    assert first.headers["x-ratelimit-limit-requests"] == "2"
    assert first.headers["x-ratelimit-remaining-requests"] == "1"
    assert first.headers["x-ratelimit-reset-requests"] in ("60s", "1m0s", "1m1s")
    assert first.headers["x-ratelimit-limit-tokens"] == "10000"
    assert 9800 <= int(first.headers["x-ratelimit-remaining-tokens"]) < 9900
    stream = lab.chat(stream=True)
    assert stream.headers["x-ratelimit-remaining-requests"] == "0"
    assert lab.chat().headers["x-ratelimit-remaining-requests"] == "0"
    refused = lab.messages()
    assert refused.status == 429
    assert refused.json()["error"]["type"] == "rate_limit_error"
    assert refused.json()["error"]["code"] == "rate_limited"
    assert refused.headers["anthropic-ratelimit-requests-limit"] == "2"
    assert refused.headers["anthropic-ratelimit-requests-remaining"] == "0"
    reset = datetime.fromisoformat(refused.headers["anthropic-ratelimit-requests-reset"])
    assert timedelta() < reset - datetime.now(UTC) <= timedelta(seconds=62)
    assert "x-ratelimit-limit-requests" not in refused.headers


def test_a_key_without_limits_is_told_nothing_and_nothing_is_counted(lab: Lab) -> None:
    _, key = limited(lab)
    answer = lab.chat()
    assert answer.status == 200
    assert not [name for name in answer.headers if "ratelimit" in name]
    assert key.usage().requests == 0


def test_the_official_sdks_raise_their_rate_limit_errors(lab: Lab) -> None:
    limited(lab, rpm=1)
    lab.chat()
    messages: Any = [{"role": "user", "content": "hello"}]
    with (
        openai.OpenAI(api_key=KEY, base_url=f"{lab.gateway.url}/v1", max_retries=0) as client,
        pytest.raises(openai.RateLimitError) as raised,
    ):
        client.chat.completions.create(model="gpt-4o", messages=messages)
    assert raised.value.code == "rate_limited"
    with (
        anthropic.Anthropic(api_key=KEY, base_url=lab.gateway.url, max_retries=0) as other,
        pytest.raises(anthropic.RateLimitError),
    ):
        other.messages.create(model="gpt-4o", max_tokens=5, messages=messages)


# -- tokens a minute -------------------------------------------------------------------------------------------


def test_tokens_are_reserved_before_sending_and_settled_to_what_was_used(lab: Lab) -> None:
    only, key = limited(lab, tpm=1000)
    only.behave(output_tokens=20)
    answer = lab.chat(max_tokens=900)
    row = lab.row(answer)
    assert row.input_tokens is not None
    used = row.input_tokens + 20
    assert key.usage().tokens == used
    refused = lab.chat(max_tokens=1000 - used)
    assert refused.status == 429
    assert refused.json()["error"]["message"].startswith(f"access key '{key.name}' may use 1,000 tokens a minute")
    assert lab.chat(max_tokens=900).status == 200
    assert key.usage().tokens == 2 * used
    assert key.usage().in_flight == 0


def test_a_request_larger_than_the_limit_is_not_told_to_come_back(lab: Lab) -> None:
    limited(lab, tpm=100)
    refused = lab.chat(max_tokens=500)
    assert refused.status == 429
    assert "retry-after" not in refused.headers
    assert refused.headers["x-should-retry"] == "false"
    assert lab.chat().status == 200, "the default for output that is not limited never refuses by itself"


def test_a_failed_request_gives_its_tokens_back_and_a_cut_stream_counts_what_came(lab: Lab) -> None:
    only, key = limited(lab, tpm=2000)
    only.fail("status", status=500)
    assert lab.chat(max_tokens=500).status == 502
    assert key.usage()[1:3] == (0, 0)
    only.heal()
    only.behave(tokens_per_second=20, output_tokens=200)
    connection = lab.open({**CHAT, "stream": True, "max_tokens": 500})
    assert connection.recv(65536).startswith(b"HTTP/1.1 200")
    assert key.usage().tokens >= 500
    connection.close()
    wait_until(lambda: key.usage().in_flight == 0)
    [row] = key.rows(status="cancelled")
    assert key.usage().tokens == (row.input_tokens or 0) + (row.output_tokens or 0)
    assert 0 < key.usage().tokens < 500


# -- at once ---------------------------------------------------------------------------------------------------


def test_only_so_many_are_under_way_at_once_and_a_client_that_leaves_makes_room(lab: Lab) -> None:
    only, key = limited(lab, concurrency=2)
    only.behave(latency=30)
    body = CHAT
    open_ones = [lab.open(body), lab.open(body)]
    wait_until(lambda: key.usage().in_flight == 2)
    refused = lab.chat()
    assert refused.status == 429
    assert refused.json()["error"]["message"] == f"access key '{key.name}' may have 2 requests under way at once"
    assert refused.headers["retry-after"] == "1"
    open_ones[0].close()
    wait_until(lambda: key.usage().in_flight == 1)
    only.behave(latency=0)
    assert lab.chat().status == 200
    open_ones[1].close()
    wait_until(lambda: key.usage().in_flight == 0)


def test_one_after_the_other_is_never_one_too_many(lab: Lab) -> None:
    limited(lab, concurrency=1)
    assert {lab.chat(stream=number % 2 == 1).status for number in range(40)} == {200}


def test_every_way_a_request_ends_gives_its_slot_back(lab: Lab) -> None:
    only, key = limited(lab, concurrency=1)
    only.fail("status", status=400)
    assert lab.chat().status == 400
    only.fail("status", status=503)
    assert lab.chat().status in (502, 503)
    assert lab.gateway.post("/v1/chat/completions", b"{").status == 400
    assert lab.chat(model="").status == 400
    only.heal()
    assert lab.chat().status == 200
    assert key.usage()[0:3:2] == (5, 0)


# -- money -----------------------------------------------------------------------------------------------------


def test_a_budget_warns_at_80_percent_blocks_at_100_and_tells_no_one_to_retry(lab: Lab) -> None:
    only, key = limited(lab, lab.provider(**DEAR), usd_day=100, usd_month=1000)
    only.behave(output_tokens=40)
    warned = f"access key '{key.name}' has spent"

    def lines() -> list[str]:
        log = lab.gateway.log(0) + lab.gateway.log(1)
        return [line for line in log.splitlines() if warned in line]

    assert lab.chat().status == 200
    assert lines() == []
    assert lab.chat().status == 200
    assert key.usage().money == (80_000_000,) * 3
    [line] = wait_until(lines)
    assert "80 % of its 100.00 US dollars of this day" in line
    assert "WARNING" in line or "warning" in line
    assert lab.chat().status == 200
    refused = [lab.chat(), lab.messages()]
    assert [answer.status for answer in refused] == [429, 429]
    assert refused[0].json()["error"]["code"] == "insufficient_quota"
    assert "has spent its 100.00 US dollars of this day" in refused[0].json()["error"]["message"]
    assert refused[0].headers["x-should-retry"] == "false"
    assert "retry-after" not in refused[0].headers
    assert refused[1].json()["error"]["type"] == "rate_limit_error"
    assert only.count == 3
    assert len(lines()) == 2, "one line for each step, from both processes together"
    assert len(key.rows(status="rejected", error_code="insufficient_quota", http_status=429)) == 2


def test_requests_of_unknown_cost_spend_nothing(lab: Lab) -> None:
    _, key = limited(lab, usd_day=100)
    assert lab.chat().status == 200
    assert key.usage().money == (0, 0, 0)


# -- profiles --------------------------------------------------------------------------------------------------


def seats(lab: Lab, concurrency: int, queue_ms: int) -> tuple[Provider, Limited]:
    only = lab.provider()
    lab.publish(only, of_profile={"limits": {"concurrency": concurrency, "queue_ms": queue_ms}})
    return only, Limited(lab.gateway)


def test_a_full_profile_refuses_with_503_and_says_when_to_come_back(lab: Lab) -> None:
    only, _ = seats(lab, 1, 0)
    only.behave(latency=30)
    held = lab.open(CHAT)
    only.wait_for(lambda requests: len(requests) == 1)
    refused = lab.chat()
    assert refused.status == 503
    assert refused.json()["error"]["code"] == "no_target_available"
    assert refused.headers["retry-after"] == "1"
    held.close()
    only.behave(latency=0)
    assert wait_until(lambda: lab.chat().status == 200)


def test_more_requests_than_seats_wait_their_turn_over_both_processes(lab: Lab) -> None:
    only, _ = seats(lab, 2, 20_000)
    only.behave(latency=0.1)
    answers = at_once(lab, 8)
    assert counted(answers) == [8, 0]
    assert only.count == 8
    received = sorted(request.received_at for request in only.requests())
    assert all(later - sooner >= 0.09 for sooner, later in zip(received, received[2:], strict=False)), "two at a time"


def test_who_waits_too_long_or_behind_too_many_is_refused(lab: Lab) -> None:
    only, key = seats(lab, 1, 300)
    only.behave(latency=30)
    held = lab.open(CHAT)
    only.wait_for(lambda requests: len(requests) == 1)
    answers = at_once(lab, 12)
    assert {answer.status for answer in answers} == {503}
    assert only.count == 1
    latencies = sorted(row.latency_us for row in key.rows(http_status=503))
    assert latencies[-1] >= 300_000
    assert latencies[0] < 300_000, "a process lets four wait for its one seat"
    held.close()


def test_a_client_that_leaves_the_queue_is_gone_from_it(lab: Lab) -> None:
    only, key = seats(lab, 1, 60_000)
    only.behave(latency=30)
    body = CHAT
    held = lab.open(body)
    only.wait_for(lambda requests: len(requests) == 1)
    waiting = lab.open(body)
    time.sleep(0.2)  # its request is in the queue by now, or arrives later and is taken out all the same
    waiting.close()
    wait_until(lambda: key.rows(status="cancelled"))
    held.close()
    only.behave(latency=0)
    assert lab.chat().status == 200
    assert only.count == 2


# -- processes that die ----------------------------------------------------------------------------------------


def test_what_a_killed_process_had_under_way_is_free_again(
    start_gateways: Callable[..., Gateways], simulator: Simulator
) -> None:
    gateway = start_gateways(2)
    lab = Lab(gateway, simulator)
    only = lab.provider()
    lab.publish(only, of_profile={"limits": {"concurrency": 12, "queue_ms": 0}})
    key = Limited(gateway, concurrency=12)
    only.behave(latency=60)
    held: list[socket.socket] = []
    for count, other in zip((6, 12), gateway.processes, strict=True):  # one stands still, the other takes what comes
        other.send_signal(signal.SIGSTOP)
        held += [lab.open(CHAT) for _ in range(6)]
        wait_until(lambda count=count: key.usage().in_flight == count)
        other.send_signal(signal.SIGCONT)
    assert lab.chat().status == 429
    gateway.kill(0)
    lost = sum(_is_closed(each) for each in held)
    assert lost == 6
    only.behave(latency=1)
    answers = at_once(lab, lost + 2)
    assert counted(answers) == [lost, 2]
    assert key.usage().in_flight == 12 - lost
    for each in held:
        each.close()


def _is_closed(connection: socket.socket) -> bool:
    connection.settimeout(0.1)
    try:
        return not connection.recv(1)
    except TimeoutError:
        return False
    except OSError:
        return True
