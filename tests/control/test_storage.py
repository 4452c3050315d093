"""Every field that this release has survives the way through rows, revision and export, on both databases."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from routes import actions, document, draft
from routes.document.base import Strict
from routes.models import AccessKey, ConfigRevision, Policy, Profile, Provider
from tests.control.samples import access_key, provider

if TYPE_CHECKING:
    from routes.actions import Actor

pytestmark = [
    pytest.mark.django_db(databases=["default", "pg"]),
    pytest.mark.usefixtures("both_databases"),
]

PROVIDER: dict[str, Any] = {
    "slug": "full",
    "name": "Full ✓ größer",
    "wire": "anthropic",
    "base_url": "http://10.0.0.7:8080/base",
    "network": "private",
    "auth": {"header": "x-token", "prefix": "Token "},
    "headers": {"x-a": "1", "x-long-name": "2"},
    "query": {"zz": "1", "a": "2"},
    "proxy": "http://proxy.internal:3128",
    "region": "eu-west",
    "tags": ["b", "a"],
    "weight": 2.5,
    "capacity": 12.5,
    "max_concurrency": 8,
    "models": {"zz": "1", "a*": "2", "*": "*"},
    "context": {"a1": 8192, "zz": 1_000_000},
    "stream_usage": False,
    "prices": {"zz": {"input": 0.1, "output": 0.3, "cached": 0.07}, "a": {"input": 1, "output": 2, "cached": None}},
    "circuit": {
        "failure_threshold": 7,
        "failure_rate": 12.5,
        "window": 31,
        "min_results": 11,
        "recovery_timeout": 61,
        "recovery_timeout_max": 301,
        "half_open_max_calls": 4,
        "success_threshold": 1,
        "slow_start": 0,
    },
    "quarantine": {"rate_limit": 61, "rate_limit_max": 301, "auth": 1801, "auth_max": 7201},
    "probe": {
        "kind": "http",
        "interval": 31,
        "timeout": 2.5,
        "rise": 1,
        "fall": 4,
        "path": "/healthz?deep=1",
        "expect": 204,
        "daily_requests": 100,
        "daily_usd": 0.25,
    },
    "fallback_to_base_url": True,
    "head_networks": ["10.20.0.0/16", "fd00::/8"],
}
PROFILE: dict[str, Any] = {
    "slug": "full",
    "name": "Full",
    "strategy": "least_latency",
    "params": {"min_samples": 3, "cold_start": "last"},
    "targets": [
        {"provider": "other", "model": "m", "weight": 0.5, "tier": 1},
        {"provider": "full", "model": None, "weight": None, "tier": 0},
    ],
    "affinity": {
        "enabled": False,
        "ttl": 90.5,
        "scope": "profile",
        "sliding": True,
        "promotion_hold": 0,
        "client_ip": True,
    },
    "failover": {
        "mode": {"success_rate": {"min": 0.9}},
        "max_attempts": 9,
        "same_target_retries": 0,
        "retry_statuses": [500, 599],
        "auth_errors": "surface",
        "when_all_unhealthy": "reject",
        "panic_concurrency": 2,
        "non_idempotent": True,
        "timeouts": {
            "connect": 1.5,
            "first_byte": 2,
            "first_event": 3,
            "first_event_soft": 0,
            "idle": 4,
            "total": 5,
            "stream_max": 6,
        },
    },
    "limits": {"concurrency": 40, "queue_ms": 250},
    "scenario": {
        "order": ["code", "image", "default"],
        "long_context_threshold": 64_000,
        "background_models": ["*nano*"],
    },
    "accounting": "always",
    "require_tags": True,
    "rules": [
        {
            "name": "night ✓",
            "description": "two\nlines",
            "enabled": False,
            "when": {
                "all": [
                    {"fact": "header.x-team", "op": "in", "value": ["b", "a"]},
                    {"not": {"any": [{"fact": "percent", "op": "between", "value": [0.5, 10]}]}},
                ]
            },
            "targets": [
                {"provider": "other", "model": None, "weight": 0, "tier": 1},
                {"provider": "full", "model": "a1", "weight": None, "tier": 0},
            ],
            "strategy": "peak_ewma",
            "params": {},
            "fallback_to_profile": False,
        },
        {
            "name": "second",
            "description": "",
            "enabled": True,
            "when": {"all": []},
            "targets": [],
            "strategy": None,
            "params": {"min_samples": 5, "cold_start": "explore"},
            "fallback_to_profile": True,
        },
    ],
}
POLICY: dict[str, Any] = {
    "default_strategy": "single",
    "enable_geo_routing": False,
    "enable_load_balancing": False,
    "enable_model_specific": False,
    "enable_predictive": False,
    "enable_adaptive": False,
    "region_priority": ["us", "eu"],
    "prediction_window": 2.5,
    "load_growth_factor": 1.5,
    "capacity_threshold": 75,
    "geo": {"DE": "eu", "*": "us"},
}
KEY: dict[str, Any] = {
    "name": "full",
    "profile": "full",
    "scopes": ["route", "operate"],
    "enabled": False,
    "expires": "2031-02-03T04:05:06.789000Z",
    "region": "eu",
    "tags": ["b", "a"],
    "models": ["gpt-*", "claude"],
    "profiles": ["full"],
    "allow": ["debug", "overrides"],
    "limits": {"rpm": 60, "tpm": 90_000, "concurrency": 4, "usd_day": 0.5, "usd_week": 2, "usd_month": 7.25},
}


def real_fields(model: type[Strict]) -> dict[str, Any]:
    """All fields, nested ones too; the value is the default."""
    found: dict[str, Any] = {}
    for name, field in model.model_fields.items():
        if field.exclude:
            continue
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, Strict):
            if nested := real_fields(kind):
                found[name] = nested
        else:
            found[name] = None if field.is_required() else field.get_default(call_default_factory=True)
    return found


@pytest.mark.parametrize(
    ("model", "sample"),
    [
        (document.Provider, PROVIDER),
        (document.Profile, PROFILE),
        (document.Rule, PROFILE["rules"][0]),
        (document.Policy, POLICY),
        (document.AccessKey, KEY),
    ],
)
def test_the_samples_change_every_field_there_is(model: type[Strict], sample: dict[str, Any]) -> None:
    def check(fields: dict[str, Any], values: dict[str, Any]) -> None:
        assert set(values) == set(fields)
        for name, default in fields.items():
            if isinstance(default, dict) and default:
                check(default, values[name])
            else:
                assert values[name] != default, name

    check(real_fields(model), sample)


def test_every_field_comes_back_as_it_was_written(admin: Actor) -> None:
    wanted = {
        "policy": POLICY,
        "providers": [PROVIDER, provider("other")],
        "profiles": [PROFILE],
        "access_keys": [{**KEY, "value": access_key()["value"]}],
    }
    actions.import_configuration(wanted, actor=admin, publish_now=True)
    rows = (
        (draft.provider_tree(Provider.objects.get(slug="full")), PROVIDER),
        (draft.profile_tree(Profile.objects.get()), PROFILE),
        (draft.key_tree(AccessKey.objects.get()), KEY),
        (draft.policy_tree(Policy.get()), POLICY),
    )
    for tree, sample in rows:
        assert_holds(tree, sample)
    revision = ConfigRevision.objects.get()
    assert_holds(revision.document["providers"][0], PROVIDER)
    assert_holds(revision.document["profiles"][0], PROFILE)
    compiled = revision.compiled["providers"][0]
    assert_holds(compiled, {**PROVIDER, "auth": {"header": "x-token", "prefix": "Token "}})
    assert_holds(revision.compiled["profiles"][0]["failover"], PROFILE["failover"])
    assert revision.compiled["profiles"][0]["limits"] == PROFILE["limits"]
    assert revision.compiled["profiles"][0]["accounting"] == "always"
    assert revision.compiled["policy"] == POLICY
    assert revision.compiled["profiles"][0]["rules"] == PROFILE["rules"]
    assert [target["weight"] for target in revision.compiled["profiles"][0]["targets"]] == [0.5, 2.5]


def assert_holds(tree: dict[str, Any], sample: dict[str, Any]) -> None:
    for name, value in sample.items():
        if isinstance(value, dict) and name in ("circuit", "quarantine", "failover", "timeouts"):
            assert_holds(tree[name], value)
        else:
            assert tree[name] == value, name
