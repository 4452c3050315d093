"""Reading a request once: headers, addresses, the head of a body, the session and the tags."""

from __future__ import annotations

import json
from ipaddress import ip_network
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routes.gateway import intake
from routes.gateway.errors import BadRequest

NETWORKS = (ip_network("10.0.0.0/8"), ip_network("::1/128"))


@pytest.mark.parametrize(
    ("peer", "forwarded", "expected"),
    [
        (("8.8.8.8", 1), b"1.1.1.1", "8.8.8.8"),
        (("10.0.0.1", 1), b"1.1.1.1", "1.1.1.1"),
        (("10.0.0.1", 1), b"6.6.6.6, 1.1.1.1, 10.0.0.2", "1.1.1.1"),
        (("10.0.0.1", 1), b"10.0.0.3, 10.0.0.2", "10.0.0.3"),
        (("10.0.0.1", 1), b"1.1.1.1, nonsense, 10.0.0.2", "10.0.0.2"),
        (("10.0.0.1", 1), b"nonsense", "10.0.0.1"),
        (("10.0.0.1", 1), b"", "10.0.0.1"),
        (("10.0.0.1", 1), None, "10.0.0.1"),
        (("::1", 1), b"2001:db8::5", "2001:db8::5"),
        (None, b"1.1.1.1", ""),
        # A socket for both kinds of addresses writes IPv4 ones so, and proxies hand that on.
        (("::ffff:8.8.8.8", 1), None, "8.8.8.8"),
        (("::FFFF:10.0.0.1", 1), b"::ffff:1.1.1.1, ::ffff:10.0.0.2", "1.1.1.1"),
        (("fe80::1%eth0", 1), None, "fe80::1%eth0"),
    ],
)
def test_the_client_is_the_nearest_hop_that_no_trusted_proxy_owns(
    peer: tuple[str, int] | None, forwarded: bytes | None, expected: str
) -> None:
    assert intake.client_address(peer, forwarded, NETWORKS) == expected


def test_nobody_is_believed_without_the_setting() -> None:
    assert intake.client_address(("10.0.0.1", 1), b"1.1.1.1", ()) == "10.0.0.1"
    assert not intake.is_trusted(("10.0.0.1", 1), ())
    assert intake.is_trusted(("::ffff:10.0.0.1", 1), NETWORKS)
    assert not intake.is_trusted(("::ffff:8.8.8.8", 1), NETWORKS)


def parsed(body: bytes) -> intake.BodyHead | BadRequest:
    try:
        return intake.parse_body(body)
    except BadRequest as refusal:
        return refusal


@given(st.binary(max_size=200))
def test_a_body_of_any_bytes_is_parsed_or_refused(body: bytes) -> None:
    outcome = parsed(body)
    if isinstance(outcome, BadRequest):
        assert outcome.code in {"invalid_json", "missing_field", "invalid_field"}
    else:
        assert isinstance(outcome.model, str)


@given(
    st.dictionaries(
        st.text(max_size=8) | st.sampled_from(["stream", "user", "metadata", "max_tokens", "thinking", "reasoning"]),
        st.recursive(
            st.none()
            | st.booleans()
            | st.integers(-5, 5)
            | st.floats(allow_nan=False, allow_infinity=False)
            | st.text(max_size=8),
            lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
            max_leaves=8,
        ),
        max_size=6,
    )
)
def test_members_of_any_type_never_break_the_reading(members: dict[str, Any]) -> None:
    body = json.dumps({**members, "model": "m"}).encode()
    head = parsed(body)
    if isinstance(head, BadRequest):
        assert head.param == "stream"
        return
    assert head.model == "m"
    assert head.output_limit is None or head.output_limit > 0
    assert isinstance(head.thinks, bool)
    for wire in ("openai", "anthropic"):
        session = intake.find_session(None, None, head, wire)
        assert session is None or 0 < len(session) <= intake.MAX_SESSION_LENGTH


@pytest.mark.parametrize(
    ("members", "thinks"),
    [
        ({}, False),
        ({"thinking": {"type": "enabled", "budget_tokens": 1024}}, True),
        ({"thinking": {"type": "disabled"}}, False),
        ({"reasoning_effort": "low"}, True),
        ({"reasoning_effort": "none"}, False),
        ({"reasoning": {"effort": "high"}}, True),
        ({"reasoning": {"summary": "auto"}}, False),
        ({"reasoning": None, "thinking": None}, False),
    ],
)
def test_thinking_is_recognised_in_each_dialect(members: dict[str, Any], thinks: bool) -> None:
    assert intake.parse_body(json.dumps({"model": "m", **members}).encode()).thinks is thinks


def test_a_session_is_cut_to_what_the_history_keeps() -> None:
    head = intake.parse_body(b'{"model": "m"}')
    assert intake.find_session(None, b"s" * 1000, head, "openai") == "s" * intake.MAX_SESSION_LENGTH
    assert intake.find_session(b"s" * 1000, None, head, "openai") == "s" * intake.MAX_SESSION_LENGTH


def test_a_session_is_the_first_of_the_places_in_the_order_of_the_contract() -> None:
    members: dict[str, Any] = {
        "prompt_cache_key": "cache",
        "user": "person",
        "metadata": {"user_id": "anthropic's", "session_id": "in metadata"},
    }

    def found(wire: str, path: bytes | None = None, header: bytes | None = None) -> str | None:
        return intake.find_session(
            path, header, intake.parse_body(json.dumps({"model": "m", **members}).encode()), wire
        )

    assert found("openai", b"path", b"header") == "path"
    assert found("openai", None, b"header") == "header"
    assert found("anthropic") == "anthropic's"
    assert found("openai") == "cache"
    del members["prompt_cache_key"]
    assert found("openai") == "person"
    del members["user"]
    assert found("openai") == "in metadata"
    del members["metadata"]
    assert found("openai") is None
    assert found("anthropic") is None
    with pytest.raises(BadRequest):
        found("openai", b"\xff")


def test_tags_are_words_between_commas_and_bounded() -> None:
    def found(*values: bytes) -> frozenset[str]:
        return intake.find_tags([(b"x-route-tags", value) for value in values])

    assert found(b" gold ,, eu") == {"gold", "eu"}
    assert found(b"gold", "süd".encode()) == {"gold", "süd"}
    assert found(b"") == frozenset()
    assert len(found(",".join(f"t{number}" for number in range(intake.MAX_TAGS)).encode())) == intake.MAX_TAGS
    for value in (",".join(f"t{number}" for number in range(intake.MAX_TAGS + 1)), "t" * (intake.MAX_TAG_LENGTH + 1)):
        with pytest.raises(BadRequest):
            found(value.encode())
