"""What a provider can be told to be like, and how faults are chosen."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator import behaviour as behaviours
from simulator import content
from simulator.behaviour import Behaviour, BehaviourError
from tests.simulator.raw import CHAT, ask, connected, request, streamed

if TYPE_CHECKING:
    from tests.simulators import ProviderHandle, Simulator


def statuses(provider: ProviderHandle, count: int, **fields: Any) -> list[int]:
    with connected(provider) as wire:
        return [wire.exchange(request(provider, {**CHAT, **fields})).status for _ in range(count)]


# -- choosing faults -------------------------------------------------------------------------
def test_a_fault_strikes_so_many_times_and_then_no_more(acme: ProviderHandle) -> None:
    acme.fail("status", status=503, times=2)

    assert statuses(acme, 4) == [503, 503, 200, 200]


def test_faults_are_taken_in_their_order(acme: ProviderHandle) -> None:
    acme.behave(
        faults=[{"name": "status", "status": 500, "times": 1}, {"name": "rate_limited", "times": 2}, "invalid_json"]
    )

    assert statuses(acme, 4) == [500, 429, 429, 200]
    assert [logged.fault for logged in acme.requests()] == ["status", "rate_limited", "rate_limited", "invalid_json"]


def test_a_probability_strikes_some_and_the_same_seed_strikes_the_same(acme: ProviderHandle) -> None:
    def run(seed: int) -> list[int]:
        acme.behave(seed=seed, faults=[{"name": "status", "status": 500, "probability": 0.3}])
        return statuses(acme, 200)

    first = run(1)

    assert 30 <= first.count(500) <= 90
    assert run(1) == first
    assert run(2) != first


def test_a_fault_can_be_narrowed_to_a_model_a_path_or_streams(acme: ProviderHandle) -> None:
    acme.fail("status", model="gpt-4o-mini")
    assert statuses(acme, 1) + statuses(acme, 1, model="gpt-4o-mini") == [200, 500]

    acme.fail("status", path="/embeddings")
    embedding = request(acme, {"model": "e", "input": "x"}, path="/v1/embeddings")
    assert statuses(acme, 1) == [200]
    assert ask(acme, embedding).status == 500

    acme.fail("status", stream=True)
    assert (ask(acme).status, ask(acme, streamed(acme)).status) == (200, 500)


def test_changing_another_field_keeps_the_faults_counters(acme: ProviderHandle) -> None:
    acme.fail("status", times=2)
    assert statuses(acme, 1) == [500]

    acme.behave(output_tokens=3)

    assert statuses(acme, 2) == [500, 200]


def test_healing_ends_faults_and_keeps_the_rest(acme: ProviderHandle) -> None:
    acme.behave(output_tokens=3, faults=["reset_before_headers"])

    acme.heal()

    assert ask(acme).json()["usage"]["completion_tokens"] == 3


# -- time ------------------------------------------------------------------------------------
def test_a_whole_answer_takes_as_long_as_its_tokens(acme: ProviderHandle) -> None:
    acme.behave(latency=0.05, first_event=0.05, tokens_per_second=100, output_tokens=11)
    started = time.monotonic()

    ask(acme)

    assert time.monotonic() - started > 0.19


def test_a_stream_is_paced_and_its_head_does_not_wait_for_content(acme: ProviderHandle) -> None:
    acme.behave(first_event=3600)
    with connected(acme) as wire:
        wire.send(streamed(acme))
        wire.read(until=b'"role":"assistant"')

    acme.behave(first_event=0.1, tokens_per_second=100, output_tokens=11)
    started = time.monotonic()
    assert ask(acme, streamed(acme)).complete
    assert time.monotonic() - started > 0.19


def test_jitter_is_drawn_from_the_seed(acme: ProviderHandle) -> None:
    acme.behave(jitter=0.2, seed=3)  # the first draw is 0.0476, so the wait can be told from none
    started = time.monotonic()

    ask(acme)

    assert time.monotonic() - started > 0.04


# -- answers ---------------------------------------------------------------------------------
def test_only_the_named_models_are_served(acme: ProviderHandle) -> None:
    acme.behave(models=["gpt-4o"])

    assert statuses(acme, 1) + statuses(acme, 1, model="other") == [200, 404]


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ("authorization: Bearer right\r\n", 200),
        ("authorization: bearer right\r\n", 200),
        ("api-key: right\r\n", 200),
        ("authorization: Bearer wrong\r\n", 401),
        ("x-other: right\r\n", 401),
        ("", 401),
    ],
)
def test_a_credential_is_demanded_where_the_wire_has_it(acme: ProviderHandle, headers: str, status: int) -> None:
    acme.behave(credential="right")

    assert ask(acme, request(acme, headers=headers)).status == status


@pytest.mark.parametrize(
    ("headers", "status"), [("x-api-key: right\r\n", 200), ("x-api-key: wrong\r\n", 401), ("", 401)]
)
def test_anthropics_credential_is_in_its_own_header(claudia: ProviderHandle, headers: str, status: int) -> None:
    claudia.behave(credential="right")

    assert ask(claudia, request(claudia, headers=headers)).status == status


def test_anthropic_demands_its_version_header(claudia: ProviderHandle) -> None:
    seen = ask(claudia, request(claudia).replace(b"anthropic-version: 2023-06-01\r\n", b""))

    assert seen.status == 400
    assert "anthropic-version" in seen.json()["error"]["message"]


def test_the_text_may_be_given(acme: ProviderHandle) -> None:
    acme.behave(text="just  this")

    seen = ask(acme)
    stream = ask(acme, streamed(acme))

    assert seen.json()["choices"][0]["message"]["content"] == "just  this"
    said = [event["choices"][0]["delta"].get("content") or "" for event in stream.events[:-1]]
    assert "".join(said) == "just  this"


def test_usage_can_be_left_out(acme: ProviderHandle) -> None:
    acme.behave(usage=False)

    assert "usage" not in ask(acme).json()
    assert b"usage" not in ask(acme, streamed(acme, stream_options={"include_usage": True})).stream


def test_cached_tokens_are_part_of_the_prompts(acme: ProviderHandle, claudia: ProviderHandle) -> None:
    acme.behave(cached_tokens=1)
    claudia.behave(cached_tokens=10_000)

    assert ask(acme).json()["usage"]["prompt_tokens_details"]["cached_tokens"] == 1
    usage = ask(claudia).json()["usage"]
    assert usage["cache_read_input_tokens"] == usage["input_tokens"]


def test_headers_are_added_to_every_answer_also_to_faults(acme: ProviderHandle) -> None:
    acme.behave(headers={"Set-Cookie": "a=b", "Strict-Transport-Security": "max-age=1"})

    assert ask(acme).headers["set-cookie"] == "a=b"
    assert ask(acme, streamed(acme)).headers["set-cookie"] == "a=b"
    acme.fail("status")
    assert ask(acme).headers["strict-transport-security"] == "max-age=1"


@pytest.mark.parametrize(("newline", "mark"), [("crlf", b"\r\n\r\n"), ("cr", b"\r\r")])
def test_a_stream_may_have_other_line_ends(acme: ProviderHandle, newline: str, mark: bytes) -> None:
    acme.behave(newline=newline, output_tokens=2)

    stream = ask(acme, streamed(acme)).stream

    assert stream.count(mark) == 5
    assert stream.endswith(b"data: [DONE]" + mark)


@pytest.mark.parametrize("size", [1, 7, 100_000])
def test_a_stream_may_come_in_writes_of_any_size(acme: ProviderHandle, size: int) -> None:
    acme.behave(output_tokens=3)
    whole = ask(acme, streamed(acme)).stream
    acme.behave(chunk_bytes=size)

    seen = ask(acme, streamed(acme))

    assert len(seen.stream) == len(whole)
    assert seen.complete
    assert max(map(len, seen.chunks)) <= size
    assert acme.requests()[-1].events_sent == 6


# -- the document ----------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("document", "word"),
    [
        ({"latency": -1}, "latency"),
        ({"latencie": 1}, "latencie"),
        ({"output_tokens": "many"}, "output_tokens"),
        ({"models": []}, "models"),
        ({"headers": {"a": "b\r\nc: d"}}, "headers"),
        ({"headers": {"a b": "c"}}, "headers"),
        ({"newline": "nl"}, "newline"),
        ({"faults": ["nope"]}, "nope"),
        ({"faults": [{"name": "status", "after_events": 1}]}, "after_events"),
        ({"faults": [{"name": "status", "status": 99}]}, "status"),
        ({"faults": [{"name": "status", "times": 0}]}, "times"),
        ({"faults": [{"name": "status", "probability": 1.5}]}, "probability"),
        ({"faults": [{"name": "refused", "times": 1}]}, "times means nothing"),
        ({"faults": [{"name": "reset_on_connect", "model": "m"}]}, "model means nothing"),
        ({"faults": [{"name": "idle_stall", "stream": False}]}, "stream"),
        ({"faults": [{"name": "framing", "kind": "odd"}]}, "odd"),
        ({"faults": "status"}, "faults"),
    ],
)
def test_a_document_is_refused_by_the_name_of_what_is_wrong_and_changes_nothing(
    acme: ProviderHandle, document: dict[str, Any], word: str
) -> None:
    before = acme.behaviour()

    with pytest.raises(ValueError, match=word):
        acme.behave(**document)

    assert acme.behaviour() == before


def test_a_behaviour_reads_back_what_it_writes() -> None:
    faults = ["no_done", {"name": "framing", "kind": "te_foo", "times": 3}]
    behaviour = behaviours.read({"latency": 0.5, "models": ["a"], "headers": {"x": "y"}, "faults": faults})

    assert behaviours.read(behaviours.write(behaviour)) == behaviour
    assert behaviours.read(behaviours.write(Behaviour())) == Behaviour()
    with pytest.raises(BehaviourError, match="object"):
        behaviours.read([])


# -- words -----------------------------------------------------------------------------------
@given(st.text(), st.integers(0, 500))
def test_there_are_as_many_words_as_asked_for_and_the_first_is_the_name(prompt: str, count: int) -> None:
    said = content.words("acme", prompt, count)

    assert len(said) == count
    assert said[:1] == ["acme"][:count]
    assert said == content.words("acme", prompt, count)


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"type": "string"}, "n"),
        ({"type": ["null", "integer"]}, 1),
        ({"type": "number"}, 1.5),
        ({"type": "boolean"}, True),
        ({"type": "null"}, None),
        ({"const": 3}, 3),
        ({"enum": ["a", "b"]}, "a"),
        ({"anyOf": [{"type": "integer", "minimum": 7}, {"type": "null"}]}, 7),
        ({"type": "array", "items": {"type": "string"}}, ["n"]),
        ({"type": "object", "properties": {"a": {"type": "object", "properties": {}}}}, {"a": {}}),
        ({}, "n"),
    ],
)
def test_values_fit_their_schema(schema: Any, value: Any) -> None:
    assert content.fitting(schema, "n") == value


def test_a_schema_without_end_is_cut_off() -> None:
    schema: dict[str, Any] = {"type": "object"}
    schema["properties"] = {"child": schema}

    assert "child" in content.fitting(schema, "n")


def test_two_providers_of_one_process_say_different_things(simulator: Simulator) -> None:
    one, two = simulator.add_all([{"name": "one"}, {"name": "two"}])

    assert ask(one).json()["choices"][0]["message"]["content"].startswith("one ")
    assert ask(two).json()["choices"][0]["message"]["content"].startswith("two ")
