"""What a configuration document may say, and what is said when it may not."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from routes.document import AccessKey, Configuration, Document, DocumentError, Profile, Provider
from routes.document.text import dump_json, dump_yaml, load
from tests.control.samples import document, profile, provider


def errors_of(tree: Any) -> dict[str, str]:
    with pytest.raises(DocumentError) as caught:
        Document.parse(tree)
    return dict(caught.value.errors)


def test_only_the_required_fields_are_needed_and_the_rest_gets_the_contracts_defaults() -> None:
    entry = Provider.model_validate(provider()).model_dump(mode="json")
    assert entry["auth"] == "bearer"
    assert entry["network"] == "public"
    assert entry["weight"] == 1
    assert entry["models"] is None
    assert entry["circuit"] == {
        "failure_threshold": 5,
        "failure_rate": 50,
        "window": 30,
        "min_results": 10,
        "recovery_timeout": 60,
        "recovery_timeout_max": 300,
        "half_open_max_calls": 3,
        "success_threshold": 2,
        "slow_start": 30,
    }
    assert entry["quarantine"] == {"rate_limit": 60, "rate_limit_max": 300, "auth": 1800, "auth_max": 7200}
    policy = Profile.model_validate(profile("p", "alpha")).model_dump(mode="json")
    assert policy["strategy"] == "failover"
    assert policy["targets"] == [{"provider": "alpha", "model": None, "weight": None, "tier": 0}]
    assert policy["failover"]["retry_statuses"] == [500, 502, 503, 504, 529]
    assert policy["failover"]["timeouts"]["first_event_soft"] == 10
    assert policy["failover"]["mode"] == "immediate"
    assert policy["affinity"] == {
        "enabled": True,
        "ttl": 1800,
        "scope": "rule",
        "sliding": False,
        "promotion_hold": 60,
        "client_ip": False,
    }
    assert policy["scenario"]["long_context_threshold"] == 32_000
    assert policy["scenario"]["background_models"] == ["*haiku*", "*mini*", "*flash*"]
    assert (policy["require_tags"], policy["rules"]) == (False, [])


def test_an_anthropic_provider_sends_its_credential_as_x_api_key_unless_told_otherwise() -> None:
    assert Provider.model_validate(provider(wire="anthropic")).auth == "x-api-key"
    assert Provider.model_validate(provider(wire="anthropic", auth="bearer")).auth == "bearer"
    assert Provider.model_validate(provider(auth={"header": "api-key"})).auth == {"header": "api-key", "prefix": ""}


@pytest.mark.parametrize("field", ["slug", "name", "wire", "base_url"])
def test_a_required_field_of_a_provider_is_asked_for_by_its_path(field: str) -> None:
    entry = provider()
    del entry[field]
    assert errors_of({"providers": [provider("ok"), entry]})[f"providers[1].{field}"] == "required"


def test_unknown_fields_are_refused_at_every_depth() -> None:
    found = errors_of(
        {
            "verison": 1,
            "providers": [provider(colour="red", circuit={"treshold": 1})],
            "profiles": [profile("p", {"provider": "alpha", "wieght": 3}, failover={"timeouts": {"conect": 1}})],
            "access_keys": [{"name": "k", "scope": "route"}],
        }
    )
    assert {path: text for path, text in found.items() if text == "unknown field"} == dict.fromkeys(
        [
            "verison",
            "providers[0].colour",
            "providers[0].circuit.treshold",
            "profiles[0].targets[0].wieght",
            "profiles[0].failover.timeouts.conect",
            "access_keys[0].scope",
        ],
        "unknown field",
    )


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"providers": [provider(head_networks=["10.0.0.1/8"])]}, "providers[0].head_networks[0]"),
    ({"providers": [provider(head_networks=["10.0.0.0/8", "10.0.0.0/8"])]}, "providers[0].head_networks"),
    ({"providers": [provider(probe={"kind": "ping"})]}, "providers[0].probe.kind"),
    ({"providers": [provider(probe={"interval": 0.5})]}, "providers[0].probe.interval"),
    ({"providers": [provider(probe={"timeout": 0})]}, "providers[0].probe.timeout"),
    ({"providers": [provider(probe={"fall": 0})]}, "providers[0].probe.fall"),
    ({"providers": [provider(probe={"expect": 99})]}, "providers[0].probe.expect"),
    ({"providers": [provider(probe={"path": "healthz"})]}, "providers[0].probe.path"),
    ({"providers": [provider(probe={"path": "/a/../b"})]}, "providers[0].probe.path"),
    ({"providers": [provider(probe={"daily_usd": -1})]}, "providers[0].probe.daily_usd"),
    ({"providers": [provider(wire="grpc")]}, "providers[0].wire"),
    ({"providers": [provider(context={"m": 0})]}, "providers[0].context.m"),
    ({"providers": [provider(context={"m": 1.5})]}, "providers[0].context.m"),
    ({"providers": [provider(context={"": 1000})]}, "providers[0].context."),
    ({"providers": [provider(stream_usage="yes")]}, "providers[0].stream_usage"),
    ({"profiles": [profile("p", "a", failover={"non_idempotent": 1})]}, "profiles[0].failover.non_idempotent"),
    ({"profiles": [profile("p", "a", limits={"concurrency": -1})]}, "profiles[0].limits.concurrency"),
    ({"profiles": [profile("p", "a", limits={"queue_ms": 60_001})]}, "profiles[0].limits.queue_ms"),
    ({"profiles": [profile("p", "a", limits={"queue_ms": 0.5})]}, "profiles[0].limits.queue_ms"),
    ({"profiles": [profile("p", "a", limits={"rpm": 1})]}, "profiles[0].limits.rpm"),
    ({"profiles": [profile("p", "a", accounting="sometimes")]}, "profiles[0].accounting"),
    ({"access_keys": [{"name": "k", "limits": {"rpm": -1}}]}, "access_keys[0].limits.rpm"),
    ({"access_keys": [{"name": "k", "limits": {"tpm": 0.5}}]}, "access_keys[0].limits.tpm"),
    ({"access_keys": [{"name": "k", "limits": {"concurrency": True}}]}, "access_keys[0].limits.concurrency"),
    ({"access_keys": [{"name": "k", "limits": {"usd_day": -0.01}}]}, "access_keys[0].limits.usd_day"),
    ({"access_keys": [{"name": "k", "limits": {"usd_year": 1}}]}, "access_keys[0].limits.usd_year"),
]


@pytest.mark.parametrize(("tree", "path"), WRONG, ids=[path for _, path in WRONG])
def test_limits_windows_and_accounting_that_make_no_sense_are_refused_by_path(tree: dict[str, Any], path: str) -> None:
    assert list(errors_of(tree)) == [path]


def test_without_a_word_there_are_no_limits_and_a_provider_is_taken_to_report_usage() -> None:
    entry = Provider.model_validate(provider()).model_dump(mode="json")
    assert (entry["context"], entry["stream_usage"]) == ({}, True)
    policy = Profile.model_validate(profile("p", "a")).model_dump(mode="json")
    assert (policy["limits"], policy["accounting"]) == ({"concurrency": 0, "queue_ms": 0}, "when_asked")
    assert policy["failover"]["non_idempotent"] is False
    key = AccessKey.model_validate({"name": "k", "limits": {"usd_day": 5.0, "usd_week": 12.5}}).model_dump(mode="json")
    assert key["limits"] == {"rpm": 0, "tpm": 0, "concurrency": 0, "usd_day": 5, "usd_week": 12.5, "usd_month": 0}


def test_context_windows_have_one_order_whatever_way_they_were_written() -> None:
    entry = Provider.model_validate(provider(context={"z": 8192, "a": 128_000})).model_dump(mode="json")
    assert list(entry["context"].items()) == [("a", 128_000), ("z", 8192)]


def test_a_provider_is_asked_for_its_models_and_a_generic_one_for_a_connection() -> None:
    def probe(wire: str, **given: Any) -> tuple[str, float]:
        found = Provider.model_validate(provider(wire=wire, **given)).probe
        return found.kind, found.interval

    assert [probe(wire) for wire in ("openai", "anthropic", "generic")] == [("models", 30), ("models", 30), ("tcp", 30)]
    assert probe("generic", probe={"interval": 5}) == ("tcp", 5)
    assert probe("generic", probe={"kind": "http"}) == ("http", 30)


def test_a_generic_provider_needs_nothing_but_an_address_which_may_end_anywhere() -> None:
    entry = Provider.model_validate(provider(wire="generic", base_url="https://h/api/speech.v2")).model_dump()
    assert (entry["auth"], entry["base_url"]) == ("bearer", "https://h/api/speech.v2")
    assert (entry["models"], entry["prices"]) == (None, {})


def test_what_this_release_does_may_be_written_out_in_full() -> None:
    canonical = Configuration.parse({key: value for key, value in document().items() if key != "access_keys"})
    assert Configuration.parse(canonical.canonical()).text() == canonical.text()


@pytest.mark.parametrize("written", ["round_robin", "round-robin", "Round-Robin"])
def test_strategy_names_take_hyphens_and_underscores_alike(written: str) -> None:
    assert Profile.model_validate(profile("p", "a", strategy=written)).strategy == "round_robin"


@pytest.mark.parametrize("written", ["", None])
def test_no_strategy_means_failover(written: str | None) -> None:
    assert Profile.model_validate(profile("p", "a", strategy=written)).strategy == "failover"


def test_an_unknown_strategy_is_refused_with_the_names_there_are() -> None:
    text = errors_of({"profiles": [profile("p", "a", strategy="fastest")]})["profiles[0].strategy"]
    assert "round_robin" in text


def test_params_are_checked_by_the_strategy_itself_and_its_defaults_filled_in() -> None:
    wanted = Profile.model_validate(profile("p", "a", strategy="least_latency", params={"min_samples": 3}))
    assert wanted.params["min_samples"] == 3
    assert wanted.params["cold_start"] == "explore"
    assert Profile.model_validate(profile("p", "a", strategy="least_latency")).params["min_samples"] == 10
    found = errors_of({"profiles": [profile("p", "a", strategy="weighted", params={"min_samples": 3})]})
    assert found == {"profiles[0].params.min_samples": "unknown field"}


def test_tiers_compact_without_changing_their_order() -> None:
    wanted = profile("p", {"provider": "a", "tier": 9}, {"provider": "b", "tier": 2}, {"provider": "c", "tier": 9})
    assert [target.tier for target in Profile.model_validate(wanted).targets] == [1, 0, 1]


def test_the_same_provider_and_model_twice_in_a_profile_is_refused() -> None:
    twice = profile("p", "a", {"provider": "a", "model": "m"}, {"provider": "a", "model": "m"})
    assert errors_of({"profiles": [twice]}) == {"profiles[0].targets[2]": "the same provider and model as targets[1]"}


def test_names_given_twice_are_refused_where_they_stand() -> None:
    tree = {"providers": [provider("a"), provider("b"), provider("a")]}
    assert errors_of(tree) == {"providers[2].slug": "the same as providers[0].slug"}


@pytest.mark.parametrize(
    "url",
    [
        "ftp://host/v1",
        "https://user:secret@host/v1",
        "https://",
        "/v1",
        "https://host/v1?x=1",
        "https://host/v1#f",
        "http://169.254.169.254/latest",
        "http://[fe80::1]/v1",
        "http://[::ffff:169.254.169.254]/",
        "http://2852039166/",
        "http://0xa9fea9fe/",
        "http://0251.0376.0251.0376/",
        "http://metadata.google.internal/v1",
        "http://100.100.100.200/",
        "http://0.0.0.0/",
        "http://224.0.0.1/",
        "https://host:0/",
        "https://host:99999/",
        "https://ho st/",
        "https://host\\@169.254.169.254/",
    ],
)
def test_a_base_url_that_could_never_be_right_is_refused_and_not_quoted(url: str) -> None:
    found = errors_of({"providers": [provider(base_url=url)]})
    assert list(found) == ["providers[0].base_url"]
    assert "secret" not in found["providers[0].base_url"]


def test_a_trailing_slash_of_a_base_url_makes_no_difference() -> None:
    assert Provider.model_validate(provider(base_url="https://h/v1/")).base_url == "https://h/v1"


@pytest.mark.parametrize(
    "name", ["Authorization", "x-api-key", "Host", "content-length", "X-Route-Debug", "bad name", "x\r\ny", "Cookie"]
)
def test_headers_that_are_managed_or_secret_are_refused(name: str) -> None:
    assert errors_of({"providers": [provider(headers={name: "v"})]})


def test_header_values_cannot_break_out_of_their_line() -> None:
    assert errors_of({"providers": [provider(headers={"x-a": "v\r\nx-b: w"})]})


def test_a_ceiling_left_to_its_default_follows_a_larger_first_value_but_a_given_one_must_fit() -> None:
    wanted = Provider.model_validate(provider(circuit={"recovery_timeout": 900}))
    assert wanted.circuit.recovery_timeout_max == 900
    assert "providers[0].circuit" in errors_of(
        {"providers": [provider(circuit={"recovery_timeout": 900, "recovery_timeout_max": 300})]}
    )


def test_errors_never_quote_a_credential_or_a_key() -> None:
    found = errors_of(
        {
            "providers": [provider(credential={"value": "sk-canary\n"}), provider("b", credential="sk-canary")],
            "access_keys": [{"name": "k", "value": "sbx_canary!"}],
        }
    )
    assert set(found) == {"providers[0].credential", "providers[1].credential", "access_keys[0].value"}
    assert "canary" not in str(found)
    assert "canary" not in repr(Provider.model_validate(provider(credential={"value": "sk-canary"})))


@pytest.mark.parametrize("given_", [{}, {"value": "a", "env": "B"}, {"keep": False}, {"value": ""}])
def test_a_credential_is_exactly_one_of_its_four_forms(given_: dict[str, Any]) -> None:
    assert errors_of({"providers": [provider(credential=given_)]})


def test_yaml_words_are_words_and_dates_are_text() -> None:
    tree = load(b"probe: {kind: off}\nquery: {api-version: 2024-10-21}\nyes: no\nenabled: true\n")
    assert tree == {"probe": {"kind": "off"}, "query": {"api-version": "2024-10-21"}, "yes": "no", "enabled": True}


@pytest.mark.parametrize(
    "text",
    [
        b"a: &x 1\nb: *x",
        b"a: 1\na: 2",
        b'{"a": 1, "a": 2}',
        b"1: 2",
        b'{"a": NaN}',
        b"a: [",
        b'{"a": ',
        b"\xff\xfe\x00",
        b"a: !!python/object:os.system x",
        b"[" * 5000,
        b'{"a":' * 5000,
        b'{"a": "\\u0000"}',
        b'{"a": "\\ud800"}',
        b'{"a": ' + b"9" * 5000 + b"}",
        b"- " * 3000 + b"a",
    ],
)
def test_a_file_that_is_no_document_is_one_clear_error(text: bytes) -> None:
    with pytest.raises(DocumentError) as caught:
        Document.parse(load(text))
    assert len(caught.value.errors) == 1


@pytest.mark.parametrize("text", [b"", b"[]", b"just words", b"3"])
def test_a_document_is_an_object(text: bytes) -> None:
    with pytest.raises(DocumentError):
        Document.parse(load(text))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=12,
)


@given(json_values)
def test_any_json_is_a_document_or_a_document_error_and_nothing_else(tree: Any) -> None:
    for candidate in (tree, {"providers": tree}, {"providers": [tree]}, {"profiles": [tree]}, {"access_keys": [tree]}):
        with suppress(DocumentError):
            assert isinstance(Document.parse(candidate), Document)


@given(st.dictionaries(st.text(min_size=1, max_size=8), json_values, max_size=4))
def test_yaml_and_json_carry_the_same_tree(tree: dict[str, Any]) -> None:
    try:
        expected = load(dump_json(tree).encode())
    except DocumentError:
        return  # text that no database can store
    assert load(dump_yaml(tree).encode()) == expected


def test_an_export_reads_the_same_for_every_other_yaml_reader() -> None:
    text = dump_yaml({"kind": "off", "version": "2024-10-21", "scope": "yes"})
    assert yaml.safe_load(text) == {"kind": "off", "version": "2024-10-21", "scope": "yes"}
