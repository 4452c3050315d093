"""Explaining over REST: a request as the gateway would decide it now, or a recorded one again; nothing is changed."""

from __future__ import annotations

import json
from typing import Any

import pytest

from routes import actions
from tests.control.api import Api
from tests.control.conftest import actor
from tests.control.samples import access_key, profile, provider

pytestmark = pytest.mark.django_db

LONG = {"fact": "tokens", "op": "gte", "value": 1_000}


def rule(name: str, when: dict[str, Any], *targets: str, **fields: Any) -> dict[str, Any]:
    return {"name": name, "when": when, "targets": [{"provider": slug} for slug in targets], **fields}


def configuration(**fields: Any) -> dict[str, Any]:
    return {
        "version": 1,
        "providers": [provider("alpha", region="eu-west"), provider("beta"), provider("gamma"), provider("claude", wire="anthropic")],
        "profiles": [
            profile("default", ("alpha", 70), ("beta", 30), "claude", strategy="weighted", rules=[rule("long", LONG, "gamma")]),
            profile("spare", "beta"),
        ],
        "access_keys": [access_key("app", tags=["internal"], region="eu-west")],
        **fields,
    }  # fmt: skip


@pytest.fixture
def published(db: None) -> None:
    actions.import_configuration(configuration(), actor=actor("admin"), publish_now=True)


def chat(text: str = "Hello", model: str = "gpt-4o", **fields: Any) -> dict[str, Any]:
    return {"path": "/v1/chat/completions", "body": {"model": model, "messages": [{"role": "user", "content": text}]}, **fields}


def explained(**fields: Any) -> dict[str, Any]:
    answer = Api("read").post("explain/", {"request": chat(), **fields})
    assert answer.status == 200, answer.body
    body: dict[str, Any] = answer.body
    return body


def test_smoke(published) -> None:
    print(json.dumps(explained(draws=100), indent=1))
