"""Images, audio, moderations and rerank: whole answers and streams, held back until they are answers at all."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.documents import access_key, document, profile, target
from tests.gateway.lab import CHAT, Lab, events
from tests.gateway.scripted import answer, scripted
from tests.gateway.test_metrics import scrape, total
from tests.gateways import KEY, wait_until

if TYPE_CHECKING:
    from tests.gateway.lab import Provider
    from tests.gateways import Gateways
    from tests.simulators import Simulator

#: Many of a kind.
pytestmark = pytest.mark.thorough

MODEL = "gpt-4o"
LIMITED = "sbx_" + "limited1" * 5
REQUESTS: dict[str, dict[str, Any]] = {
    "/v1/images/generations": {"model": MODEL, "prompt": "a lever"},
    "/v1/audio/speech": {"model": MODEL, "input": "mind the gap", "voice": "alloy"},
    "/v1/moderations": {"model": MODEL, "input": "hello"},
    "/v1/rerank": {"model": MODEL, "query": "lever", "documents": ["a lever", "a signal"]},
}
IMAGE, SPEECH, MODERATION, RERANK = REQUESTS
OPTIONAL = (IMAGE, MODERATION)
STREAM = {"stream": True}
SSE = {"stream_format": "sse"}


def play(provider: Provider, body: str, kind: str = "text/event-stream", status: int = 200) -> None:
    provider.fail("status", status=status, body=body, content_type=kind)


def data(**fields: Any) -> str:
    return f"data: {json.dumps(fields)}\n\n"


@pytest.mark.parametrize("path", REQUESTS)
def test_a_document_arrives_as_the_upstream_wrote_it(lab: Lab, path: str) -> None:
    only = lab.provider()
    lab.publish(only)
    written = ' {"data" : [ ],  "usage": {"total_tokens":1}, "x": 1.50 }\n'
    play(only, written, "application/json")

    assert lab.gateway.post(path, REQUESTS[path]).body == written.encode()


@pytest.mark.parametrize("path", REQUESTS)
def test_each_address_leads_to_the_upstreams_with_its_name_for_the_model(lab: Lab, path: str) -> None:
    only = lab.provider(models={MODEL: "acme/m"})
    lab.publish(only)
    for prefix in ("", "/p/default", "/p/default/s/talk"):
        got = lab.gateway.post(prefix + path, REQUESTS[path])

        assert (got.status, got.headers["x-route-model"]) == (200, "acme/m"), got.body[:200]
        assert only.requests()[-1].path == path
        assert only.requests()[-1].json() == {**REQUESTS[path], "model": "acme/m"}
        row = lab.row(got)
        assert (row.status, row.requested_model, row.session_key) == (
            *("routed", MODEL),
            "talk" if prefix.endswith("talk") else None,
        )


def test_speech_is_passed_on_as_it_comes(lab: Lab) -> None:
    only = lab.provider()
    lab.publish(only)
    got = lab.gateway.post(SPEECH, {**REQUESTS[SPEECH], "input": "x" * 500})

    assert got.headers["content-type"] == "audio/mpeg"
    assert got.body.startswith(b"ID3")
    assert len(got.body) > 400_000
    row = lab.row(got)
    assert (row.input_tokens, row.output_tokens, row.attempts[0].bytes) == (None, None, len(got.body))


def test_speech_that_is_streamed_as_audio_is_audio(lab: Lab) -> None:
    only = lab.provider()
    lab.publish(only)
    play(only, "data: not an event", "audio/mpeg")

    got = lab.gateway.post(SPEECH, {**REQUESTS[SPEECH], **STREAM})

    assert (got.body, got.headers["content-type"]) == (b"data: not an event", "audio/mpeg")


def test_only_speech_knows_a_format_of_streams(lab: Lab) -> None:
    lab.publish(lab.provider())

    assert lab.gateway.post("/v1/chat/completions", {**CHAT, **SSE}).json()["object"] == "chat.completion"


@pytest.mark.parametrize(
    ("path", "body", "kind", "error_class"),
    [
        (IMAGE, "<html>busy</html>", "text/html", "invalid_response"),
        (IMAGE, '{"data": [', "application/json", "invalid_response"),
        (IMAGE, '{"error": {"message": "busy"}}', "application/json", "error_in_200"),
        (MODERATION, "<html>busy</html>", "text/html; charset=utf-8", "invalid_response"),
        (RERANK, '"a word"', "application/json", "invalid_response"),
        (SPEECH, "<html>busy</html>", "text/html", "invalid_response"),
        (SPEECH, '{"error": {"message": "busy"}}', "application/json", "error_in_200"),
        (SPEECH, '{"error":', "application/json; charset=utf-8", "invalid_response"),
    ],
)
def test_a_200_that_is_no_answer_goes_to_the_next_target(
    lab: Lab, path: str, body: str, kind: str, error_class: str
) -> None:
    bad, good = lab.provider(), lab.provider()
    lab.publish(bad, good)
    play(bad, body, kind)

    got = lab.gateway.post(path, REQUESTS[path])

    assert (got.status, got.headers["x-route-provider"]) == (200, good.slug)
    assert lab.attempts() == [(bad.slug, error_class), (good.slug, None)]


@pytest.mark.parametrize("path", REQUESTS)
def test_an_error_after_two_attempts_tells_sdks_not_to_try_again(lab: Lab, path: str) -> None:
    bad, good = lab.provider(), lab.provider()
    lab.publish(bad, good)
    bad.fail("status", status=500)
    good.behave(headers={"x-should-retry": "true"})
    good.fail("status", status=422, message="no such voice")
    with lab.gateway.connect() as connection:
        body = json.dumps(REQUESTS[path]).encode()
        connection.sendall(
            f"POST {path} HTTP/1.1\r\nHost: x\r\nx-api-key: {KEY}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode()
            + body
        )
        head, _, told = b"".join(iter(lambda: connection.recv(65536), b"")).partition(b"\r\n\r\n")

    assert head.startswith(b"HTTP/1.1 422 ")
    assert [line for line in head.lower().split(b"\r\n") if b"x-should-retry" in line] == [b"x-should-retry: false"]
    assert b"no such voice" in told


def test_an_error_that_does_not_unpack_still_reaches_the_client(lab: Lab) -> None:
    with scripted(answer(b"packed somehow", "400 Bad Request", Content_Encoding="br")) as upstream:
        only = lab.provider()
        only.entry["base_url"] = upstream.base_url
        lab.publish(only)
        got = lab.gateway.post(IMAGE, REQUESTS[IMAGE])

    assert (got.status, got.body, got.headers["content-encoding"]) == (400, b"packed somehow", "br")
    assert (lab.row(got).status, lab.row(got).http_status) == ("routed", 400)


# -- models --------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("path", REQUESTS)
def test_a_model_may_be_left_out_where_providers_have_one_of_their_own(lab: Lab, path: str) -> None:
    plain, configured = lab.provider(), lab.provider()
    body = b'{ "prompt" : "x","input":"y" , "voice":"alloy","query":"q","documents":["d"]}'
    lab.publish(plain)
    got = lab.gateway.post(path, body)
    if path not in OPTIONAL:
        assert (got.status, got.json()["error"]["param"]) == (400, "model")
        return
    assert (got.status, plain.requests()[0].body) == (200, body)

    lab.gateway.publish(document([configured.entry], [profile("default", [target(configured.slug, "m-1")])]))
    for given in (body, body.replace(b"{", b'{"model":null,', 1)):
        assert lab.gateway.post(path, given).headers["x-route-model"] == "m-1"
        assert configured.requests()[-1].json() == {**json.loads(body), "model": "m-1"}


def test_a_key_for_some_models_must_name_one_of_them(lab: Lab) -> None:
    only = lab.provider()
    lab.publish(only)
    lab.gateway.overlay(keys=[access_key(KEY), access_key(LIMITED, name="limited", models=["gpt-4*"])])
    for path, request in REQUESTS.items():
        nameless = {name: value for name, value in request.items() if name != "model"}
        statuses = [
            lab.gateway.post(path, each, key=LIMITED).status
            for each in (request, {**request, "model": "other"}, nameless, {**nameless, "model": None})
        ]
        assert statuses == ([200, 403, 403, 403] if path in OPTIONAL else [200, 403, 400, 400]), path
    assert only.count == len(REQUESTS)


def test_a_model_nobody_serves_is_not_found(lab: Lab) -> None:
    lab.publish(lab.provider(models={"other": "other"}), lab.provider("anthropic"), lab.provider("generic"))
    for path, request in REQUESTS.items():
        got = lab.gateway.post(path, request)
        assert (got.status, got.json()["error"]["code"]) == (404, "model_not_found"), path


# -- streams -------------------------------------------------------------------------------------------------
PARTIAL = data(type="image_generation.partial_image", partial_image_index=0, b64_json="eA==")
COMPLETED = data(
    type="image_generation.completed",
    b64_json="eHg=",
    usage={"input_tokens": 5, "output_tokens": 9, "total_tokens": 14},
)


def test_several_pictures_of_one_stream_all_arrive(lab: Lab) -> None:
    only = lab.provider()
    lab.publish(only)
    sent = PARTIAL + COMPLETED + PARTIAL + COMPLETED
    play(only, sent)

    got = lab.gateway.post(IMAGE, {**REQUESTS[IMAGE], **STREAM, "n": 2})

    assert got.body == sent.encode()
    row = lab.row(got)
    assert (row.status, row.stream, row.input_tokens, row.output_tokens) == ("routed", True, 5, 9)


@pytest.mark.parametrize("size", [100_000, 3_000_000])
def test_a_picture_of_any_size_arrives(lab: Lab, size: int) -> None:
    only = lab.provider()
    lab.publish(only)
    sent = PARTIAL + data(type="image_generation.completed", b64_json="x" * size)
    play(only, sent)

    got = lab.gateway.post(IMAGE, {**REQUESTS[IMAGE], **STREAM})

    assert got.body == sent.encode()
    row = lab.row(got)
    assert (row.status, row.output_tokens, row.cost_micro_usd) == ("routed", None, None)


@pytest.mark.parametrize(
    ("path", "wish", "begin"),
    [(IMAGE, STREAM, PARTIAL), (SPEECH, SSE, data(type="speech.audio.delta", audio="eA=="))],
)
def test_a_stream_that_stops_before_its_end_says_so(lab: Lab, path: str, wish: dict[str, Any], begin: str) -> None:
    only = lab.provider()
    lab.publish(only)
    play(only, begin)

    got = lab.gateway.post(path, {**REQUESTS[path], **wish})

    first, last = events(got.body)
    assert first == begin.encode()
    assert json.loads(last.removeprefix(b"data: "))["error"]["code"] == "truncated"
    assert (lab.row(got).status, lab.row(got).error_code) == ("failed", "truncated")


def test_speech_in_events_ends_with_what_it_used(lab: Lab) -> None:
    only = lab.provider()
    lab.publish(only)
    usage = {"input_tokens": 4, "output_tokens": 40, "total_tokens": 44}
    sent = data(type="speech.audio.delta", audio="eA==") + data(type="speech.audio.done", usage=usage)
    play(only, sent)

    got = lab.gateway.post(SPEECH, {**REQUESTS[SPEECH], **SSE})

    assert got.body == sent.encode()
    row = lab.row(got)
    assert (row.stream, row.status, row.output_tokens, row.usage_estimated) == (True, "routed", 40, False)


@pytest.mark.parametrize(
    ("body", "kind", "error_class"),
    [
        (data(error={"message": "busy"}), "text/event-stream", "error_in_200"),
        (data(type="error", message="busy"), "text/event-stream", "error_in_200"),
        ("data: [DONE]\n\n", "text/event-stream", "invalid_response"),
        (": ping\n\n", "text/event-stream", "truncated"),
        ('{"data": [{"url": "x"}]}', "application/json", "invalid_response"),
        ('{"error": "busy"}', "application/json", "error_in_200"),
        ("<html>", "text/html", "invalid_response"),
    ],
)
def test_a_stream_of_pictures_that_is_none_goes_to_the_next_target(
    lab: Lab, body: str, kind: str, error_class: str
) -> None:
    bad, good = lab.provider(), lab.provider()
    lab.publish(bad, good)
    play(bad, body, kind)
    play(good, COMPLETED)

    got = lab.gateway.post(IMAGE, {**REQUESTS[IMAGE], **STREAM})

    assert got.body == COMPLETED.encode()
    assert lab.attempts() == [(bad.slug, error_class), (good.slug, None)]


# -- addresses -----------------------------------------------------------------------------------------------
POSTED = (
    *("chat/completions", "completions", "responses", "embeddings", "moderations", "rerank", "images/generations"),
    *("images/edits", "images/variations", "audio/speech", "audio/transcriptions", "audio/translations"),
    *("messages", "messages/count_tokens"),
)


def test_other_methods_get_405_with_the_one_that_is_taken(lab: Lab) -> None:
    lab.publish(lab.provider())
    for prefix in ("", "/p/default", "/p/default/s/x"):
        for path in POSTED:
            for method in ("GET", "PUT"):
                got = lab.gateway.request(method, f"{prefix}/v1/{path}", headers={"Authorization": f"Bearer {KEY}"})
                assert (got.status, got.headers["allow"]) == (405, "POST"), path
        got = lab.gateway.post(f"{prefix}/v1/models", {})
        assert (got.status, got.headers["allow"]) == (405, "GET, HEAD")
        got = lab.gateway.post(f"{prefix}/v1/realtime?model=m", {})
        assert (got.status, got.headers["allow"]) == (405, "GET")


def test_realtime_without_an_upgrade_gets_426(lab: Lab) -> None:
    lab.publish(lab.provider())
    for prefix in ("", "/p/default", "/p/default/s/x"):
        got = lab.gateway.get(f"{prefix}/v1/realtime?model=m", Authorization=f"Bearer {KEY}")
        assert (got.status, got.headers["upgrade"]) == (426, "websocket")
        assert got.json()["error"]["code"] == "upgrade_required"


@pytest.mark.slow
def test_each_kind_of_request_is_counted_as_what_it_is(gateway: Gateways, simulator: Simulator) -> None:
    lab = Lab(gateway, simulator)
    lab.publish(lab.provider())
    kinds = {IMAGE: "image", SPEECH: "audio", MODERATION: "moderation", RERANK: "rerank"}
    for path in kinds:
        assert lab.gateway.post(f"/p/default{path}", REQUESTS[path]).status == 200

    def counted() -> dict[str, float]:
        series = scrape(gateway)
        return {
            path: total(series, "routing_decisions_total", model_type=kind)
            + total(series, "http_requests_total", endpoint=f"/p/{{profile}}{path}")
            for path, kind in kinds.items()
        }

    wait_until(lambda: counted() == dict.fromkeys(kinds, 2))
