"""Copies of payloads, by real gateways: what a client sent and was answered, whatever came of it, without secrets."""

from __future__ import annotations

import base64
import json
import random
import time
from typing import TYPE_CHECKING, Any
from unittest.mock import AsyncMock

import pytest
from prometheus_client import CollectorRegistry

from history.ids import new_id
from history.journal import JournalWriter, list_segments, read_segment
from history.records import Finished, Payload, decode
from routes.gateway.auth import AccessKey
from routes.gateway.exchange import Exchange
from routes.gateway.metrics import Metrics
from routes.gateway.payloads import excerpts
from routes.gateway.payloads.recorder import PayloadRecorder
from tests.documents import access_key
from tests.gateway.lab import CHAT, Lab
from tests.gateway.test_metrics import scrape, total
from tests.gateway.test_websockets import dial, refused
from tests.gateway.test_wire_form import form_of, part
from tests.gateways import KEY, Answer, Gateways, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.simulators import Simulator

PROMPT = "the prompt of an engine driver"
#: Put together here so that no scanner of repositories takes it for a real one.
SECRET = "sk-proj-" + "Ab3_" * 10


def asked(prompt: str = PROMPT, **more: Any) -> dict[str, Any]:
    return {**CHAT, "messages": [{"role": "user", "content": prompt}], **more}


class Kept(Lab):
    """A lab whose gateway keeps copies."""

    def payloads(self) -> dict[bytes, Payload]:
        found = [record for record in self.gateway.records() if isinstance(record, Payload)]
        assert len({record.id for record in found}) == len(found)
        return {record.id: record for record in found}

    def payload(self, answer: Answer | None = None) -> Payload:
        """Of an answer's route, or of the only one so far."""
        return self.payloads()[self.row(answer).id]

    def journal(self) -> bytes:
        folder = self.gateway.data / "journal"
        return b"".join((folder / name.file_name).read_bytes() for name in list_segments(folder))


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Gateways]]:
    """One gateway process for each policy, started when it is first needed."""
    made: dict[str, Gateways] = {}

    def start(policy: str) -> Gateways:
        if policy not in made:
            environment = {"SIGNALBOX_HISTORY_PAYLOADS": policy, "SIGNALBOX_MAX_BODY_MB": "1"}
            made[policy] = Gateways(tmp_path_factory.mktemp(policy), environment=environment)
            made[policy].start()
        made[policy].forget()
        return made[policy]

    yield start
    for gateways in made.values():
        gateways.stop()


@pytest.fixture
def kept(started: Callable[[str], Gateways], simulator: Simulator) -> Kept:
    return Kept(started("all"), simulator)


@pytest.fixture
def failures(started: Callable[[str], Gateways], simulator: Simulator) -> Kept:
    return Kept(started("failures"), simulator)


# -- what is kept --------------------------------------------------------------------------------------------


def test_a_copy_is_what_the_client_sent_and_was_answered_and_comes_before_the_row(kept: Kept) -> None:
    only = kept.provider(models={"gpt-4o": "its-own-name"})
    kept.publish(only)
    body = json.dumps(asked()).encode()
    answer = kept.gateway.post("/v1/chat/completions", body)

    payload = kept.payload(answer)
    assert only.requests()[-1].json()["model"] == "its-own-name"
    assert payload.request.text == body.decode()
    assert payload.response.text == answer.body.decode()
    assert (payload.request.size, payload.response.size) == (len(body), len(answer.body))
    assert (payload.request.content_type, payload.response.content_type) == ("application/json", "application/json")
    assert (payload.request.cut, payload.response.cut, payload.redactions) == (False, False, 0)
    order = [type(record) for record in kept.gateway.records() if record.id == payload.id]
    assert order[-2:] == [Payload, Finished]


@pytest.mark.parametrize("wire", ["openai", "anthropic"])
def test_a_stream_is_kept_as_the_client_read_it(kept: Kept, wire: str) -> None:
    kept.publish(kept.provider(wire))
    answer = kept.ask(wire, stream=True)
    payload = kept.payload(answer)
    assert payload.response.text == answer.body.decode()
    assert payload.response.content_type.startswith("text/event-stream")
    assert payload.response.size == len(answer.body)


@pytest.mark.parametrize("stream", [False, True])
def test_of_a_translated_request_both_copies_are_in_the_clients_format(kept: Kept, stream: bool) -> None:
    only = kept.provider("anthropic")
    kept.publish(only)
    body = json.dumps(asked(stream=stream)).encode()
    answer = kept.gateway.post("/v1/chat/completions", body)
    payload = kept.payload(answer)
    assert only.requests()[-1].path.endswith("/messages")
    assert payload.request.text == body.decode()
    assert payload.response.text == answer.body.decode()
    assert "choices" in payload.response.text


def test_of_a_request_that_failover_saved_the_answer_is_the_last_one(kept: Kept) -> None:
    first, second = kept.provider(), kept.provider()
    kept.publish(first, second, max_attempts=2, same_target_retries=0)
    first.fail("status", status=500, message="the first one is out of steam")
    second.behave(text="the second one answers")
    answer = kept.chat()
    payload = kept.payload(answer)
    assert "the second one answers" in payload.response.text
    assert "out of steam" not in payload.response.text


def test_a_failed_request_keeps_what_we_told_the_client(kept: Kept) -> None:
    only = kept.provider()
    kept.publish(only, max_attempts=1)
    only.fail("status", status=500)
    answer = kept.gateway.post("/v1/chat/completions", asked())
    payload = kept.payload(answer)
    assert answer.status == 502
    assert payload.response.text == answer.body.decode()
    assert payload.response.content_type == "application/json"
    assert PROMPT in payload.request.text
    invalid = kept.chat(model="x" * 300)
    assert invalid.status == 400
    assert kept.payload(invalid).response.text == invalid.body.decode()
    surfaced = kept.provider()
    kept.publish(surfaced)
    surfaced.fail("status", status=422, content_type="text/plain", body="no such parameter")
    answer = kept.chat()
    assert (answer.status, answer.body) == (422, b"no such parameter")
    assert kept.payload(answer).response.text == "no such parameter"
    assert kept.payload(answer).response.content_type == "text/plain"


def test_a_stream_that_is_cut_is_kept_with_the_word_about_it(kept: Kept) -> None:
    only = kept.provider()
    kept.publish(only)
    only.fail("reset_mid_stream", after_events=3)
    answer = kept.chat(stream=True)
    payload = kept.payload(answer)
    assert payload.response.text == answer.body.decode()
    assert "reset_midstream" in payload.response.text
    assert kept.row(answer).status == "failed"


def test_of_a_client_that_leaves_as_much_is_kept_as_was_sent(kept: Kept) -> None:
    only = kept.provider()
    kept.publish(only)
    only.fail("idle_stall", after_events=2)
    connection = kept.open(asked(stream=True))
    read = b""
    while read.count(b'"content":" ') < 1:
        read += connection.recv(65536)
    connection.close()
    wait_until(kept.gateway.finished)
    assert kept.row().status == "cancelled"
    payload = kept.payload()
    assert PROMPT in payload.request.text
    assert payload.response.text.startswith("data: {")
    assert "[DONE]" not in payload.response.text


def test_a_body_that_was_never_received_is_not_made_up(kept: Kept) -> None:
    kept.publish(kept.provider())
    answer = kept.gateway.post("/v1/chat/completions", b'{"model":"' + b"x" * (1 << 20) + b'"}')
    payload = kept.payload(answer)
    assert answer.status == 413
    assert (payload.request.size, payload.request.text) == (None, "")
    assert payload.response.text == answer.body.decode()


def test_of_what_is_long_both_ends_and_the_true_size_are_kept(kept: Kept) -> None:
    only = kept.provider()
    kept.publish(only)
    only.behave(text="begin " + "word " * 20_000 + "finis")
    body = json.dumps(asked("begin " + "word " * 20_000 + "finis")).encode()
    for stream in (False, True):
        kept.gateway.forget()
        answer = kept.gateway.post("/v1/chat/completions", json.dumps(json.loads(body) | {"stream": stream}).encode())
        payload = kept.payload(answer)
        for copy, size in ((payload.request, len(body)), (payload.response, len(answer.body))):
            assert copy.cut
            assert size - 20 <= (copy.size or 0) <= size + 20
            assert "begin" in copy.text
            assert "finis" in copy.tail
            assert len(copy.text) <= 16 * 1024
            assert len(copy.tail) <= 4 * 1024


def test_files_are_told_of_and_not_kept(kept: Kept) -> None:
    only = kept.provider()
    kept.publish(only)
    image = base64.b64encode(random.Random(1).randbytes(300_000)).decode()
    picture = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{image}"}}
    answer = kept.chat(messages=[{"role": "user", "content": [picture, {"type": "text", "text": PROMPT}]}])
    request = kept.payload(answer).request
    assert not request.cut
    assert json.loads(request.text)["messages"][0]["content"] == [
        {"type": "image_url", "image_url": {"url": "[image/png, 300000 bytes]"}},
        {"type": "text", "text": PROMPT},
    ]
    speech = kept.gateway.post("/v1/audio/speech", {"model": "gpt-4o", "input": PROMPT, "voice": "alloy"})
    assert kept.payload(speech).response.text == f"[{len(speech.body):,} bytes audio/mpeg, not kept]"
    sound = part("file", b"\xff\xfb" * 900, '; filename="speech.mp3"\r\nContent-Type: audio/mpeg')
    upload = form_of(sound, part("model", b"gpt-4o"), part("prompt", PROMPT.encode()))
    kind = {"Authorization": f"Bearer {KEY}", "Content-Type": "multipart/form-data; boundary=Bound"}
    heard = kept.gateway.request("POST", "/v1/audio/transcriptions", upload, kind)
    assert heard.status == 200
    assert kept.payload(heard).request.text.split("\n") == [
        'name="file"; filename="speech.mp3": [1800 bytes audio/mpeg]',
        "model: gpt-4o",
        f"prompt: {PROMPT}",
    ]


# -- secrets ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stream", [False, True])
def test_no_secret_reaches_the_disk_from_either_side(kept: Kept, stream: bool) -> None:
    """In what is said, under names, in arguments of tools that a stream brings in pieces, and the provider's own."""
    credential = "provider-credential-of-no-known-shape"
    only = kept.provider(credential=credential)
    kept.publish(only)
    call = {"name": "log_in", "arguments": {"user": "ada", "password": "correct-horse-battery"}, "id": "call_1"}
    only.behave(reply={"text": f"take {SECRET} and {credential}", "tool_calls": [call]})
    document = asked(f"my key is {SECRET}, yours is {KEY}", stream=stream, metadata={"api_key": "told-by-name"})
    answer = kept.gateway.post("/v1/chat/completions", document)
    assert answer.status == 200
    payload = kept.payload(answer)
    assert "my key is [redacted], yours is [redacted]" in payload.request.text
    assert payload.redactions >= 6
    told = payload.response.text
    assert told.count("[redacted]") == 3
    assert "log_in" in told
    for secret in (SECRET, KEY, credential, "correct-horse", "-battery", "told-by-name"):
        assert secret not in payload.request.text + told
        assert secret.encode() not in kept.journal()


def test_a_credential_that_a_provider_repeats_is_taken_out(kept: Kept) -> None:
    only = kept.provider(credential="plain-provider-credential")
    kept.publish(only)
    only.fail("status", status=422, message="bad request with plain-provider-credential")
    answer = kept.chat()
    assert b"plain-provider-credential" in answer.body
    assert "bad request with [redacted]" in kept.payload(answer).response.text
    assert b"plain-provider-credential" not in kept.journal()


# -- who and when --------------------------------------------------------------------------------------------


def test_nothing_is_kept_of_who_has_no_key_and_of_lists_of_models(kept: Kept) -> None:
    kept.publish(kept.provider())
    assert kept.gateway.post("/v1/chat/completions", asked(), key="sbx_" + "w" * 40).status == 401
    assert kept.gateway.get("/v1/models", authorization=f"Bearer {KEY}").status == 200
    kept.chat()
    assert len(kept.payloads()) == len(kept.gateway.finished()) == 1


def test_what_a_websocket_carries_is_not_kept_and_why_it_was_refused_is(kept: Kept) -> None:
    kept.publish(kept.provider())
    with dial(kept.gateway, "/v1/realtime?model=gpt-4o", {"Authorization": f"Bearer {KEY}"}) as connection:
        connection.recv()
        connection.send(json.dumps({"type": "response.create", "said": PROMPT}))
        while json.loads(connection.recv())["type"] != "response.done":
            pass
    wait_until(kept.gateway.finished)
    assert kept.payloads() == {}
    kept.gateway.forget()
    refused(kept.gateway, f"/v1/realtime?model={'x' * 300}", {"Authorization": f"Bearer {KEY}"})
    payload = kept.payload()
    assert (payload.request.size, payload.request.text) == (0, "")
    assert '"invalid_field"' in payload.response.text


def test_of_a_service_text_is_kept_and_anything_else_told_of(kept: Kept) -> None:
    only = kept.provider("generic")
    kept.publish(only)
    auth = {"Authorization": f"Bearer {KEY}"}
    for kind, body, expected in (
        ("text/plain; charset=utf-8", b"tell me, token=abcd1234", "tell me, token=[redacted]"),
        ("application/grpc", b"\0\1\2", "[3 bytes application/grpc, not kept]"),
        ("", b"\x89PNG\xff", "[5 bytes of no declared type, not kept]"),
    ):
        headers = {**auth, "Content-Type": kind} if kind else auth
        answer = kept.gateway.request("POST", "/svc/default/ask", body, headers)
        assert answer.status == 200
        payload = kept.payload(answer)
        assert (payload.request.text, payload.request.size) == (expected, len(body))
        assert json.loads(payload.response.text)["name"] == only.slug


def test_failures_keeps_what_was_not_simply_answered(failures: Kept) -> None:
    first, second = failures.provider(), failures.provider()
    failures.publish(first, second, max_attempts=2, same_target_retries=0)
    plain = failures.gateway.post("/v1/chat/completions", asked("this went well"))
    streamed = failures.gateway.post("/v1/chat/completions", asked("this went well", stream=True))
    first.fail("status", status=500, times=1)
    saved = failures.gateway.post("/v1/chat/completions", asked("failover saved this"))
    invalid = failures.gateway.post("/v1/chat/completions", asked("refused", model="x" * 300))
    first.fail("reset_mid_stream", after_events=2)
    cut = failures.gateway.post("/v1/chat/completions", asked("cut", stream=True))
    assert [answer.status for answer in (plain, streamed, saved, invalid, cut)] == [200, 200, 200, 400, 200]
    assert failures.row(saved).recovered
    kept = failures.payloads()
    assert set(kept) == {failures.row(answer).id for answer in (saved, invalid, cut)}
    assert "failover saved this" in failures.payload(saved).request.text
    assert b"this went well" not in failures.journal()


def test_a_journal_that_is_half_full_drops_copies_first_and_counts_them(
    start_gateways: Callable[..., Gateways], simulator: Simulator
) -> None:
    gateway = start_gateways(SIGNALBOX_HISTORY_PAYLOADS="all", SIGNALBOX_JOURNAL_MAX_MB="1")
    lab = Kept(gateway, simulator)
    only = lab.provider()
    lab.publish(only)
    only.behave(text="word " * 4000)
    for _ in range(25):
        assert gateway.post("/v1/chat/completions", asked("word " * 4000)).status == 200
    rows, kept = len(gateway.finished()), len(lab.payloads())
    assert rows == 25
    assert 8 <= kept <= 15
    size = sum(path.stat().st_size for path in (gateway.data / "journal").iterdir())
    assert size < (512 + 100) * 1024
    wait_until(lambda: total(scrape(gateway), "payload_copies_total", outcome="dropped") == rows - kept)
    assert total(scrape(gateway), "journal_dropped_total") == 0


def test_a_fault_while_copying_fails_no_request_and_tells_nobody_what_was_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def faulty(body: bytes, *_: Any) -> Any:
        raise ValueError(f"cannot redact {body!r}")

    monkeypatch.setattr(excerpts, "of_body", faulty)
    journal, metrics = JournalWriter(tmp_path / "journal", 1 << 20), Metrics("test", CollectorRegistry())
    recorder = PayloadRecorder(journal, metrics, "all", lambda _: None)
    made = Exchange(new_id().bytes, "the-route", time.monotonic(), 0, "POST", "/v1/chat/completions", b"", [])
    made.key, made.body, made.received = AccessKey.from_document(access_key(KEY)), PROMPT.encode(), made.accepted
    assert recorder.watch is not None
    recorder.watch(made, AsyncMock())
    recorder.finish(made, status="routed", http_status=200, rest=PROMPT.encode())
    [name] = list_segments(journal.folder)
    records = [decode(payload) for payload in read_segment(journal.folder / name.file_name)]
    assert [type(record) for record in records] == [Finished]
    assert metrics.payloads.pending == {("failed",): 1}
    assert "the payload of request the-route was not kept: ValueError" in caplog.text
    assert PROMPT not in caplog.text
