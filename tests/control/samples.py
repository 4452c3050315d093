"""Documents that control-plane tests start from. Tests change only what they are about."""

from __future__ import annotations

import copy
from typing import Any

KEY_VALUE = "sbx_" + "k" * 40
CREDENTIAL = "sk-canary-7f3a9c2e51d84b60"


def provider(slug: str = "alpha", **fields: Any) -> dict[str, Any]:
    return {
        "slug": slug,
        "name": slug.title(),
        "wire": "openai",
        "base_url": f"https://{slug}.example/v1",
        **fields,
    }


def profile(slug: str = "default", *targets: Any, **fields: Any) -> dict[str, Any]:
    """``targets``: provider slugs, ``(slug, weight)`` or whole entries."""
    entries = []
    for target in targets:
        if isinstance(target, str):
            entries.append({"provider": target})
        elif isinstance(target, tuple):
            entries.append({"provider": target[0], "weight": target[1]})
        else:
            entries.append(target)
    return {"slug": slug, "name": slug.title(), "targets": entries, **fields}


LONG: dict[str, Any] = {"fact": "tokens", "op": "gte", "value": 32_000}


def rule(name: str = "long", *targets: Any, when: Any = None, **fields: Any) -> dict[str, Any]:
    """``targets`` as in ``profile``; without ``when`` for long requests."""
    entries = profile("x", *targets)["targets"]
    return {"name": name, "when": LONG if when is None else when, "targets": entries, **fields}


def access_key(name: str = "app", **fields: Any) -> dict[str, Any]:
    return {"name": name, "value": KEY_VALUE, **fields}


_DOCUMENT: dict[str, Any] = {
    "version": 1,
    "policy": {"default_strategy": "weighted"},
    "prices": {"gpt-4o": {"input": 2.5, "output": 10}},
    "providers": [
        provider("beta", wire="anthropic", base_url="https://beta.example", models={"*": "*", "claude": "claude-9"}),
        provider(
            "alpha",
            credential={"value": CREDENTIAL},
            headers={"x-team": "signals"},
            query={"api-version": "2024-10-21"},
            auth={"header": "api-key"},
            prices={"gpt-4o": {"input": 2, "output": 8, "cached": 0.5}},
            circuit={"failure_threshold": 3},
            tags=["eu", "paid"],
        ),
    ],
    "profiles": [
        profile("default", ("alpha", 70), {"provider": "beta", "weight": 30, "tier": 5}, strategy="weighted"),
        profile("fast", "beta", failover={"timeouts": {"first_byte": 2.5}}),
    ],
    "access_keys": [access_key("app", allow=["debug"], expires="2031-01-01T00:00:00Z", models=["gpt-*"])],
}


def whole_document() -> dict[str, Any]:
    """``document`` with two rules, a policy, tags, and what else has a form of its own."""
    tree = document()
    tree["policy"] |= {"enable_adaptive": False, "region_priority": ["eu", "us"], "geo": {"de": "eu", "*": "us"}}
    tree["access_keys"][0] |= {"tags": ["batch", "internal"], "limits": {"rpm": 60, "usd_month": 12.5}}
    tree["providers"] += [provider("speech", wire="generic", base_url="https://speech.example", stream_usage=False)]
    tree["providers"][1]["context"] = {"o9": 200_000, "gpt-4o": 128_000}
    at_night = {
        "fact": "time",
        "op": "within",
        "value": {"end": "06:00", "start": "22:00", "timezone": "Europe/Berlin"},
    }
    tree["profiles"][0] |= {
        "affinity": {"enabled": False, "scope": "profile"},
        "failover": {"mode": {"latency": {"ms": 1500.5}}, "non_idempotent": True},
        "limits": {"concurrency": 20, "queue_ms": 500},
        "accounting": "always",
        "scenario": {"order": ["webSearch", "code"]},
        "rules": [
            rule("night", "beta", when={"any": [at_night, {"not": {"fact": "stream", "op": "is", "value": True}}]}),
            rule("long", ("beta", 3), "alpha", strategy="least-latency", params={"min_samples": 3}, enabled=False),
        ],
    }
    return tree


def document() -> dict[str, Any]:
    """Two providers, two profiles, a key, prices: a bit of everything."""
    return copy.deepcopy(_DOCUMENT)
