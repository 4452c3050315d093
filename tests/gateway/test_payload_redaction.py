"""What is taken out of copies of payloads before they are written anywhere: secrets by name and by shape, whole, cut,
and told in many events; files in base64. What is no secret stays as it was, letter for letter."""

from __future__ import annotations

import base64
import json
import random
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from routes.gateway.payloads import excerpts
from routes.gateway.payloads.excerpts import HEAD, TAIL, Sample
from routes.gateway.payloads.redaction import redact

JSON = b"application/json"
EVENTS = b"text/event-stream"
#: Of each shape one, put together here so that no scanner of repositories takes it for a real one.
SHAPES = {
    "ours": "sbx_" + "a1B2" * 10,
    "OpenAI": "sk-proj-" + "Ab3_" * 12,
    "Anthropic": "sk-ant-api03-" + "Zz9-" * 12,
    "Google": "AIza" + "Sy1_" * 9,
    "AWS": "AKIA" + "Q7" * 8,
    "GitHub": "ghp_" + "x9Y8" * 9,
    "GitHub, fine": "github_pat_" + "x9Y8_" * 9,
    "GitLab": "glpat-" + "x9Y8-" * 4,
    "Slack": "xoxb-" + "1234-" * 5,
    "Hugging Face": "hf_" + "QwEr" * 8,
    "Groq": "gsk_" + "QwEr" * 8,
    "xAI": "xai-" + "QwEr" * 8,
    "Stripe": "sk_live_" + "QwEr" * 6,
    "SendGrid": "SG." + "QwEr" * 5 + "." + "AsDf" * 8,
    "JWT": "eyJ" + "hbGci" * 5 + ".eyJ" + "zdWIi" * 20 + "." + "s1Gn_" * 8,
}
PEM = "-----BEGIN PRIVATE KEY-----\n" + "MIIEvQIBADANBgkqhkiG9w0BAQEFAASC\n" * 50 + "-----END PRIVATE KEY-----"


def kept(sample: Sample) -> str:
    return sample.text + sample.tail


def taken_out(text: str, **how: Any) -> tuple[str, int]:
    out, count = redact(text.encode(), **how)
    return out.decode(), count


# -- by shape and by name ----------------------------------------------------------------------------------


@pytest.mark.parametrize("secret", SHAPES.values(), ids=SHAPES)
def test_a_known_shape_is_taken_out_wherever_it_stands(secret: str) -> None:
    for before, after in (("my key is ", " thanks"), ('{"content":"', '"}'), ("KEY='", "'"), ("(", ")"), ("", "")):
        assert taken_out(before + secret + after) == (f"{before}[redacted]{after}", 1)
    for before in ('{"content":"these:\\n', '{"content":"\\t', '"\\u0020', "?q=%20", "?q=%2520", "my_"):
        assert taken_out(f'{before}{secret}"') == (f'{before}[redacted]"', 1)


@pytest.mark.parametrize(
    "name",
    [
        *(
            "api_key",
            "apiKey",
            "API-Key",
            "x-api-key",
            "password",
            "db_passwd",
            "passphrase",
            "secret",
            "client_secret",
        ),
        *("client_secret", "token", "access_token", "refreshToken", "Authorization", "Proxy-Authorization"),
        *("credentials", "Set-Cookie", "private_key", "secretAccessKey", "aws_secret_access_key"),
    ],
)
def test_what_stands_under_a_telling_name_is_taken_out_whatever_it_is(name: str) -> None:
    for value in (
        "a",
        "correct horse battery staple",
        'with "quotes" and \\',
        12345,
        -1.5e9,
        ["x", "y"],
        {"in": {"n": 1}},
    ):
        body = json.dumps({"before": 1, name: value, "after": [2]})
        text, count = taken_out(body, whole=True)
        assert (json.loads(text), count) == ({"before": 1, name: "[redacted]", "after": [2]}, 1), value
        # Arguments of tools are JSON in a string.
        text, count = taken_out(json.dumps({"arguments": body}), whole=True)
        inner = json.loads(json.loads(text)["arguments"])
        assert (inner, count) == ({"before": 1, name: "[redacted]", "after": [2]}, 1), value


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Authorization: Bearer abcd.efgh", "Authorization: [redacted]"),
        ("-H 'authorization: Basic dXNlcjpwYXNz' -v", "-H 'authorization: [redacted]' -v"),
        ("use bearer 0123456789abcdef here", "use bearer [redacted] here"),
        ("curl -H x-api-key:abcd1234 https://a", "curl -H x-api-key:[redacted] https://a"),
        ("OPENAI_API_KEY=abcd1234\nPORT=1", "OPENAI_API_KEY=[redacted]\nPORT=1"),
        ("password: hunter2, user: ada", "password: [redacted], user: ada"),
        ("postgres://ada:hunter2@db/x", "postgres://[redacted]@db/x"),
        ("https://a/b?key=abcd1234&n=1", "https://a/b?key=[redacted]&n=1"),
        ("Cookie: a=1; session=2\r\nHost: b", "Cookie: [redacted]\r\nHost: b"),
        (f"before {PEM} after", "before [redacted] after"),
        (json.dumps({"c": f"before {PEM} after"}), json.dumps({"c": "before [redacted] after"})),
    ],
)
def test_settings_headers_addresses_and_keys_in_text_are_taken_out(text: str, expected: str) -> None:
    assert taken_out(text) == (expected, 1)


@pytest.mark.parametrize(
    "text",
    [
        '{"max_tokens":4096,"prompt_tokens":12,"stop_token_ids":[1,2],"prompt_cache_key":"chat-1","logit_bias":{"9":1}}',
        '{"content":[{"token":"Hello","logprob":-0.1,"bytes":[72]},{"token":" world","logprob":-2,"bytes":null}]}',
        '{"properties":{"password":{"type":"string","description":"x"},"token":{"$ref":"#/t"}},"required":["password"]}',
        '{"secret":null,"token":true,"password":"","credentials":{},"cookies":[]}',
        "Tokens are counted; the keyboard has keys. A bearer of news came at 12:30, see https://a.example/b?page=2#c",
        "def tokenize(text: str) -> list[str]: return task-1234 or disk-usage-of-the-whole-machine",
        '{"id":"chatcmpl-9f8e7d6c5b4a39281706","object":"chat.completion","system_fingerprint":"fp_44709d6fcb"}',
    ],
)
def test_what_is_no_secret_stays_letter_for_letter(text: str) -> None:
    assert taken_out(text, whole=True) == (text, 0)


def test_a_value_that_is_known_is_taken_out_although_it_looks_like_nothing() -> None:
    assert taken_out("not accepted: plainvalue!", known=[b"plainvalue"]) == ("not accepted: [redacted]!", 1)


# -- cut -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("secret", [SHAPES["OpenAI"], SHAPES["JWT"], PEM], ids=["key", "JWT", "PEM"])
@pytest.mark.parametrize("kind", [JSON, b"text/plain"], ids=["json", "text"])
def test_no_cut_leaves_a_part_of_a_secret(secret: str, kind: bytes) -> None:
    """The secret is put across every border of what is kept, and shown by nothing but a few first letters."""
    size = 60_000
    text = ("word " * size)[:size]
    borders = (HEAD, HEAD + excerpts.MARGIN, size - TAIL, size - TAIL - excerpts.MARGIN)
    part = secret.replace("\n", "\\n" if kind == JSON else "\n")[-40:]
    for border in borders:
        for place in range(border - len(secret) - 20, border + 20, 17):
            body = f"{text[:place]} {secret} {text[place:]}"
            sample = excerpts.of_body(json.dumps({"c": body}).encode() if kind == JSON else body.encode(), kind, ())
            assert sample.cut
            assert len(sample.text) <= HEAD
            assert len(sample.tail) <= TAIL
            assert part not in kept(sample), place
            assert secret[30:60] not in kept(sample), place
            assert secret[:12] not in kept(sample), place


def test_a_named_value_that_is_cut_off_is_taken_out_to_the_cut() -> None:
    body = json.dumps({"text": "x " * 4000, "password": "open sesame " * 3000, "last": "y " * 1000})
    sample = excerpts.of_body(body.encode(), JSON, ())
    assert (sample.cut, sample.redactions) == (True, 1)
    assert "sesame" not in kept(sample)
    assert sample.text.startswith('{"text": "x x')
    # Its end lies in the tail, behind what is left out.
    body = json.dumps({"text": "x " * HEAD, "password": "open sesame " * 300, "last": "y " * 1000})
    sample = excerpts.of_body(body.encode(), JSON, ())
    assert "sesame" not in kept(sample)
    assert sample.tail.endswith('y y "}')
    assert taken_out('{"password":"open ses') == ('{"password":"[redacted]', 1)


def test_both_ends_of_a_long_text_are_kept_with_its_letters_whole() -> None:
    text = "grün → ende " * 10_000
    sample = excerpts.of_body(text.encode(), b"text/plain; charset=utf-8", ())
    assert (sample.cut, sample.redactions) == (True, 0)
    assert text.startswith(sample.text)
    assert text.endswith(sample.tail)
    assert HEAD - 4 < len(sample.text.encode()) <= HEAD
    assert TAIL - 8 < len(sample.tail.encode()) <= TAIL


def test_a_text_that_fits_is_kept_as_it_is() -> None:
    text = "grün " * ((HEAD + TAIL) // 6)
    assert excerpts.of_body(text.encode(), b"text/plain", ()) == Sample(text)


# -- in events ---------------------------------------------------------------------------------------------


def events_of(text: str, rng: random.Random, wrap: str = "chat", spaced: bool = False) -> bytes:
    """``text`` as a stream brings it, cut anywhere, two other texts in between."""
    out, at = [], 0
    while at < len(text):
        step = rng.randint(1, 6)
        piece, at = text[at : at + step], at + step
        if wrap == "chat":
            out.append({"id": "c", "choices": [{"index": 0, "delta": {"content": piece}}]})
            out.append({"id": "c", "choices": [{"index": 1, "delta": {"content": "other"}}]})
        elif wrap == "messages":
            out.append({"type": "content_block_delta", "index": 2, "delta": {"type": "text_delta", "text": piece}})
            out.append({"type": "ping"})
        else:
            call = {"index": 0, "function": {"arguments": piece}}
            out.append({"id": "c", "choices": [{"index": 0, "delta": {"tool_calls": [call]}}]})
    written = (json.dumps(each).encode() if spaced else orjson.dumps(each) for each in out)
    return b"".join(b"data: " + each + b"\n\n" for each in written)


def said(events: str) -> str:
    """What the events say, put together again."""
    pieces = []
    for line in events.split("\n"):
        if line.startswith("data: "):
            event = json.loads(line[6:])
            choice = (event.get("choices") or [{"index": 0, "delta": event.get("delta") or {}}])[0]
            if choice["index"] == 0:
                delta = choice["delta"]
                calls = delta.get("tool_calls") or [{"function": {"arguments": ""}}]
                pieces += [delta.get("content", ""), delta.get("text", ""), calls[0]["function"]["arguments"]]
    return "".join(pieces)


@settings(max_examples=40, deadline=None)
@given(
    secret=st.sampled_from([*SHAPES.values(), "password: hunter2hunter2", "OPENAI_API_KEY=abcdefgh"]),
    wrap=st.sampled_from(["chat", "messages", "arguments"]),
    spaced=st.booleans(),
    rng=st.randoms(use_true_random=False),
)
def test_a_secret_that_many_events_bring_is_taken_out_of_all_of_them(
    secret: str, wrap: str, spaced: bool, rng: random.Random
) -> None:
    name = secret.partition("h")[0] if ":" in secret else secret.partition("=")[0] + "=" if "=" in secret else ""
    out, count = redact(events_of(f'so "{secret}" it is', rng, wrap, spaced), events=True)
    assert said(out.decode()) == f'so "{name}[redacted]" it is'
    assert count >= 1


@pytest.mark.parametrize("length", [20, 160])
def test_a_stream_that_is_cut_shows_no_part_of_a_secret_at_any_border(length: int) -> None:
    """Also of one that is longer than what is looked through before the end."""
    rng = random.Random(11)
    secret = "eyJ" + "hbGci" * 5 + ".eyJ" + "zdWIi" * length + "." + "s1Gn_" * 8
    filler = "word " * 500
    for place in (*range(120, 620, 41), *range(len(filler) - 520, len(filler), 41)):
        sample = excerpts.of_body(events_of(f"{filler[:place]} {secret} {filler[place:]}", rng), EVENTS, ())
        assert sample.cut
        shown = f"{said(sample.text.rpartition(chr(10))[0])} {said(sample.tail.partition(chr(10))[2])}"
        assert set(shown.replace("[redacted]", "").split()) <= {"word", "w", "wo", "wor", "d", "rd", "ord"}, place


def test_events_without_secrets_stay_as_they_are() -> None:
    stream = events_of("nothing to hide " * 20, random.Random(3))
    assert redact(stream, events=True) == (stream, 0)


# -- files -------------------------------------------------------------------------------------------------


def test_files_in_base64_give_way_to_what_they_are_and_the_text_around_them_stays() -> None:
    noise = random.Random(5).randbytes
    image, sound, sheet = noise(1_000_001), noise(40_000), noise(500)
    body = {
        "messages": [
            {"type": "text", "text": "first"},
            {"type": "image_url", "image_url": {"url": "data:image/png;base64," + base64.b64encode(image).decode()}},
            {"type": "text", "text": "second"},
            {"type": "input_audio", "input_audio": {"data": base64.b64encode(sound).decode(), "format": "mp3"}},
            {"type": "text", "text": "third " + "data:text/csv;charset=utf-8,a%2Cb and on"},
            {"type": "image", "source": {"media_type": "image/png", "data": base64.b64encode(sheet).decode()}},
        ]
    }
    sample = excerpts.of_body(json.dumps(body).encode(), JSON, ())
    assert not sample.cut
    told = json.loads(sample.text)["messages"]
    assert told[1]["image_url"]["url"] == "[image/png, 1000001 bytes]"
    assert told[3]["input_audio"] == {"data": "[base64, 40000 bytes]", "format": "mp3"}
    assert [told[place]["text"] for place in (0, 2, 4)] == ["first", "second", "third [text/csv, 5 bytes] and on"]
    assert told[5]["source"] == {"media_type": "image/png", "data": "[base64, 500 bytes]"}
    escaped = sample_of_escaped(sheet)
    assert json.loads(escaped.text) == {"data": "[base64, 500 bytes]"}


def sample_of_escaped(content: bytes) -> Sample:
    """Some encoders write every slash with a backslash."""
    return excerpts.of_body(b'{"data":"%b"}' % base64.b64encode(content).replace(b"/", b"\\/"), JSON, ())


def test_a_form_is_told_field_by_field_and_its_files_by_their_size() -> None:
    body = (
        b'--B\r\nContent-Disposition: form-data; name="model"\r\n\r\nwhisper-1\r\n'
        b'--B\r\nContent-Disposition: form-data; name="api_key"\r\n\r\nabcd1234\r\n'
        b'--B\r\nContent-Disposition: form-data; name="file"; filename="a.mp3"\r\nContent-Type: audio/mpeg\r\n\r\n'
        + b"\xff\x00" * 700
        + b"\r\n--B--\r\n"
    )
    sample = excerpts.of_form(body, b"multipart/form-data; boundary=B", ())
    assert sample.text.split("\n") == [
        "model: whisper-1",
        "api_key: [redacted]",
        'name="file"; filename="a.mp3": [1400 bytes audio/mpeg]',
    ]
    broken = excerpts.of_form(b"no form", b"multipart/form-data; boundary=B", ())
    assert broken.text == "[7 bytes multipart/form-data, not kept]"


@pytest.mark.parametrize(
    ("kind", "coding", "beginning", "expected"),
    [
        (b"application/json; charset=utf-8", b"", b"{", True),
        (b"text/event-stream", b"identity", b"", True),
        (b"application/problem+json", b"", b"", True),
        (b"audio/mpeg", b"", b"ID3", False),
        (b"image/png", b"", b"", False),
        (b"application/json", b"gzip", b"", False),
        (b"", b"", b'{"a":1}', True),
        (b"", b"", "grü".encode()[:-1], True),
        (b"", b"", b"\x89PNG\r\n", False),
        (b"application/octet-stream", b"", b"text", True),
        # Secrets in it would not be seen.
        (b"application/json; charset=utf-16", b"", '{"a":1}'.encode("utf-16-le"), False),
    ],
)
def test_only_text_is_kept_as_text(kind: bytes, coding: bytes, beginning: bytes, expected: bool) -> None:
    assert excerpts.is_text(kind, coding, beginning) is expected


@settings(max_examples=80, deadline=None)
@given(body=st.binary(max_size=400) | st.text(max_size=300).map(str.encode), times=st.integers(1, 300))
def test_any_bytes_are_cut_to_size_and_kept_as_text(body: bytes, times: int) -> None:
    for kind in (JSON, EVENTS, b"text/plain"):
        sample = excerpts.of_body(body * times, kind, ())
        assert len(sample.text.encode()) <= 3 * (HEAD + TAIL)
        assert len(sample.tail.encode()) <= 3 * TAIL
        assert not sample.cut or len(body) * times > HEAD + TAIL
