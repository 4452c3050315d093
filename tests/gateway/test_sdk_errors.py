"""What goes wrong, as both official SDKs see it through a real gateway: their own exception classes, and how often
they try again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anthropic
import openai
import pytest

from tests.documents import access_key
from tests.gateway.lab import MESSAGES
from tests.gateway.pair import HELLO, MODEL, WIRES, Pair, other
from tests.gateways import KEY

if TYPE_CHECKING:
    from collections.abc import Iterator

#: The whole client library, and processes to talk to.
pytestmark = pytest.mark.thorough

SDKS: dict[str, Any] = {"openai": openai, "anthropic": anthropic}
#: Of the SDKs' own default, so that they would try three times.
RETRIES = 2


def sdk_client(pair: Pair, wire: str, profile: str, **options: Any) -> Any:
    return pair.chat(profile, **options) if wire == "openai" else pair.messages(profile, **options)


def create(client: Any, wire: str, **more: Any) -> Any:
    if wire == "openai":
        return client.chat.completions.create(**{"model": MODEL, "messages": HELLO, **more})
    return client.messages.create(**{**MESSAGES, "model": MODEL, **more})


# -- errors of the upstream, through a provider of the client's kind -----------------------------------------------
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, "BadRequestError"),
        (404, "NotFoundError"),
        (413, "APIStatusError"),
        (418, "APIStatusError"),
        (422, "UnprocessableEntityError"),
    ],
)
@pytest.mark.parametrize("wire", WIRES)
def test_an_error_of_the_clients_own_making_is_raised_after_one_attempt(
    pair: Pair, wire: str, status: int, kind: str, stream: bool
) -> None:
    pair[wire].fail("status", status=status, message="so it goes")

    with pytest.raises(getattr(SDKS[wire], kind), match="so it goes") as caught:
        pair.ask(wire, f"{wire}-first", stream=stream, retries=RETRIES)

    assert caught.value.status_code == status
    assert caught.value.request_id.startswith("req_")
    assert (pair[wire].count(), pair[other(wire)].count()) == (1, 0)
    assert pair.attempts() == [(wire, "client_error")]


@pytest.mark.parametrize("wire", WIRES)
def test_a_conflict_is_tried_again_by_the_sdk_when_one_target_was_tried(pair: Pair, wire: str) -> None:
    """Locks are worth another try (the SDK decides so), and nobody has made one yet."""
    pair[wire].fail("status", status=409, message="locked", retry_after=0.001, retry_form="ms")

    with pytest.raises(SDKS[wire].ConflictError, match="locked"):
        pair.ask(wire, wire, retries=RETRIES)

    assert pair[wire].count() == 1 + RETRIES
    assert len(pair.gateway.finished()) == 1 + RETRIES


@pytest.mark.parametrize("wire", WIRES)
def test_a_conflict_after_a_failover_is_not_tried_again_whatever_the_upstream_says(pair: Pair, wire: str) -> None:
    pair[other(wire)].fail("status", status=500)
    pair[wire].behave(headers={"x-should-retry": "true"})
    pair[wire].fail("status", status=409, message="locked", retry_after=0.001, retry_form="ms")

    with pytest.raises(SDKS[wire].ConflictError, match="locked") as caught:
        pair.ask(wire, f"{other(wire)}-first", retries=RETRIES)

    assert caught.value.response.headers.get_list("x-should-retry") == ["false"]
    assert (pair.openai.count(), pair.anthropic.count()) == (1, 1)


@pytest.mark.faults
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("wire", WIRES)
def test_the_sdk_does_not_try_again_what_was_tried_on_two_targets(pair: Pair, wire: str, stream: bool) -> None:
    for each in WIRES:
        pair[each].fail("status", status=503)

    with pytest.raises(SDKS[wire].InternalServerError) as caught:
        pair.ask(wire, f"{wire}-first", stream=stream, retries=RETRIES)

    assert caught.value.status_code == 502
    assert (pair.openai.count(), pair.anthropic.count()) == (1, 1)
    error: Any = caught.value.body if wire == "openai" else caught.value.body["error"]
    assert [attempt["provider"] for attempt in error["attempts"]] == [wire, other(wire)]


@pytest.mark.parametrize("wire", WIRES)
def test_the_sdk_tries_again_what_only_one_target_was_tried_for(pair: Pair, wire: str) -> None:
    pair[wire].fail("status", status=500, times=1)

    answer = create(sdk_client(pair, wire, wire, max_retries=RETRIES), wire)

    assert answer.id
    assert pair[wire].count() == 2
    assert [row.status for row in pair.gateway.finished()] == ["failed", "routed"]


@pytest.mark.parametrize("wire", WIRES)
def test_a_rate_limit_is_waited_for_by_the_sdk_as_we_say(pair: Pair, wire: str) -> None:
    """A second is the least we say; then the model is out of its quarantine, and the SDK's next try succeeds."""
    pair[wire].fail("rate_limited", retry_after=1, times=1)

    answer = create(sdk_client(pair, wire, wire, max_retries=RETRIES), wire, model=f"waits-{wire}")

    assert answer.id
    assert [(row.status, row.http_status) for row in pair.gateway.finished()] == [("failed", 429), ("routed", 200)]
    assert pair[wire].count() == 2


@pytest.mark.parametrize("wire", WIRES)
def test_a_forbidden_model_and_a_refused_credential_are_ours_not_the_clients(pair: Pair, wire: str) -> None:
    pair[wire].fail("status", status=403)

    with pytest.raises(SDKS[wire].InternalServerError) as caught:
        pair.ask(wire, wire, model=f"forbidden-{wire}")

    assert caught.value.status_code == 502
    assert pair.attempts() == [(wire, "auth_failed")]


# -- refusals of ours ------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("wire", WIRES)
def test_a_wrong_key_is_an_authentication_error_tried_once(pair: Pair, wire: str) -> None:
    client = sdk_client(pair, wire, wire, max_retries=RETRIES, api_key="sbx_" + "nobody" * 8)

    with pytest.raises(SDKS[wire].AuthenticationError) as caught:
        create(client, wire)

    assert caught.value.response.headers["x-should-retry"] == "false"
    error = caught.value.body if wire == "openai" else caught.value.body["error"]
    assert error["code"] == "invalid_api_key"
    assert pair[wire].count() == 0


@pytest.fixture
def narrow_key(pair: Pair) -> Iterator[str]:
    """A key that may ask for one model."""
    value = "sbx_" + "narrow" * 8
    full = access_key(KEY, allow=["debug", "overrides"])
    pair.gateway.overlay(keys=[full, access_key(value, name="narrow", models=["narrow-*"])])
    yield value
    pair.gateway.overlay(keys=[full])


@pytest.mark.parametrize("wire", WIRES)
def test_a_model_that_the_key_may_not_use_is_a_permission_denied_error(pair: Pair, wire: str, narrow_key: str) -> None:
    client = sdk_client(pair, wire, wire, max_retries=RETRIES, api_key=narrow_key)

    with pytest.raises(SDKS[wire].PermissionDeniedError, match="station"):
        create(client, wire)

    assert create(client, wire, model="narrow-1").id
    assert pair[wire].count() == 1


@pytest.mark.parametrize("wire", WIRES)
def test_the_sdk_names_a_refused_request_by_its_route(pair: Pair, wire: str) -> None:
    client = sdk_client(pair, wire, "nobody", max_retries=0)

    with pytest.raises(SDKS[wire].NotFoundError) as caught:
        create(client, wire)

    assert caught.value.request_id == caught.value.response.headers["x-route-id"]


@pytest.mark.parametrize("wire", WIRES)
def test_an_unknown_profile_is_a_not_found_error(pair: Pair, wire: str) -> None:
    with pytest.raises(SDKS[wire].NotFoundError, match="no profile 'nowhere'"):
        pair.ask(wire, "nowhere", retries=RETRIES)


@pytest.mark.parametrize("wire", WIRES)
def test_a_request_that_names_no_model_is_a_bad_request(pair: Pair, wire: str) -> None:
    with pytest.raises(SDKS[wire].BadRequestError, match="model") as caught:
        pair.ask(wire, wire, retries=RETRIES, model="")

    if wire == "openai":
        assert caught.value.param == "model"
    assert pair[wire].count() == 0


@pytest.mark.parametrize("wire", WIRES)
def test_a_body_over_the_limit_is_an_api_status_error_413(pair: Pair, wire: str) -> None:
    kind = openai.APIStatusError if wire == "openai" else anthropic.RequestTooLargeError
    long = [{"role": "user", "content": "x" * (33 * 1024 * 1024)}]

    with pytest.raises(kind, match="larger than 32 MB") as caught:
        pair.ask(wire, wire, retries=RETRIES, messages=long)

    assert caught.value.status_code == 413
    assert pair[wire].count() == 0


@pytest.mark.parametrize("wire", WIRES)
def test_a_client_that_waits_no_longer_gets_its_own_timeout_and_the_upstream_is_left(pair: Pair, wire: str) -> None:
    pair[wire].fail("hang_before_headers")
    client = sdk_client(pair, wire, wire, timeout=0.3)

    with pytest.raises(SDKS[wire].APITimeoutError):
        create(client, wire)

    (received,) = pair[wire].wait_for(lambda requests: bool(requests) and requests[-1].disconnected)
    assert received.fault == "hang_before_headers"
    assert pair.row().status == "cancelled"


# -- streams ---------------------------------------------------------------------------------------------------------
def streamed(pair: Pair, resource: str, profile: str) -> Iterator[Any]:
    """The events of one stream."""
    if resource == "messages":
        return iter(pair.messages(profile, max_retries=RETRIES).messages.create(**MESSAGES, stream=True))
    # Until its last chunk a completion has no finish reason, which the SDK's strict type has no room for.
    client = pair.chat(profile, max_retries=RETRIES, _strict_response_validation=False)
    if resource == "responses":
        return iter(client.responses.create(model=MODEL, input="hello", stream=True))
    if resource == "completions":
        return iter(client.completions.create(model=MODEL, prompt="hello", stream=True))
    return iter(client.chat.completions.create(model=MODEL, messages=HELLO, stream=True))


@pytest.mark.faults
@pytest.mark.parametrize("fault", ["cut_mid_stream", "reset_mid_stream", "end_without_terminator", "error_event"])
@pytest.mark.parametrize("resource", ["chat", "completions", "responses", "messages"])
def test_a_stream_that_fails_after_content_raises_and_is_not_tried_again(pair: Pair, resource: str, fault: str) -> None:
    wire = "anthropic" if resource == "messages" else "openai"
    pair[wire].fail(fault, after_events=3)
    seen: list[Any] = []

    with pytest.raises(SDKS[wire].APIError, match="Overloaded" if fault == "error_event" else "cut off"):
        seen.extend(streamed(pair, resource, wire))

    assert len(seen) >= 3
    assert pair[wire].count() == 1
    assert pair.row().status == "failed"


@pytest.mark.parametrize("resource", ["chat", "messages"])
def test_a_stream_that_fails_before_content_is_another_targets_and_the_sdk_notices_nothing(
    pair: Pair, resource: str
) -> None:
    wire = "anthropic" if resource == "messages" else "openai"
    pair[wire].fail("error_event")

    assert list(streamed(pair, resource, f"{wire}-first"))

    assert pair.attempts() == [(wire, "error_in_200"), (other(wire), None)]
    assert pair.row().status == "routed"


@pytest.mark.parametrize("resource", ["chat", "completions", "responses", "messages"])
def test_a_stream_that_fails_before_content_is_tried_again_by_the_sdk_when_nobody_else_is_left(
    pair: Pair, resource: str
) -> None:
    wire = "anthropic" if resource == "messages" else "openai"
    pair[wire].fail("error_event", times=1)

    assert list(streamed(pair, resource, wire))

    assert [(row.status, row.http_status) for row in pair.gateway.finished()] == [("failed", 502), ("routed", 200)]
