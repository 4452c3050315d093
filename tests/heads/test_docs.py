"""The examples of docs/heads.md are messages that are taken, and its signature is one of ours."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from health.heads.documents import HeadRegistration, HeadStatus, HeadsWanted, NamedHead, NamedHeadStatus
from routing_project.console.sockets import envelope
from routing_project.console.sockets.heads import HeadSocket
from routing_project.console.webhooks import sign
from routing_project.feed.where import HEAD_FIELDS, Where

DOCS = (Path(__file__).parent.parent.parent / "docs" / "heads.md").read_text()
BODIES: dict[str, Any] = {
    "register_head": HeadRegistration,
    "update_status": NamedHeadStatus,
    "deregister_head": NamedHead,
    "get_heads": HeadsWanted,
}


def test_what_curl_sends_is_taken() -> None:
    registration, status = (json.loads(body) for body in re.findall(r"-d '(\{.*?\})'", DOCS, re.S))
    assert HeadRegistration.model_validate(registration).capacity == 64
    assert HeadStatus.model_validate(status).generation == 3


def test_every_message_of_the_socket_is_shown_and_taken() -> None:
    questions = [envelope.read(line.removeprefix("→ ")) for line in DOCS.splitlines() if line.startswith("→ ")]
    assert {question.type for question in questions} == set(HeadSocket.handlers)
    for question in questions:
        if question.type == "subscribe":
            Where.parse(question.payload["filter"], HEAD_FIELDS)
        else:
            BODIES[question.type].model_validate(question.payload)
    for line in DOCS.splitlines():
        if line.startswith("← "):
            json.loads(line.removeprefix("← "))


def test_the_signature_shown_is_ours() -> None:
    code = next(block for block in re.findall(r"```python\n(.*?)```", DOCS, re.S) if "hmac" in block)
    shown: dict[str, Any] = {}
    exec(code, shown)
    body, headers = shown["signed"]("secret", {"head_id": "one", "status": "active", "load": 1})
    assert headers["X-Signalbox-Signature"] == sign("secret", headers["X-Signalbox-Timestamp"], body)


def test_the_python_of_the_docs_is_python() -> None:
    for block in re.findall(r"```python\n(.*?)```", DOCS, re.S):
        compile(block, "docs/heads.md", "exec")
