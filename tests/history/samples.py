"""Journal records with believable contents, for the history tests and benches."""

from __future__ import annotations

import os
from typing import Any

from history.ids import milliseconds, new_id
from history.records import Attempt, Excerpt, Finished, Payload, Started, Update

PROFILE = bytes.fromhex("0197a1000000700080000000000000aa")
KEY = bytes.fromhex("0197a1000000700080000000000000bb")
TARGET = "0197a100-0000-7000-8000-0000000000cc"


def route() -> bytes:
    return new_id().bytes


def started(identifier: bytes | None = None, **values: Any) -> Started:
    base = {
        "profile_id": PROFILE,
        "profile": "default",
        "key_id": KEY,
        "key_name": "app",
        "requested_model": "gpt-4o",
        "strategy": "weighted",
        "provider": "acme-eu",
        "model": "acme-gpt-4o",
        "revision": 7,
        "operation": "chat",
        "path": "/v1/chat/completions",
        "client_ip": "127.0.0.1",
    }
    return Started(id=identifier or route(), **{**base, **values})


def attempt(**values: Any) -> Attempt:
    base = {
        "provider": "acme-eu",
        "model": "acme-gpt-4o",
        "target": TARGET,
        "endpoint": "https://eu.acme.example/v1",
        "http_status": 200,
        "ttfb_us": 90_000,
        "latency_us": 120_000,
        "bytes": 812,
    }
    return Attempt(**{**base, **values})


def finished(identifier: bytes | None = None, **values: Any) -> Finished:
    identifier = identifier or route()
    base = {
        "status": "routed",
        "profile_id": PROFILE,
        "profile": "default",
        "key_id": KEY,
        "key_name": "app",
        "operation": "chat",
        "wire": "openai",
        "path": "/v1/chat/completions",
        "client_ip": "127.0.0.1",
        "user_agent": "OpenAI/Python 2.0",
        "http_status": 200,
        "latency_us": 123_456,
        "selection_us": 15,
        "ttfb_us": 95_000,
        "endpoint_id": bytes.fromhex(TARGET.replace("-", "")),
        "endpoint": "https://eu.acme.example/v1",
        "region": "eu-west",
        "provider": "acme-eu",
        "model": "acme-gpt-4o",
        "requested_model": "gpt-4o",
        "strategy": "weighted",
        "source": "load_balancer",
        "attempt_count": 1,
        "attempts": [attempt(started_ms=milliseconds(identifier) + 2)],
        "input_tokens": 12,
        "output_tokens": 34,
        "cost_micro_usd": 370,
        "revision": 7,
    }
    return Finished(id=identifier, **{**base, **values})


def failed(identifier: bytes | None = None, **values: Any) -> Finished:
    """All attempts failed."""
    identifier = identifier or route()
    at = milliseconds(identifier)
    attempts = [
        attempt(http_status=503, error_class="upstream_5xx", started_ms=at + 1),
        attempt(provider="acme-us", http_status=None, error_class="connect_refused", started_ms=at + 130, ttfb_us=None),
    ]
    base: dict[str, Any] = {
        "status": "failed",
        "http_status": 502,
        "error_code": "connect_refused",
        "message": "every target failed",
        "provider": "acme-us",
        "attempts": attempts,
        "attempt_count": 2,
        "output_tokens": None,
    }
    return finished(identifier, **{**base, **values})


def decided(identifier: bytes | None = None, **values: Any) -> Finished:
    """A decision whose outcome is not reported yet."""
    base: dict[str, Any] = {"status": "decided", "attempts": [], "attempt_count": 0, "http_status": None}
    return finished(identifier, **{**base, **values})


def update(identifier: bytes, **values: Any) -> Update:
    return Update(id=identifier, **values)


def payload(identifier: bytes | None = None, prompt: str = "hello", **values: Any) -> Payload:
    """Copies of a small chat."""
    request = Excerpt(
        "application/json", 90, f'{{"model":"gpt-4o","messages":[{{"role":"user","content":"{prompt}"}}]}}'
    )
    response = Excerpt("text/event-stream", 70_000, 'data: {"delta":"a"}', "data: [DONE]", True)
    base: dict[str, Any] = {"request": request, "response": response, "redactions": 2}
    return Payload(id=identifier or route(), **{**base, **values})


def noise(size: int) -> bytes:
    return os.urandom(size)
