"""Failing over: which outcome leads where, what counts against whom, and what a client is told in the end."""

from __future__ import annotations

import contextlib
import socket
import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.gateway.lab import Lab

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.gateways import Gateways
    from tests.simulators import Simulator


#: Part of `make test-faults`.
pytestmark = [pytest.mark.faults, pytest.mark.thorough]


@pytest.mark.parametrize("stream", [False, True])
def test_anthropic_requests_fail_over_in_the_same_way(lab: Lab, stream: bool) -> None:
    bad, worse, good = (lab.provider("anthropic") for _ in range(3))
    lab.publish(bad, worse, good)
    bad.fail("status", status=529)
    worse.fail("error_event" if stream else "error_in_200")

    answer = lab.messages(stream=stream)

    assert answer.status == 200
    assert lab.attempts() == [(bad.slug, "overloaded"), (worse.slug, "error_in_200"), (good.slug, None)]


def test_a_refused_connection_goes_to_the_next_target(lab: Lab) -> None:
    bad, good = lab.provider(), lab.provider()
    lab.publish(bad, good)
    bad.stop()

    assert lab.chat().status == 200
    assert lab.attempts() == [(bad.slug, "connect_refused"), (good.slug, None)]


def test_a_name_that_does_not_resolve_goes_to_the_next_target(lab: Lab) -> None:
    bad, good = lab.provider(), lab.provider()
    bad.entry["base_url"] = "http://nothing.invalid/v1"
    lab.publish(bad, good)

    assert lab.chat().status == 200
    assert lab.attempts() == [(bad.slug, "dns"), (good.slug, None)]


def test_a_server_without_tls_goes_to_the_next_target(lab: Lab) -> None:
    bad, good = lab.provider(), lab.provider()
    bad.entry["base_url"] = bad.entry["base_url"].replace("http:", "https:")
    lab.publish(bad, good)

    assert lab.chat().status == 200
    assert lab.attempts() == [(bad.slug, "tls"), (good.slug, None)]


@pytest.mark.parametrize("kind", ["http_10", "no_length", "bare_lf"])
def test_an_unusual_but_sound_frame_is_taken(lab: Lab, kind: str) -> None:
    only = lab.provider()
    lab.publish(only)
    only.fail("framing", kind=kind)

    assert lab.chat().status == 200


def test_interim_answers_are_swallowed(lab: Lab) -> None:
    only = lab.provider()
    lab.publish(only)
    only.fail("early_hints", count=2)

    assert lab.chat().status == 200


def test_the_body_of_a_handed_on_error_is_the_upstreams_bytes(lab: Lab) -> None:
    only = lab.provider()
    lab.publish(only)
    only.fail("status", status=422, body=' {"odd":   "spacing", "error": {"message": "no"}}\n')

    assert lab.chat().body == b' {"odd":   "spacing", "error": {"message": "no"}}\n'


def test_a_content_filter_that_answers_is_an_answer(lab: Lab) -> None:
    only = lab.provider()
    lab.publish(only)
    only.fail("content_filter", form="answer")

    assert lab.chat().json()["choices"][0]["finish_reason"] == "content_filter"
    assert lab.row().status == "routed"


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A port where connecting takes for ever: its backlog is full."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(4):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listener.getsockname())
        yield listener.getsockname()[1]


def test_a_connection_that_is_not_made_in_time_goes_to_the_next_target(lab: Lab, silent_port: int) -> None:
    bad, good = lab.provider(), lab.provider()
    bad.entry["base_url"] = f"http://127.0.0.1:{silent_port}/v1"
    lab.publish(bad, good, timeouts={"connect": 0.2})

    assert lab.chat().headers["x-route-provider"] == good.slug
    assert lab.attempts() == [(bad.slug, "connect_timeout"), (good.slug, None)]


# -- time-outs -----------------------------------------------------------------------------------------------


def test_an_answer_that_does_not_begin_in_time_goes_to_the_next_target(lab: Lab) -> None:
    bad, good = lab.provider(), lab.provider()
    lab.publish(bad, good, timeouts={"first_byte": 0.2})
    bad.fail("hang_before_headers")

    assert lab.chat().headers["x-route-provider"] == good.slug
    assert lab.attempts() == [(bad.slug, "timeout_first_byte"), (good.slug, None)]
    assert bad.wait_for(lambda requests: requests[0].disconnected)


def test_a_body_that_does_not_begin_in_time_goes_to_the_next_target(lab: Lab) -> None:
    bad, good = lab.provider(), lab.provider()
    lab.publish(bad, good, timeouts={"first_byte": 0.2})
    bad.fail("hang_after_headers")

    assert lab.chat().headers["x-route-provider"] == good.slug
    assert lab.attempts() == [(bad.slug, "timeout_first_byte"), (good.slug, None)]


def test_pings_do_not_satisfy_the_time_limit_of_the_first_event(lab: Lab) -> None:
    bad, good = lab.provider(), lab.provider()
    lab.publish(bad, good, timeouts={"first_event": 0.3, "first_event_soft": 0})
    bad.fail("slow_first_content", seconds=5, pings=50)

    assert lab.chat(stream=True).headers["x-route-provider"] == good.slug
    assert lab.attempts() == [(bad.slug, "timeout_first_event"), (good.slug, None)]


def test_a_slow_stream_is_left_early_only_while_another_target_is_left(lab: Lab) -> None:
    first, second = lab.provider(), lab.provider()
    lab.publish(first, second, timeouts={"first_event": 20, "first_event_soft": 0.1}, same_target_retries=0)
    for each in (first, second):
        each.fail("slow_first_content", seconds=0.5)

    assert lab.chat(stream=True).headers["x-route-provider"] == second.slug
    assert lab.attempts() == [(first.slug, "timeout_first_event"), (second.slug, None)]


def test_leaving_a_slow_stream_early_does_not_count_against_its_target(lab: Lab) -> None:
    slow, good = lab.provider(circuit={"failure_threshold": 1}), lab.provider()
    lab.publish(slow, good, timeouts={"first_event_soft": 0.1})
    slow.fail("slow_first_content", seconds=5, times=1)

    assert lab.chat(stream=True).headers["x-route-provider"] == good.slug
    assert lab.chat(stream=True).headers["x-route-provider"] == slow.slug


def test_requests_that_think_may_be_silent_for_longer(lab: Lab) -> None:
    only = lab.provider()
    lab.publish(only, timeouts={"first_event": 0.2})
    only.fail("slow_first_content", seconds=0.5)

    assert lab.chat(stream=True).status == 502
    assert lab.chat(stream=True, reasoning_effort="high").status == 200


def test_the_total_time_limit_ends_a_request_whatever_is_left(lab: Lab) -> None:
    first, second = lab.provider(), lab.provider()
    lab.publish(first, second, timeouts={"total": 0.3})
    first.fail("hang_before_headers")

    answer = lab.chat()

    assert (answer.status, answer.json()["error"]["code"]) == (504, "timeout_total")
    assert second.count == 0
    row = lab.row()
    assert (row.status, row.error_code, row.http_status) == ("timeout", "timeout_total", 504)


def test_the_limits_of_an_attempt_do_not_run_on_while_the_next_is_waited_for(lab: Lab) -> None:
    only = lab.provider(circuit={"failure_threshold": 100})
    lab.publish(only, max_attempts=6, same_target_retries=5, timeouts={"connect": 0.05})
    only.stop()

    answer = lab.chat()

    assert (answer.status, answer.headers["x-route-attempts"]) == (502, "6")


def test_a_route_whose_every_attempt_timed_out_is_a_timeout(lab: Lab) -> None:
    first, second = lab.provider(), lab.provider()
    lab.publish(first, second, timeouts={"first_byte": 0.1})
    for each in (first, second):
        each.fail("hang_before_headers")

    answer = lab.chat()

    assert (answer.status, answer.json()["error"]["code"]) == (502, "all_targets_failed")
    assert (lab.row().status, lab.row().error_code) == ("timeout", "timeout_first_byte")
    assert [each.count for each in (first, second)] == [1, 1]


# -- passes and budgets ----------------------------------------------------------------------------------------


def test_what_failed_quickly_is_tried_once_more_when_nothing_else_is_left(lab: Lab) -> None:
    only = lab.provider()
    lab.publish(only)
    only.fail("status", status=500, times=1)

    assert lab.chat().status == 200
    assert lab.attempts() == [(only.slug, "upstream_5xx"), (only.slug, None)]


def test_max_attempts_ends_a_request(lab: Lab) -> None:
    providers = [lab.provider() for _ in range(4)]
    lab.publish(*providers, max_attempts=2)
    for each in providers:
        each.fail("status", status=500)

    answer = lab.chat()

    assert answer.status == 502
    assert [each.count for each in providers] == [1, 1, 0, 0]


def test_a_short_rate_limit_is_waited_for_when_nothing_else_is_left(lab: Lab) -> None:
    only = lab.provider()
    lab.publish(only)
    only.fail("rate_limited", retry_after=0.3, retry_form="ms", times=1)

    assert lab.chat().status == 200
    assert lab.attempts() == [(only.slug, "rate_limited"), (only.slug, None)]


def test_the_retry_budget_ends_a_storm(start_gateways: Callable[..., Gateways], simulator: Simulator) -> None:
    lab = Lab(start_gateways(), simulator)
    providers = [lab.provider() for _ in range(12)]
    lab.publish(*providers, max_attempts=12)
    for each in providers:
        each.stop()

    answers = [lab.chat() for _ in range(4)]

    assert sum(int(answer.headers["x-route-attempts"]) for answer in answers) == 4 + 30


# -- what the client is told -------------------------------------------------------------------------------------


@pytest.mark.parametrize("wire", ["openai", "anthropic"])
def test_when_everything_failed_the_client_reads_which_and_why_in_its_own_format(lab: Lab, wire: str) -> None:
    first, second = lab.provider(wire), lab.provider(wire)
    lab.publish(first, second, same_target_retries=0)
    first.fail("status", status=500)
    second.stop()

    answer = lab.ask(wire)

    assert answer.status == 502
    error = answer.json()["error"]
    assert error["code"] == "all_targets_failed"
    assert error["type"] == ("api_error" if wire == "anthropic" else "all_targets_failed")
    assert f"{first.slug}: upstream_5xx; {second.slug}: connect_refused" in error["message"]
    assert error["attempts"] == [
        {"provider": first.slug, "model": "gpt-4o", "error_class": "upstream_5xx", "http_status": 500},
        {"provider": second.slug, "model": "gpt-4o", "error_class": "connect_refused", "http_status": None},
    ]
    assert answer.headers["x-should-retry"] == "false"
    assert b"127.0.0.1" not in answer.body
    assert lab.row().status == "failed"


def test_when_everything_is_rate_limited_the_client_hears_the_soonest_time(lab: Lab) -> None:
    first, second = lab.provider(), lab.provider()
    lab.publish(first, second)
    first.fail("rate_limited", retry_after=40)
    second.fail("rate_limited", retry_after=20)

    answers = [lab.chat(), lab.chat()]

    assert [answer.status for answer in answers] == [429, 429]
    assert all(15 <= int(answer.headers["retry-after"]) <= 20 for answer in answers)
    assert all("x-should-retry" not in answer.headers for answer in answers)
    assert (first.count, second.count) == (1, 1)


@pytest.mark.parametrize(
    ("form", "asked", "kept"),
    [
        ("seconds", 30, 30),
        ("http-date", 30, 30),
        ("ms", 30, 30),
        ("none", 30, 60),
        ("seconds", 10_000, 300),
        ("seconds", 0, 1),
    ],
)
def test_a_rate_limit_keeps_traffic_away_as_long_as_it_says_within_bounds(
    lab: Lab, form: str, asked: int, kept: int
) -> None:
    only = lab.provider()
    lab.publish(only, same_target_retries=0)
    only.fail("rate_limited", retry_after=asked, retry_form=form)

    answer = lab.chat()

    assert answer.status == 429
    assert kept - 2 <= int(answer.headers["retry-after"]) <= kept


def test_a_rate_limit_of_one_model_leaves_the_others_of_that_provider_alone(lab: Lab) -> None:
    only = lab.provider()
    lab.publish(only)
    only.fail("rate_limited", retry_after=30, model="gpt-4o")

    assert lab.chat().status == 429
    assert lab.chat(model="gpt-4o-mini").status == 200


def test_a_forbidden_model_leaves_the_others_of_that_provider_alone(lab: Lab) -> None:
    only, other = lab.provider(), lab.provider()
    lab.publish(only, other)
    only.fail("status", status=403, model="gpt-4o")

    assert [lab.chat().headers["x-route-provider"] for _ in range(2)] == [other.slug] * 2
    assert only.count == 1
    assert lab.chat(model="gpt-4o-mini").headers["x-route-provider"] == only.slug


def test_an_overloaded_target_that_names_a_time_is_left_alone_until_then(lab: Lab) -> None:
    busy, other = lab.provider(), lab.provider()
    lab.publish(busy, other)
    busy.fail("status", status=503, retry_after=30, times=1)

    assert [lab.chat().headers["x-route-provider"] for _ in range(2)] == [other.slug] * 2
    assert busy.count == 1


def test_a_credential_refused_twice_is_quarantined_until_it_is_edited(lab: Lab) -> None:
    bad, good = lab.provider(credential="sk-right"), lab.provider()
    lab.publish(bad, good)
    lab.gateway.overlay(credentials={bad.slug: {"value": "sk-wrong", "generation": 1}})

    answers = [lab.chat() for _ in range(4)]

    assert {answer.status for answer in answers} == {200}
    assert bad.count == 2
    lab.gateway.overlay(credentials={bad.slug: {"value": "sk-right", "generation": 2}})
    assert lab.chat().headers["x-route-provider"] == bad.slug


def test_a_refused_credential_is_surfaced_as_ours_when_the_profile_says_so(lab: Lab) -> None:
    bad, good = lab.provider(), lab.provider()
    lab.publish(bad, good, auth_errors="surface")
    bad.fail("status", status=401, message="Incorrect API key provided: sk-secret.")

    answer = lab.chat()

    assert (answer.status, answer.json()["error"]["code"]) == (502, "auth_failed")
    assert b"sk-secret" not in answer.body
    assert good.count == 0
    assert (lab.row().status, lab.row().error_code) == ("failed", "auth_failed")


def test_a_credential_an_upstream_repeats_is_not_kept_in_history(lab: Lab) -> None:
    bad = lab.provider(credential="sk-very-secret")
    lab.publish(bad, same_target_retries=0)
    bad.fail("status", status=500, message="no such key: sk-very-secret")

    lab.chat()

    assert lab.row().attempts[0].message == "HTTP 500: no such key: ***"


@pytest.mark.parametrize(
    ("fault", "options", "code"),
    [("redirect", {}, "upstream_redirect"), ("framing", {"kind": "te_foo"}, "upstream_framing")],
)
def test_a_target_that_breaks_the_protocol_is_named_when_it_is_the_only_one(
    lab: Lab, fault: str, options: dict[str, Any], code: str
) -> None:
    only = lab.provider()
    lab.publish(only)
    only.fail(fault, **options)

    answer = lab.chat()

    assert (answer.status, answer.json()["error"]["code"]) == (502, code)
    assert only.count == 1


def test_a_redirect_is_never_followed(lab: Lab) -> None:
    first, second = lab.provider(), lab.provider()
    lab.publish(first, same_target_retries=0)
    first.fail("redirect", location=second.entry["base_url"] + "/chat/completions")

    assert lab.chat().status == 502
    assert second.count == 0


# -- circuits ------------------------------------------------------------------------------------------------------


def test_a_circuit_opens_after_its_threshold_and_the_target_is_left_alone(lab: Lab) -> None:
    bad, good = lab.provider(circuit={"failure_threshold": 3}), lab.provider()
    lab.publish(bad, good)
    bad.fail("status", status=500)

    answers = [lab.chat() for _ in range(5)]

    assert {answer.headers["x-route-provider"] for answer in answers} == {good.slug}
    assert bad.count == 3
    third = lab.row(answers[2])
    assert third.attempts[0].transitions == [("closed", "open", "consecutive_failures")]


def test_an_open_circuit_is_tried_again_and_closes_after_its_successes(lab: Lab) -> None:
    bad = lab.provider(
        circuit={"failure_threshold": 1, "recovery_timeout": 0.2, "success_threshold": 2, "slow_start": 0}
    )
    good = lab.provider()
    lab.publish(bad, good)
    bad.fail("status", status=500, times=1)
    assert lab.chat().headers["x-route-provider"] == good.slug
    time.sleep(0.3)  # the gateway's own clock: there is none to pass

    answers = [lab.chat() for _ in range(3)]

    assert [answer.headers["x-route-provider"] for answer in answers] == [bad.slug] * 3
    changes = [change for answer in answers for change in lab.row(answer).attempts[0].transitions]
    assert [change[:2] for change in changes] == [("open", "half_open"), ("half_open", "closed")]


@pytest.mark.parametrize(
    ("fault", "options"), [("rate_limited", {}), ("status", {"status": 404}), ("status", {"status": 403})]
)
def test_answers_that_are_not_the_targets_fault_never_open_its_circuit(
    lab: Lab, fault: str, options: dict[str, Any]
) -> None:
    only = lab.provider(circuit={"failure_threshold": 1})
    lab.publish(only, same_target_retries=0)
    only.fail(fault, model="gpt-4o", **options)

    lab.chat()

    assert lab.chat(model="gpt-4o-mini").headers["x-route-provider"] == only.slug


# -- connections -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["close", "reset"])
@pytest.mark.parametrize("stream", [False, True])
def test_a_kept_connection_that_dies_as_it_is_used_costs_no_attempt(lab: Lab, how: str, stream: bool) -> None:
    only = lab.provider()
    lab.publish(only, max_attempts=1)
    only.fail("keepalive_race", how=how)

    answers = [lab.chat(stream=stream) for _ in range(20)]

    assert {answer.status for answer in answers} == {200}
    assert {answer.headers["x-route-attempts"] for answer in answers} == {"1"}


def test_an_upstream_that_closes_every_connection_costs_no_attempt(lab: Lab) -> None:
    only = lab.provider()
    lab.publish(only, max_attempts=1)
    only.fail("idle_close", seconds=0)

    assert {lab.chat().status for _ in range(30)} == {200}


def test_connections_are_reused_after_documents_errors_and_streams(lab: Lab) -> None:
    only = lab.provider()
    lab.publish(only, same_target_retries=0)
    lab.chat()
    lab.chat(stream=True)
    only.fail("status", status=404, times=1)
    lab.chat()
    only.fail("status", status=500, times=1)
    lab.chat()
    lab.chat()

    assert {request.connection for request in only.requests()} == {only.requests()[0].connection}
