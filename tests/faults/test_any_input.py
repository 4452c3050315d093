"""Malformed, huge, slow, deep, binary input at every endpoint: a 4xx in the right format, never a 5xx, memory flat."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from routes.gateway.endpoints import SERIES
from tests.faults.processes import resident_mb
from tests.gateways import KEY

if TYPE_CHECKING:
    from tests.gateway.lab import Lab
    from tests.gateways import Answer

pytestmark = pytest.mark.faults

FLAT_MB = 40
DEEP = 100_000
#: Every address that takes a body, as `/v1/…`.
PATHS = sorted({path for method, path in SERIES if method == "POST" and path.startswith("/v1/")})
FORMS = {"/v1/images/edits", "/v1/images/variations", "/v1/audio/transcriptions", "/v1/audio/translations"}

NOT_JSON: dict[str, bytes] = {
    "nothing": b"",
    "blanks": b" \n\t ",
    "half an object": b'{"model": "gpt-4o", "messages": [',
    "rubbish behind it": b'{"model": "gpt-4o"} trailing',
    "binary": bytes(range(256)) * 64,
    "not UTF-8": b'{"model": "\xff\xfe\xfa", "messages": []}',
    "NaN": b'{"model": "gpt-4o", "temperature": NaN}',
    "a lone surrogate": b'{"model": "\\ud800"}',
    "UTF-16": '{"model": "gpt-4o"}'.encode("utf-16"),
    "single quotes": b"{'model': 'gpt-4o'}",
    "deep lists": b'{"model": "gpt-4o", "messages": ' + b"[" * DEEP + b"]" * DEEP + b"}",
    "deep objects": b'{"model": "gpt-4o", "input": ' + b'{"a":' * DEEP + b"1" + b"}" * DEEP + b"}",
    "deep and never closed": b"[" * DEEP,
    "packed": b"\x1f\x8b\x08\x00" + b"\x00" * 100,
}
NO_REQUEST: dict[str, bytes] = {
    "a number": b"1",
    "a string": b'"gpt-4o"',
    "a list": b'[{"model": "gpt-4o"}]',
    "null": b"null",
    "a model that is a number": b'{"model": 7, "messages": []}',
    "a model that is a list": b'{"model": ["gpt-4o"], "messages": []}',
    "a model that is nothing": b'{"model": "", "messages": []}',
    "a model as long as a book": b'{"model": "' + b"x" * 100_000 + b'", "messages": []}',
}
NO_MODEL: dict[str, bytes] = {
    "no model": b'{"messages": []}',
    "a model that is null": b'{"model": null, "messages": []}',
}
#: Upstreams have a model of their own choice for these.
WITHOUT_MODEL = {"/v1/images/generations", "/v1/images/edits", "/v1/images/variations", "/v1/moderations"}


def send(lab: Lab, path: str, body: bytes, kind: str = "application/json", **more: str) -> Answer:
    headers = {"Authorization": f"Bearer {KEY}", "Content-Type": kind, **more}
    return lab.gateway.request("POST", path, body, headers)


def refused_in_the_right_format(answer: Answer, path: str) -> bool:
    if not 400 <= answer.status < 500 or answer.headers["content-type"] != "application/json":
        return False
    document = answer.json()
    error = document["error"]
    if path.startswith("/v1/messages"):
        return bool(document["type"] == "error" and error["type"] and error["message"] and document["request_id"])
    return bool(error["message"] and error["type"] == error["code"] and "param" in error)


@pytest.mark.parametrize("path", PATHS)
def test_what_is_no_request_gets_a_4xx_in_the_clients_format_everywhere(lab: Lab, path: str) -> None:
    only = lab.provider("anthropic" if path.startswith("/v1/messages") else "openai")
    lab.publish(only)
    before = resident_mb(lab.gateway)

    for name, body in {**NOT_JSON, **NO_REQUEST, **({} if path in WITHOUT_MODEL else NO_MODEL)}.items():
        answer = send(lab, path, body)
        assert refused_in_the_right_format(answer, path), (name, answer.status, answer.body[:300])

    assert only.count == 0
    assert {row.status for row in lab.gateway.finished()} == {"rejected"}
    assert resident_mb(lab.gateway) - before < FLAT_MB
    assert lab.gateway.get("/healthz").status == 200


def form(*parts: tuple[bytes, bytes], boundary: bytes = b"line", end: bytes = b"--line--\r\n") -> bytes:
    """A multipart body of (headers, content)."""
    return (
        b"".join(b"--" + boundary + b"\r\n" + head + b"\r\n\r\n" + content + b"\r\n" for head, content in parts) + end
    )


MODEL = (b'Content-Disposition: form-data; name="model"', b"gpt-4o")
FILE = (b'Content-Disposition: form-data; name="file"; filename="a.wav"', bytes(range(256)))
BROKEN_FORMS: dict[str, tuple[str, bytes]] = {
    "no boundary": ("multipart/form-data", form(MODEL, FILE)),
    "an empty boundary": ("multipart/form-data; boundary=", form(MODEL, FILE)),
    "another boundary": ("multipart/form-data; boundary=other", form(MODEL, FILE)),
    "a boundary as long as a book": (f"multipart/form-data; boundary={'b' * 5000}", form(MODEL, FILE)),
    "never closed": ("multipart/form-data; boundary=line", form(MODEL, FILE, end=b"")[:-100]),
    "nothing": ("multipart/form-data; boundary=line", b""),
    "binary": ("multipart/form-data; boundary=line", bytes(range(256)) * 64),
    "no model": ("multipart/form-data; boundary=line", form(FILE)),
    "parts without names": ("multipart/form-data; boundary=line", form((b"Content-Type: text/plain", b"gpt-4o"))),
    "headers that are none": ("multipart/form-data; boundary=line", form((b"\xff\x00: \xfe", b"gpt-4o"))),
    "ten thousand parts": (
        "multipart/form-data; boundary=line",
        form(*[(b'Content-Disposition: form-data; name="x"', b"1")] * 10_000),
    ),
    "a text": ("text/plain", b"hello"),
}


@pytest.mark.parametrize("path", sorted(FORMS))
def test_what_is_no_form_gets_a_400_in_the_clients_format(lab: Lab, path: str) -> None:
    only = lab.provider()
    lab.publish(only)
    before = resident_mb(lab.gateway)

    for name, (kind, body) in BROKEN_FORMS.items():
        if name == "no model" and path in WITHOUT_MODEL:
            continue
        answer = send(lab, path, body, kind)
        assert refused_in_the_right_format(answer, path), (name, answer.status, answer.body[:300])

    assert only.count == 0
    assert resident_mb(lab.gateway) - before < FLAT_MB


@pytest.mark.parametrize("path", PATHS)
def test_members_of_the_wrong_kind_never_become_a_5xx_of_ours(lab: Lab, path: str) -> None:
    only = lab.provider("anthropic" if path.startswith("/v1/messages") else "openai")
    lab.publish(only)
    only.fail("status", status=400)  # whatever an upstream says to it
    odd = [None, 7, -1e308, "text", [], {}, [[]], [None], {"role": 7}, [{"role": None, "content": {"a": [1]}}], True]
    names = ("messages", "input", "prompt", "tools", "stream", "system", "metadata", "max_tokens", "user", "query")

    for name in names:
        for value in odd:
            answer = send(lab, path, json.dumps({"model": "gpt-4o", name: value}).encode())
            assert 400 <= answer.status < 500, (name, value, answer.status, answer.body[:300])

    assert {row.status for row in lab.gateway.finished()} <= {"rejected", "routed"}
    only.heal()


@pytest.mark.slow
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages", "/v1/audio/transcriptions", "/svc/default/x"])
def test_a_body_above_the_limit_gets_a_413_and_leaves_the_memory_flat(lab: Lab, path: str) -> None:
    only = lab.provider("anthropic" if path == "/v1/messages" else "generic" if "svc" in path else "openai")
    lab.publish(only)
    before = resident_mb(lab.gateway)

    answers = [send(lab, path, b" " * (33 * 1024 * 1024)) for _ in range(4)]

    assert {answer.status for answer in answers} == {413}
    assert {answer.headers["x-should-retry"] for answer in answers} == {"false"}
    assert only.count == 0
    assert resident_mb(lab.gateway) - before < FLAT_MB


ODD_PATHS = (
    "/v1/nothing",
    "/v1/chat/completions/../../x",
    "/v1/%00",
    "/v1/" + "x" * 8000,
    "/p//v1/chat/completions",
    "/p/%ff/v1/chat/completions",
    "/svc/default/../../etc/passwd",
    "/svc//x",
    "/v1/models/" + "%F0%9F%A4%96" * 500,
)


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE", "PATCH", "TRACE"])
def test_odd_addresses_and_methods_get_a_4xx(lab: Lab, method: str) -> None:
    lab.publish(lab.provider(models={"gpt-4o": "gpt-4o"}))
    for path in ODD_PATHS:
        answer = lab.gateway.request(method, path, b"{}", {"Authorization": f"Bearer {KEY}"})
        assert 400 <= answer.status < 500, (path, answer.status, answer.body[:200])
        assert answer.json()["error"]["message"]
