"""Who may ask for what, and how a refusal looks in each wire format: the data-plane refusals of the contract."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from tests.documents import access_key, document, profile, provider, target
from tests.gateways import KEY, Gateways

OTHER = "sbx_" + "other" * 8
CHAT = {"model": "gpt-4o", "messages": []}


@pytest.fixture
def gateway(shared_gateway: Gateways) -> Gateways:
    """Two profiles over one provider that refuses connections; keys as each test publishes them."""
    shared_gateway.publish(
        document(
            [provider("a", models={"gpt-4o": "gpt-4o", "small-*": "*"})],
            [profile("default", [target("a")]), profile("second", [target("a")])],
        )
    )
    shared_gateway.overlay()
    return shared_gateway


def only_row(gateway: Gateways) -> Any:
    [row] = gateway.finished()
    return row


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        (access_key(OTHER), "unknown"),
        (access_key(KEY, enabled=False), "revoked"),
        (access_key(KEY, expires=time.time() - 1), "expired"),
    ],
)
def test_a_key_that_is_not_valid_gets_401_and_no_row(gateway: Gateways, entry: dict[str, Any], words: str) -> None:
    gateway.overlay(keys=[entry])
    answer = gateway.chat()
    assert answer.status == 401
    assert words in answer.json()["error"]["message"]
    assert answer.json()["error"]["code"] == "invalid_api_key"
    assert answer.headers["x-should-retry"] == "false"
    assert "x-route-id" not in answer.headers
    assert gateway.records() == []


def test_a_missing_key_is_said_to_be_missing(gateway: Gateways) -> None:
    answer = gateway.post("/v1/chat/completions", CHAT, key=None)
    assert (answer.status, answer.json()["error"]["message"]) == (401, "missing access key")


def test_either_auth_header_works_and_both_may_agree(gateway: Gateways) -> None:
    unserved = {"model": "unknown", "messages": []}
    assert gateway.post("/v1/chat/completions", unserved, key=None, x_api_key=KEY).status == 404
    assert gateway.post("/v1/chat/completions", unserved, x_api_key=KEY).status == 404


def test_two_auth_headers_that_differ_are_refused(gateway: Gateways) -> None:
    gateway.overlay(keys=[access_key(KEY), access_key(OTHER, name="other")])
    answer = gateway.post("/v1/chat/completions", CHAT, x_api_key=OTHER)
    assert answer.status == 401
    assert "differ" in answer.json()["error"]["message"]


def test_a_key_without_the_route_scope_may_not_route(gateway: Gateways) -> None:
    gateway.overlay(keys=[access_key(KEY, scopes=["read"])])
    answer = gateway.chat()
    assert (answer.status, answer.json()["error"]["code"]) == (403, "permission_denied")
    assert only_row(gateway).error_code == "permission_denied"


def test_a_key_may_use_only_its_models_and_globs_are_case_sensitive(gateway: Gateways) -> None:
    gateway.overlay(keys=[access_key(KEY, models=["small-*"])])
    assert gateway.chat("gpt-4o").status == 403
    assert gateway.chat("Small-1").status == 403
    assert gateway.chat("small-1").status == 502
    assert [row.error_code for row in gateway.finished()[:2]] == ["permission_denied", "permission_denied"]


def test_a_key_may_use_its_own_profile_and_those_it_names(gateway: Gateways) -> None:
    gateway.overlay(keys=[access_key(KEY, profiles=[])])
    assert gateway.chat().status == 502
    assert gateway.chat(path="/p/second/v1/chat/completions").status == 403
    gateway.overlay(keys=[access_key(KEY, profiles=["second"])])
    assert gateway.chat(path="/p/second/v1/chat/completions").status == 502


def test_an_unknown_profile_is_404_and_recorded(gateway: Gateways) -> None:
    answer = gateway.chat(path="/p/nowhere/v1/chat/completions")
    assert (answer.status, answer.json()["error"]["code"]) == (404, "profile_not_found")
    row = only_row(gateway)
    assert (row.status, row.http_status, row.error_code) == ("rejected", 404, "profile_not_found")
    assert answer.headers["x-route-id"].replace("-", "") == row.id.hex()


def test_a_model_no_target_serves_is_404_with_the_decision_recorded(gateway: Gateways) -> None:
    answer = gateway.chat("claude")
    assert (answer.status, answer.json()["error"]["code"]) == (404, "model_not_found")
    row = only_row(gateway)
    assert (row.status, row.strategy, row.requested_model) == ("rejected", "none", "claude")
    assert row.decision is not None


@pytest.mark.parametrize(
    ("body", "code", "param"),
    [
        (b"", "invalid_json", None),
        (b"{", "invalid_json", None),
        (b"[]", "invalid_json", None),
        (b'"text"', "invalid_json", None),
        (b'{"model": "a", "x": ' + b"[" * 50_000, "invalid_json", None),
        (b"{}", "missing_field", "model"),
        (b'{"model": 7}', "invalid_field", "model"),
        (b'{"model": null}', "invalid_field", "model"),
        (b'{"model": ""}', "invalid_field", "model"),
        (b'{"model": "%s"}' % (b"m" * 300), "invalid_field", "model"),
        (b'{"model": "gpt-4o", "stream": "yes"}', "invalid_field", "stream"),
    ],
)
def test_a_body_that_cannot_be_routed_is_400_naming_the_field(
    gateway: Gateways, body: bytes, code: str, param: str | None
) -> None:
    answer = gateway.post("/v1/chat/completions", body)
    error = answer.json()["error"]
    assert (answer.status, error["code"], error["type"], error["param"]) == (400, code, code, param)
    assert answer.headers["x-should-retry"] == "false"
    row = only_row(gateway)
    assert (row.status, row.http_status, row.error_code) == ("rejected", 400, code)


def test_an_unknown_path_and_a_wrong_method_are_error_documents_and_recorded(gateway: Gateways) -> None:
    answer = gateway.request("GET", "/v1/nothing", headers={"Authorization": f"Bearer {KEY}"})
    assert (answer.status, answer.json()["error"]["code"]) == (404, "not_found")
    answer = gateway.request("GET", "/v1/chat/completions", headers={"Authorization": f"Bearer {KEY}"})
    assert (answer.status, answer.json()["error"]["code"]) == (405, "method_not_allowed")
    assert answer.headers["allow"] == "POST"
    assert [row.error_code for row in gateway.finished()] == ["not_found", "method_not_allowed"]


@pytest.mark.parametrize("path", ["/svc/default/thing", "/p/default", "/p/default/other", "/v1", "/v1/"])
def test_the_data_plane_never_reaches_the_console(gateway: Gateways, path: str) -> None:
    answer = gateway.request("GET", path, headers={"Authorization": f"Bearer {KEY}"})
    assert (answer.status, answer.json()["error"]["code"]) == (404, "not_found")


def test_refusals_on_messages_have_anthropics_shape(gateway: Gateways) -> None:
    answer = gateway.post("/v1/messages/count_tokens", {"model": "gpt-4o", "messages": []})
    assert answer.status == 404
    document = answer.json()
    assert document["type"] == "error"
    assert document["error"]["type"] == "not_found_error"
    assert document["error"]["code"] == "model_not_found"
    assert document["request_id"] == answer.headers["x-route-id"]


def test_unknown_paths_take_anthropics_shape_only_if_the_version_is_sent(gateway: Gateways) -> None:
    headers = {"x-api-key": KEY}
    assert "type" not in gateway.request("GET", "/v1/nothing", headers=headers).json()
    headers["anthropic-version"] = "2023-06-01"
    assert gateway.request("GET", "/v1/nothing", headers=headers).json()["error"]["type"] == "not_found_error"


def test_overrides_are_refused_unless_the_key_allows_them(gateway: Gateways) -> None:
    gateway.overlay(keys=[access_key(KEY)])
    for header in ({"x_route_strategy": "weighted"}, {"x_route_provider": "a"}):
        answer = gateway.chat(**header)
        assert (answer.status, answer.json()["error"]["code"]) == (403, "permission_denied")


def test_an_allowed_override_decides(gateway: Gateways) -> None:
    gateway.publish(document([provider("a"), provider("b")]))
    answer = gateway.chat(x_route_strategy="round-robin", x_route_provider="!a")
    assert answer.headers["x-route-provider"] == "b"
    row = gateway.finished()[-1]
    assert row.strategy == "round_robin"
    answer = gateway.chat(x_route_strategy="magic")
    assert (answer.status, answer.json()["error"]["param"]) == (400, "x-route-strategy")


def test_debug_headers_need_the_request_and_the_permission(gateway: Gateways) -> None:
    debug = {"x-route-source", "x-route-stages", "x-route-rule", "x-route-strategy", "x-route-revision"}
    answer = gateway.chat(x_route_debug="1")
    assert debug <= answer.headers.keys()
    assert answer.headers["x-route-stages"] == "admission,health,smart_routing,affinity,load_balancer"
    assert not debug & gateway.chat().headers.keys()
    gateway.overlay(keys=[access_key(KEY)])
    assert not debug & gateway.chat(x_route_debug="1").headers.keys()


@pytest.mark.parametrize(
    ("path", "extra", "headers", "session"),
    [
        ("/v1/chat/completions", {"user": "u"}, {"x_route_session": "h"}, "h"),
        ("/v1/chat/completions", {"user": "u", "prompt_cache_key": "c"}, {}, "c"),
        ("/v1/chat/completions", {"user": "u", "metadata": {"session_id": "m"}}, {}, "u"),
        ("/v1/chat/completions", {"metadata": {"session_id": "m"}}, {}, "m"),
        ("/v1/chat/completions", {"metadata": {"user_id": "m"}}, {}, None),
        ("/v1/chat/completions", {"user": 7, "metadata": "x"}, {}, None),
        ("/v1/messages", {"metadata": {"user_id": "m"}, "user": "u"}, {}, "m"),
        ("/v1/messages", {"user": "u"}, {}, None),
    ],
)
def test_the_session_is_the_first_place_that_names_one(
    gateway: Gateways, path: str, extra: dict[str, Any], headers: dict[str, str], session: str | None
) -> None:
    gateway.post(path, {"model": "gpt-4o", "messages": [], **extra}, **headers)
    assert only_row(gateway).session_key == session


def test_a_model_name_of_any_letters_becomes_a_sound_header(gateway: Gateways) -> None:
    gateway.publish(document([provider("a")]))
    answer = gateway.chat("größe\r\nx-injected: 1")
    assert answer.headers["x-route-model"] == "gr%C3%B6%C3%9Fe%0D%0Ax-injected: 1"
    assert "x-injected" not in answer.headers
    assert only_row(gateway).requested_model == "größe\r\nx-injected: 1"


def test_the_row_of_a_refused_request_says_who_asked(gateway: Gateways) -> None:
    gateway.chat("claude", user_agent="tests/1", x_forwarded_for="10.9.9.9")
    row = only_row(gateway)
    assert (row.key_name, row.profile, row.user_agent) == ("test", "default", "tests/1")
    assert row.client_ip == "127.0.0.1"  # nobody is trusted to speak for others


def test_nothing_left_to_try_is_503_with_retry_after(gateway: Gateways) -> None:
    gateway.overlay(admin_states={"a": "disabled"})
    answer = gateway.chat()
    assert (answer.status, answer.json()["error"]["code"]) == (503, "no_target_available")
    assert int(answer.headers["retry-after"]) >= 1
    row = only_row(gateway)
    assert (row.status, row.strategy, row.attempt_count) == ("rejected", "none", 0)


# -- the model list --------------------------------------------------------------------------------------


def models(gateway: Gateways, path: str, **headers: str) -> Any:
    answer = gateway.request("GET", path, headers={"Authorization": f"Bearer {KEY}", **headers})
    return answer.status, json.loads(answer.body)


def publish_models(gateway: Gateways) -> None:
    gateway.publish(
        document(
            [
                provider("a", models={"gpt-4o": "x", "small-*": "*"}),
                provider("b", models={"gpt-4o": "y", "large": "z"}),
                provider("c"),
            ],
            [
                profile("default", [target("a"), target("b"), target("c", model="fixed")]),
                profile("closed", [target("a")]),
            ],
        )
    )


def test_the_model_list_is_merged_over_the_profiles_targets(gateway: Gateways) -> None:
    publish_models(gateway)
    status, document = models(gateway, "/v1/models")
    assert status == 200
    assert [(entry["id"], entry["owned_by"]) for entry in document["data"]] == [
        ("gpt-4o", "a"),
        ("large", "b"),
        ("fixed", "c"),
    ]
    assert gateway.records() == []
    _, document = models(gateway, "/p/closed/v1/models")
    assert [entry["id"] for entry in document["data"]] == ["gpt-4o"]


def test_the_model_list_shows_only_what_the_key_may_use(gateway: Gateways) -> None:
    publish_models(gateway)
    gateway.overlay(keys=[access_key(KEY, models=["l*"])])
    _, document = models(gateway, "/v1/models")
    assert [entry["id"] for entry in document["data"]] == ["large"]
    assert models(gateway, "/v1/models/gpt-4o")[0] == 404


def test_anthropic_clients_get_the_list_in_their_shape(gateway: Gateways) -> None:
    publish_models(gateway)
    _, document = models(gateway, "/v1/models", **{"anthropic-version": "2023-06-01"})
    assert [entry["type"] for entry in document["data"]] == ["model"] * 3
    assert (document["has_more"], document["first_id"], document["last_id"]) == (False, "gpt-4o", "fixed")


def test_one_model_is_found_if_it_would_be_routed(gateway: Gateways) -> None:
    publish_models(gateway)
    assert models(gateway, "/p/closed/v1/models/small-x%2F1")[1]["id"] == "small-x/1"
    status, document = models(gateway, "/p/closed/v1/models/large")
    assert (status, document["error"]["code"]) == (404, "model_not_found")
