"""Multipart requests to images and audio: routed by their model, sent on byte for byte but for it."""

from __future__ import annotations

import json
import random
from typing import TYPE_CHECKING

import pytest

from routes.gateway.wire.form import MAX_PARTS
from tests.documents import access_key, document, profile, rule, target
from tests.gateway.test_wire_form import form_of, part
from tests.gateways import KEY

if TYPE_CHECKING:
    from tests.gateway.lab import Lab
    from tests.gateways import Answer

#: Many of a kind.
pytestmark = pytest.mark.thorough

LIMITED = "sbx_" + "limited0" * 5
TYPE = "multipart/form-data; boundary=Bound"
#: Everything that a careless reader would take for the end of a file.
NOISE = random.Random(7).randbytes(4096) + b"\r\n--Boun\r\n\r\n--\r\n\n--Bou\n\r\n.--Bound\r\n\0--" + bytes(range(256))
PNG = part("image", NOISE, '; filename="a \\"b\\"; name=model.png"\r\nContent-Type: image/png')
SOUND = part("file", NOISE, '; filename="speech.mp3"\r\nContent-Type: audio/mpeg')
PROMPT = part("prompt", "a lever, gr\u00fcn".encode())
AUDIO = ("/v1/audio/transcriptions", "/v1/audio/translations")
IMAGES = ("/v1/images/edits", "/v1/images/variations")


def parts_for(path: str) -> list[bytes]:
    return [SOUND] if "audio" in path else [PNG, PROMPT]


def upload(lab: Lab, path: str, body: bytes, content_type: str = TYPE, key: str = KEY, **headers: str) -> Answer:
    given = {"Authorization": f"Bearer {key}", "Content-Type": content_type, **headers}
    return lab.gateway.request("POST", path, body, given)


@pytest.mark.parametrize("path", AUDIO + IMAGES)
def test_an_upload_arrives_byte_for_byte(lab: Lab, path: str) -> None:
    only = lab.provider()
    lab.publish(only)
    body = form_of(*parts_for(path), part("model", b"gpt-4o"), preamble=b"preamble\r\n")
    for prefix, session in (("", None), ("/p/default", None), ("/p/default/s/talk", "talk")):
        answer = upload(lab, prefix + path, body)

        assert answer.status == 200, answer.body
        received = only.requests()[-1]
        assert (received.path, received.body) == (path, body)
        assert received.header("content-type") == TYPE
        assert received.header("content-length") == str(len(body))
        row = lab.row(answer)
        assert (row.requested_model, row.model, row.status) == ("gpt-4o", "gpt-4o", "routed")
        assert row.session_key == session


@pytest.mark.parametrize("path", AUDIO + IMAGES)
def test_only_the_model_changes_when_the_provider_has_its_own_name_for_it(lab: Lab, path: str) -> None:
    only = lab.provider(models={"gpt-4o": "acme/a-longer-name"})
    lab.publish(only)

    answer = upload(lab, path, form_of(part("model", b"gpt-4o"), *parts_for(path)))

    assert answer.headers["x-route-model"] == "acme/a-longer-name"
    received = only.requests()[0]
    assert received.body == form_of(part("model", b"acme/a-longer-name"), *parts_for(path))
    assert received.header("content-length") == str(len(received.body))


def test_a_boundary_may_be_quoted(lab: Lab) -> None:
    only = lab.provider(models={"gpt-4o": "acme"})
    lab.publish(only)
    boundary = b"x'(y)=z"
    content_type = f'multipart/form-data; boundary="{boundary.decode()}"'

    assert (
        upload(lab, AUDIO[0], form_of(SOUND, part("model", b"gpt-4o"), boundary=boundary), content_type).status == 200
    )
    assert only.requests()[0].body == form_of(SOUND, part("model", b"acme"), boundary=boundary)


@pytest.mark.parametrize("path", IMAGES)
def test_images_need_not_name_a_model(lab: Lab, path: str) -> None:
    plain, configured = lab.provider(), lab.provider()
    lab.publish(plain)
    body = form_of(PNG, PROMPT)
    upload(lab, path, body)
    assert plain.requests()[0].body == body

    lab.gateway.publish(document([configured.entry], [profile("default", [target(configured.slug, "gpt-image-1")])]))
    answer = upload(lab, path, body)

    assert answer.headers["x-route-model"] == "gpt-image-1"
    assert configured.requests()[0].body == form_of(part("model", b"gpt-image-1"), PNG, PROMPT)


@pytest.mark.parametrize("path", AUDIO)
def test_audio_must_name_a_model(lab: Lab, path: str) -> None:
    only = lab.provider()
    lab.publish(only)

    answer = upload(lab, path, form_of(SOUND))

    assert (answer.status, answer.json()["error"]["code"], answer.json()["error"]["param"]) == (
        *(400, "missing_field"),
        "model",
    )
    assert answer.headers["x-should-retry"] == "false"
    assert only.count == 0


UNCLEAR = [
    (form_of(SOUND, part("model", b"a"), part("model", b"b")), TYPE, "invalid_form"),
    (form_of(SOUND, part("model", b"a"), part("model", b"b", '; filename="x"')), TYPE, "invalid_form"),
    (form_of(SOUND, part("model", b"a"), part("stream", b"true"), part("stream", b"1")), TYPE, "invalid_form"),
    (form_of(SOUND, part("model", b"a"), part("stream", b"maybe")), TYPE, "invalid_field"),
    (form_of(SOUND, part("model", b"\xff\xfe")), TYPE, "invalid_form"),
    (form_of(SOUND, part("model", b"m" * 300)), TYPE, "invalid_field"),
    (form_of(SOUND, part("model", b"m" * 3000)), TYPE, "invalid_form"),
    (form_of(SOUND, part("model", b"a"))[:-6], TYPE, "invalid_form"),
    (form_of(*[part("a", b"")] * (MAX_PARTS + 1)), TYPE, "invalid_form"),
    (b"", TYPE, "invalid_form"),
    (b'{"model": "gpt-4o"}', TYPE, "invalid_form"),
    (form_of(SOUND, part("model", b"a")), "multipart/form-data", "invalid_form"),
    (form_of(SOUND, part("model", b"a")), "multipart/form-data; boundary=a; boundary=Bound", "invalid_form"),
    (form_of(SOUND, part("model", b"a")), "multipart/form-data; boundary=B\u00f6und", "invalid_form"),
    (form_of(SOUND, part("model", b"a")), "application/octet-stream", "invalid_json"),
    (b"model=a&file=b", "application/x-www-form-urlencoded", "invalid_json"),
]


def test_what_is_no_clear_form_is_refused_and_sent_nowhere(lab: Lab) -> None:
    only = lab.provider()
    lab.publish(only)
    for body, content_type, code in UNCLEAR:
        answer = upload(lab, AUDIO[0], body, content_type.encode().decode("latin-1"))

        assert (answer.status, answer.json()["error"]["code"]) == (400, code), body[:200]
        assert (lab.row(answer).status, lab.row(answer).error_code) == ("rejected", code)
    assert only.count == 0


def test_two_content_types_are_refused(lab: Lab) -> None:
    only = lab.provider()
    lab.publish(only)
    body = form_of(SOUND, part("model", b"gpt-4o"))
    with lab.gateway.connect() as connection:
        connection.sendall(
            f"POST {AUDIO[0]} HTTP/1.1\r\nHost: x\r\nx-api-key: {KEY}\r\nContent-Type: {TYPE}s\r\n"
            f"Content-Type: {TYPE}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode()
            + body
        )
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert only.count == 0


def test_any_bytes_at_all_are_answered_with_400_and_never_with_an_error_of_ours(lab: Lab) -> None:
    only = lab.provider()
    lab.publish(only)
    draw = random.Random(11)
    sound = form_of(SOUND, part("model", b"gpt-4o"), part("stream", b"false"))
    for _ in range(60):
        body = bytearray(sound)
        for _ in range(draw.randint(1, 6)):
            at = draw.randrange(len(body)) if draw.random() < 0.3 else draw.choice([len(body) - 1, 0, 12, 30, 60])
            body[at : at + draw.randint(0, 12)] = draw.choice([b"", b"\r\n", b'"', b"\0", b"--Bound", b"\xff", b";"])
        status = upload(lab, AUDIO[0], bytes(body)).status
        assert status in (200, 400), bytes(body)


def test_failing_over_sends_each_target_the_same_bytes_with_its_own_model(lab: Lab) -> None:
    bad, worse, good = lab.provider(), lab.provider(models={"gpt-4o": "acme"}), lab.provider()
    lab.publish(bad, worse, good)
    bad.fail("reset_before_headers")
    worse.fail("status", status=503)
    body = form_of(SOUND, part("model", b"gpt-4o"))

    assert upload(lab, AUDIO[0], body).status == 200
    assert [each.requests()[0].body for each in (bad, worse, good)] == [
        body,
        form_of(SOUND, part("model", b"acme")),
        body,
    ]
    assert lab.attempts() == [(bad.slug, "reset_before_headers"), (worse.slug, "upstream_5xx"), (good.slug, None)]


def test_a_key_for_some_models_uploads_for_those_only_and_must_name_one(lab: Lab) -> None:
    only = lab.provider()
    lab.publish(only)
    lab.gateway.overlay(keys=[access_key(KEY), access_key(LIMITED, name="limited", models=["dall-*"])])
    statuses = [
        upload(lab, IMAGES[0], form_of(PNG, PROMPT, *model), key=LIMITED).status
        for model in ([part("model", b"dall-e-2")], [part("model", b"gpt-image-1")], [], [part("model", b"")])
    ]

    assert statuses == [200, 403, 403, 403]
    assert only.count == 1


@pytest.mark.parametrize("path", AUDIO + IMAGES)
def test_json_is_taken_where_forms_are(lab: Lab, path: str) -> None:
    only = lab.provider(models={"gpt-4o": "acme"})
    lab.publish(only)
    only.fail("status", status=200, body='{"text": "heard", "data": []}')

    answer = lab.gateway.post(path, b'{"image": "data:,x",  "model": "gpt-4o"}')

    assert answer.status == 200
    assert only.requests()[0].body == b'{"image": "data:,x",  "model": "acme"}'


def test_a_transcription_streams_as_it_is_heard(lab: Lab) -> None:
    only = lab.provider()
    lab.publish(only)
    body = form_of(SOUND, part("model", b"gpt-4o-transcribe"), part("stream", b"true"))

    answer = upload(lab, AUDIO[0], body)

    assert answer.headers["content-type"].startswith("text/event-stream")
    assert b'"transcript.text.delta"' in answer.body
    assert b'"transcript.text.done"' in answer.body
    row = lab.row(answer)
    assert (row.stream, row.status, row.usage_estimated) == (True, "routed", False)
    assert row.output_tokens


def test_a_model_that_hears_all_at_once_may_ignore_the_wish_for_a_stream(lab: Lab) -> None:
    only, other = lab.provider(), lab.provider()
    lab.publish(only, other)
    body = form_of(SOUND, part("model", b"whisper-1"), part("stream", b"true"))
    for kind, text in (("application/json", '{"text": "all of it"}'), ("text/plain; charset=utf-8", "all of it\n")):
        only.fail("status", status=200, body=text, content_type=kind)
        answer = upload(lab, AUDIO[0], body)
        assert (answer.status, answer.body, answer.headers["content-type"]) == (200, text.encode(), kind)
        assert lab.attempts(answer) == [(only.slug, None)]


def test_a_cut_transcription_moves_on_before_its_first_word_and_says_so_after_it(lab: Lab) -> None:
    bad, good = lab.provider(), lab.provider()
    lab.publish(bad, good)
    body = form_of(SOUND, part("model", b"gpt-4o-transcribe"), part("stream", b"true"))
    bad.fail("error_event")
    assert upload(lab, AUDIO[0], body).headers["x-route-provider"] == good.slug

    bad.fail("end_without_terminator", after_events=2)
    answer = upload(lab, AUDIO[0], body)

    assert answer.headers["x-route-provider"] == bad.slug
    assert json.loads(answer.body.rstrip().rpartition(b"data: ")[2])["error"]["code"] == "truncated"
    assert (lab.row(answer).status, lab.row(answer).error_code) == ("failed", "truncated")


def test_rules_see_the_size_of_an_upload_and_none_of_its_text(lab: Lab) -> None:
    usual, large, worded = lab.provider(), lab.provider(), lab.provider()
    rules = [
        rule("words", {"fact": "user_text", "op": "contains", "value": "lever"}, [target(worded.slug)]),
        rule("large", {"fact": "body_bytes", "op": "gte", "value": 20_000}, [target(large.slug)]),
    ]
    lab.publish(usual, large, worded, only=[usual], of_profile={"rules": rules})
    model = part("model", b"gpt-4o")
    padding = part("mask", b"x" * 20_000, '; filename="m.png"')

    small_one, large_one = (upload(lab, IMAGES[0], form_of(PNG, PROMPT, model, *more)) for more in ([], [padding]))

    assert small_one.headers["x-route-provider"] == usual.slug
    assert large_one.headers["x-route-provider"] == large.slug


def test_an_upload_of_the_largest_size_goes_through(lab: Lab) -> None:
    only = lab.provider(models={"gpt-4o": "acme"})
    lab.publish(only)
    only.behave(log=False)
    size = 32 * 1024 * 1024
    bare = len(form_of(part("file", b"", '; filename="a"'), part("model", b"gpt-4o")))
    body = form_of(part("file", b"\r\n-" * ((size - bare) // 3), '; filename="a"'), part("model", b"gpt-4o"))

    assert upload(lab, AUDIO[0], body).status == 200
    assert upload(lab, AUDIO[0], body + b"x" * 4).status == 413


def test_a_browser_that_hangs_up_in_the_middle_of_an_upload_leaves_nothing_behind(lab: Lab) -> None:
    only = lab.provider()
    lab.publish(only)
    with lab.gateway.connect() as connection:
        connection.sendall(
            f"POST {AUDIO[0]} HTTP/1.1\r\nHost: x\r\nx-api-key: {KEY}\r\nContent-Type: {TYPE}\r\n"
            "Content-Length: 100000\r\n\r\n--Bound".encode()
        )
    assert upload(lab, AUDIO[0], form_of(SOUND, part("model", b"gpt-4o"))).status == 200
    assert only.count == 1
