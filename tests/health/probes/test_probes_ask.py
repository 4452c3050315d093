"""What a probe sends, and what it makes of every kind of answer. Against the misbehaving provider, on real sockets."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from health.probes.ask import ask
from health.probes.plan import plan_of
from routes.gateway.overlay import Credential
from routes.gateway.upstream import Upstream
from tests.documents import document, provider, snapshot

if TYPE_CHECKING:
    from health.probes.plan import Subject
    from health.probes.questions import Finding
    from tests.simulators import ProviderHandle

CREDENTIAL = "sk-canary-7f3a9c2e51d84b60"
EVERYWHERE = frozenset({"public", "private", "loopback"})


def subject_of(handle: ProviderHandle, kind: str = "models", **given: Any) -> Subject:
    """The only check of a configuration with this provider alone."""
    probe = {"kind": kind, "timeout": 0.3, **given.pop("probe", {})}
    entry = provider("acme", **{"wire": handle.wire, "base_url": handle.base_url, "probe": probe, **given})
    (subject,) = plan_of(snapshot([entry])).values()
    return subject


def probe(subject: Subject, kind: str | None = None, credential: str | None = CREDENTIAL) -> Finding:
    async def run() -> Finding:
        upstream = Upstream(EVERYWHERE)
        try:
            return await ask(
                upstream, subject, kind or subject.kind, Credential(credential, 1) if credential is not None else None
            )
        finally:
            await upstream.close()

    return asyncio.run(run())


def test_the_list_of_models_is_asked_for_as_requests_are_sent(openai: ProviderHandle) -> None:
    openai.behave(credential=CREDENTIAL)
    found = probe(subject_of(openai, headers={"x-team": "search"}, query={"api-version": "2026-05-01"}))
    assert (found.kind, found.verdict, found.http_status, found.error_class) == ("models", "success", 200, None)
    (request,) = openai.requests()
    assert (request.method, request.target) == ("GET", "/v1/models?api-version=2026-05-01")
    assert request.header("authorization") == f"Bearer {CREDENTIAL}"
    assert request.header("x-team") == "search"
    assert request.body == b""


def test_anthropic_is_told_the_version_of_its_api(wires: dict[str, ProviderHandle]) -> None:
    anthropic = wires["anthropic"]
    assert probe(subject_of(anthropic)).ok
    (request,) = anthropic.requests()
    assert request.header("x-api-key") == CREDENTIAL
    assert request.header("anthropic-version") == "2023-06-01"


ANSWERS: list[tuple[str, dict[str, Any], tuple[str, str | None, bool]]] = [
    # fault, its options, (verdict, error class, whether the circuit counts it)
    ("status", {"status": 500}, ("failure", "upstream_5xx", True)),
    ("status", {"status": 503}, ("failure", "upstream_5xx", True)),
    ("status", {"status": 529}, ("failure", "overloaded", True)),
    ("status", {"status": 401}, ("failure", "auth_failed", False)),
    ("status", {"status": 403}, ("failure", "auth_failed", False)),
    ("status", {"status": 402}, ("failure", "quota_exhausted", False)),
    ("billing", {"status": 429}, ("failure", "quota_exhausted", False)),
    ("billing", {}, ("failure", "quota_exhausted", False)),
    ("rate_limited", {}, ("neutral", "rate_limited", False)),
    ("status", {"status": 422}, ("neutral", "client_error", False)),
    ("redirect", {}, ("failure", "upstream_redirect", True)),
    ("html_in_200", {}, ("failure", "invalid_response", True)),
    ("invalid_json", {}, ("failure", "invalid_response", True)),
    ("error_in_200", {}, ("failure", "error_in_200", True)),
    ("refused", {}, ("failure", "connect_refused", True)),
    ("reset_before_headers", {}, ("failure", "reset_before_headers", True)),
    ("close_before_headers", {}, ("failure", "reset_before_headers", True)),
    ("cut_mid_body", {}, ("failure", "truncated", True)),
    ("hang_before_headers", {}, ("failure", "timeout_first_byte", True)),
    ("hang_after_headers", {}, ("failure", "timeout_idle", True)),
    ("slow_drip", {}, ("failure", "timeout_first_byte", True)),
]


@pytest.mark.parametrize(("fault", "options", "expected"), ANSWERS, ids=[f"{f}-{o}" for f, o, _ in ANSWERS])
def test_every_kind_of_answer_has_its_meaning(
    openai: ProviderHandle, fault: str, options: dict[str, Any], expected: tuple[str, str | None, bool]
) -> None:
    openai.fail(fault, **options)
    found = probe(subject_of(openai))
    assert (found.verdict, found.error_class, found.counts) == expected
    assert not found.ok
    assert found.kind == "models"


@pytest.mark.parametrize("status", [404, 405, 501])
def test_who_has_no_list_of_models_is_asked_for_a_connection(openai: ProviderHandle, status: int) -> None:
    openai.fail("status", status=status)
    found = probe(subject_of(openai))
    assert (found.kind, found.verdict, found.http_status) == ("tcp", "success", None)
    assert openai.count() == 1


def test_a_redirect_is_not_followed(openai: ProviderHandle, wires: dict[str, ProviderHandle]) -> None:
    openai.fail("redirect", location=f"{wires['generic'].base_url}/models")
    assert probe(subject_of(openai)).error_class == "upstream_redirect"
    assert wires["generic"].count() == 0


def test_an_answer_that_does_not_end_is_given_up(openai: ProviderHandle) -> None:
    openai.fail("endless_body")
    assert probe(subject_of(openai, probe={"timeout": 5})).error_class == "too_large"


def test_a_connection_is_enough_for_tcp_and_nothing_is_sent(openai: ProviderHandle) -> None:
    found = probe(subject_of(openai, "tcp"))
    assert (found.kind, found.verdict, found.http_status) == ("tcp", "success", None)
    assert openai.count() == 0
    openai.stop()
    assert probe(subject_of(openai, "tcp")).error_class == "connect_refused"


def test_tcp_includes_tls_where_the_address_asks_for_it(openai: ProviderHandle) -> None:
    found = probe(subject_of(openai, "tcp", base_url=openai.base_url.replace("http:", "https:")))
    assert (found.verdict, found.error_class) == ("failure", "tls")


@pytest.mark.parametrize(
    ("status", "expect", "verdict", "error_class"),
    [
        (200, 200, "success", None),
        (202, 202, "success", None),
        (307, 307, "success", None),
        (404, 404, "success", None),
        (200, 202, "failure", "invalid_response"),
        (404, 200, "failure", "invalid_response"),
        (503, 200, "failure", "upstream_5xx"),
        (401, 200, "failure", "auth_failed"),
        (429, 200, "neutral", "rate_limited"),
    ],
)
def test_http_wants_one_status_below_the_base_url(
    wires: dict[str, ProviderHandle], status: int, expect: int, verdict: str, error_class: str | None
) -> None:
    generic = wires["generic"]
    if status != 200:
        generic.fail("status", status=status)
    given = {"path": "/healthz?deep=1", "expect": expect}
    found = probe(subject_of(generic, "http", probe=given))
    assert (found.kind, found.verdict, found.error_class) == ("http", verdict, error_class)
    assert [request.target for request in generic.requests()] == ["/healthz?deep=1"]


def test_a_completion_is_the_smallest_request_of_each_format(wires: dict[str, ProviderHandle]) -> None:
    for wire, resource in (("openai", "/v1/chat/completions"), ("anthropic", "/v1/messages")):
        handle = wires[wire]
        found = probe(subject_of(handle, "completion", models={"quick": "quick-1"}, prices={"quick": PRICE}))
        assert (found.kind, found.verdict) == ("completion", "success")
        (request,) = handle.requests()
        assert (request.method, request.path) == ("POST", resource)
        assert request.header("content-type") == "application/json"
        assert request.json() == {
            "model": "quick-1",
            "max_tokens": 1,
            "messages": [{"role": "user", "content": "ping"}],
        }
        assert found.micro_usd > 0


PRICE = {"input": 1000, "output": 1000, "cached": None}
NEWER = "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead."


def test_a_model_that_wants_another_name_for_its_limit_is_asked_again(openai: ProviderHandle) -> None:
    openai.fail("status", status=400, message=NEWER, times=1)
    assert probe(subject_of(openai, "completion", models={"o9": "o9"})).ok
    first, second = (request.json() for request in openai.requests())
    assert (first["max_tokens"], "max_completion_tokens" in first) == (1, False)
    assert (second["max_completion_tokens"], "max_tokens" in second) == (16, False)


def test_a_model_whose_thinking_took_all_tokens_has_answered(openai: ProviderHandle) -> None:
    openai.fail("status", status=400, message="Could not finish: max_tokens or model output limit was reached.")
    assert probe(subject_of(openai, "completion", models={"o9": "o9"})).ok


def test_a_model_that_is_not_there_says_nothing_of_the_target(openai: ProviderHandle) -> None:
    openai.fail("status", status=404, message="The model does not exist", code="model_not_found")
    found = probe(subject_of(openai, "completion", models={"gone": "gone"}))
    assert (found.kind, found.verdict, found.error_class) == ("completion", "neutral", "client_error")
    assert found.message == "HTTP 404: The model does not exist"


def test_the_guard_of_addresses_holds_for_probes(openai: ProviderHandle) -> None:
    for kind in ("models", "tcp"):
        found = probe(subject_of(openai, kind, network="public"))
        assert (found.verdict, found.error_class) == ("failure", "connect_refused")
        assert "not allowed" in found.message
    assert openai.count() == 0


@pytest.mark.parametrize("kind", ["models", "completion"])
@pytest.mark.parametrize(
    "unusual",  # of shapes that no pattern knows
    ["correct-horse-battery", "c0rrect!" * 50, 'corre"ct\\horse'],
    ids=["plain", "longer than what is shown", "escaped in JSON"],
)
def test_what_a_server_repeats_of_a_credential_is_blotted_out(openai: ProviderHandle, kind: str, unusual: str) -> None:
    openai.fail("status", status=401, message=f"{'x' * 250} the key {unusual} is not known")
    found = probe(subject_of(openai, kind, models={"m": "m"}), credential=unusual)
    assert found.error_class == "auth_failed"
    assert "***" in found.message
    assert unusual[:5] not in repr(found)


def test_what_an_upstream_says_is_one_printable_line(openai: ProviderHandle) -> None:
    openai.fail("status", status=500, message="out of\x00\x1b[31m memory\n\u202e!")
    assert probe(subject_of(openai)).message == "HTTP 500: out of [31m memory !"


def test_nothing_of_a_proxy_s_password_is_told(openai: ProviderHandle) -> None:
    openai.stop()
    found = probe(subject_of(openai, proxy=f"http://bob:hunter22@127.0.0.1:{openai.port}"))
    assert found.error_class == "connect_refused"
    assert "hunter22" not in repr(found)


def test_a_document_without_probes_has_no_checks() -> None:
    assert plan_of(snapshot([provider("acme")])) == {}
    assert document([provider("acme")])["providers"][0].get("probe") is None
