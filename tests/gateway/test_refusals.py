"""Refusals as documents: shape by wire format, when SDKs are told not to retry, what never appears."""

from __future__ import annotations

import json
from typing import Any

import pytest

from routes.gateway import errors
from routes.gateway.errors import Refusal, render, should_not_retry

#: One attempt as a client may read it.
TRIED = {"provider": "a", "error": "connect_refused"}


def rendered(refusal: Refusal, wire: str = "openai") -> tuple[int, dict[str, str], Any]:
    status, headers, body = render(refusal, None, wire)
    return status, {name.decode(): value.decode() for name, value in headers}, json.loads(body)


def test_openai_shape_has_our_code_as_type_and_code() -> None:
    status, headers, document = rendered(errors.AllTargetsFailed("no", attempts=[TRIED] * 3))
    assert status == 502
    assert headers["content-type"] == "application/json"
    assert document == {
        "error": {
            "message": "no",
            "type": "all_targets_failed",
            "param": None,
            "code": "all_targets_failed",
            "attempts": [TRIED] * 3,
        }
    }


@pytest.mark.parametrize(
    ("refusal", "kind"),
    [
        (errors.BadRequest(), "invalid_request_error"),
        (errors.Unauthenticated(), "authentication_error"),
        (errors.Forbidden(), "permission_error"),
        (errors.NotFound(), "not_found_error"),
        (errors.MethodNotAllowed(), "invalid_request_error"),
        (errors.RequestTimeout(), "timeout_error"),
        (errors.BodyTooLarge(), "request_too_large"),
        (errors.RateLimited(), "rate_limit_error"),
        (errors.AllTargetsFailed(), "api_error"),
        (errors.NoTargetAvailable(), "overloaded_error"),
        (errors.TotalTimeout(), "timeout_error"),
        (Refusal(), "api_error"),
    ],
)
def test_anthropic_shape_has_anthropics_type_and_our_code(refusal: Refusal, kind: str) -> None:
    status, _, document = rendered(refusal, "anthropic")
    assert status == refusal.status
    assert document["type"] == "error"
    assert (document["error"]["type"], document["error"]["code"]) == (kind, refusal.code)
    assert "request_id" in document


@pytest.mark.parametrize(
    ("refusal", "told"),
    [
        (errors.BadRequest(), True),
        (errors.NotFound(), True),
        (errors.RequestTimeout(), False),
        (errors.RateLimited(retry_after=3), False),
        (errors.RateLimited(), True),
        (errors.RateLimited(code="insufficient_quota", retry_after=60), True),
        (errors.AllTargetsFailed(attempts=[TRIED] * 1), False),
        (errors.AllTargetsFailed(attempts=[TRIED] * 2), True),
        (errors.TotalTimeout(attempts=[TRIED] * 2), True),
        (errors.RateLimited(attempts=[TRIED] * 3, retry_after=1), False),
        (errors.NoTargetAvailable(retry_after=1), False),
    ],
)
def test_sdks_are_told_not_to_retry_exactly_when_it_is_pointless(refusal: Refusal, told: bool) -> None:
    assert should_not_retry(refusal) is told
    assert ("x-should-retry" in rendered(refusal)[1]) is told


@pytest.mark.parametrize(("seconds", "header"), [(0.01, "1"), (1.0, "1"), (1.2, "2"), (60, "60")])
def test_retry_after_is_whole_seconds_and_never_too_early(seconds: float, header: str) -> None:
    assert rendered(errors.NoTargetAvailable(retry_after=seconds))[1]["retry-after"] == header


def test_every_refusal_has_a_status_and_code_of_its_own() -> None:
    kinds = Refusal.__subclasses__()
    assert len({(kind.status, kind.code) for kind in kinds}) == len(kinds)
