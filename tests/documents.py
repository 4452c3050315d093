"""Builders of compiled documents (what publish writes and ``Snapshot.from_document`` reads) and of overlays.

Everything has the contract's defaults; tests name only what they are about::

    snapshot(providers=[provider("a"), provider("b", weight=3)], strategy="weighted")

Ids are derived from slugs, so two documents of one test agree on them. No Django, no I/O.
"""

from __future__ import annotations

import hashlib
import uuid
from typing import Any

from routes.engine.snapshot import Snapshot

NAMESPACE = uuid.UUID("6f1c9d0e-0000-4000-8000-000000000001")

CIRCUIT: dict[str, Any] = {
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
QUARANTINE: dict[str, Any] = {"rate_limit": 60, "rate_limit_max": 300, "auth": 1800, "auth_max": 7200}
TIMEOUTS: dict[str, Any] = {
    "connect": 5,
    "first_byte": 300,
    "first_event": 60,
    "first_event_soft": 10,
    "idle": 20,
    "total": 600,
    "stream_max": 3600,
}
FAILOVER: dict[str, Any] = {
    "max_attempts": 3,
    "same_target_retries": 1,
    "retry_statuses": [500, 502, 503, 504, 529],
    "auth_errors": "failover",
    "when_all_unhealthy": "try",
    "panic_concurrency": 10,
    "mode": "immediate",
}
#: Off: most tests are not about sessions. Those that are say ``affinity=PINNED``.
AFFINITY: dict[str, Any] = {
    "enabled": False,
    "ttl": 1800,
    "scope": "rule",
    "sliding": False,
    "promotion_hold": 60,
    "client_ip": False,
}
PINNED: dict[str, Any] = {"enabled": True}
SCENARIO: dict[str, Any] = {
    "order": ["web_search", "thinking", "image", "long_context", "code", "background", "default"],
    "long_context_threshold": 32000,
    "background_models": ["*haiku*", "*mini*", "*flash*"],
}
POLICY: dict[str, Any] = {
    "default_strategy": "failover",
    "enable_geo_routing": True,
    "enable_load_balancing": True,
    "enable_model_specific": True,
    "enable_predictive": True,
    "enable_adaptive": True,
    "region_priority": [],
    "prediction_window": 15,
    "load_growth_factor": 1.1,
    "capacity_threshold": 80,
    "geo": {},
}


def an_id(kind: str, slug: str) -> str:
    """The id a provider, profile or key of that name has in every document built here."""
    return str(uuid.uuid5(NAMESPACE, f"{kind}:{slug}"))


def provider(slug: str, **given: Any) -> dict[str, Any]:
    """A compiled provider; ``circuit`` and ``quarantine`` may be partial. The wire decides the default auth."""
    wire = given.get("wire", "openai")
    auth = (
        {"header": "x-api-key", "prefix": ""}
        if wire == "anthropic"
        else {"header": "authorization", "prefix": "Bearer "}
    )
    entry: dict[str, Any] = {
        "id": an_id("provider", slug),
        "slug": slug,
        "name": slug.replace("-", " ").title(),
        "wire": wire,
        "base_url": f"http://127.0.0.1:9/{slug}/v1",
        "network": "loopback",
        "auth": auth,
        "headers": {},
        "query": {},
        "proxy": None,
        "region": None,
        "tags": [],
        "weight": 1,
        "capacity": None,
        "max_concurrency": 0,
        "models": None,
        "context": {},
        "prices": {},
        "stream_usage": True,
    }
    entry.update(given)
    entry["circuit"] = CIRCUIT | given.get("circuit", {})
    entry["quarantine"] = QUARANTINE | given.get("quarantine", {})
    return entry


def target(slug: str, model: str | None = None, weight: float | None = None, tier: int = 0) -> dict[str, Any]:
    """A profile's or a rule's target; weight None = the provider's (for a profile's a compiled document names the
    number, so ``document`` fills it in)."""
    return {"provider": slug, "model": model, "weight": weight, "tier": tier}


def head(name: str, **given: Any) -> dict[str, Any]:
    """A head of a provider: ``provider("a", heads=[head("one", capacity=4)])``."""
    entry: dict[str, Any] = {
        "id": name,
        "endpoint": f"http://127.0.0.1:9/{name}/v1",
        "region": None,
        "model_type": "",
        "version": "",
        "capacity": None,
        "max_model_size": None,
        "capabilities": [],
    }
    return entry | given


def rule(name: str, when: dict[str, Any], targets: list[dict[str, Any]], **given: Any) -> dict[str, Any]:
    """A profile's rule."""
    entry: dict[str, Any] = {
        "name": name,
        "description": "",
        "enabled": True,
        "when": when,
        "targets": targets,
        "strategy": None,
        "params": None,
        "fallback_to_profile": True,
    }
    return entry | given


def profile(slug: str = "default", targets: list[dict[str, Any]] | None = None, **given: Any) -> dict[str, Any]:
    """A compiled profile; ``failover`` and its ``timeouts``, ``affinity`` and ``scenario`` may be partial."""
    entry: dict[str, Any] = {
        "id": an_id("profile", slug),
        "slug": slug,
        "name": slug.replace("-", " ").title(),
        "strategy": "failover",
        "params": {},
        "targets": targets or [],
        "accounting": "when_asked",
        "require_tags": False,
        "rules": [],
    }
    affinity = AFFINITY | given.pop("affinity", {})
    scenario = SCENARIO | given.pop("scenario", {})
    failover = dict(given.pop("failover", {}))
    timeouts = TIMEOUTS | failover.pop("timeouts", {}) | given.pop("timeouts", {})
    entry.update(given)
    entry["failover"] = FAILOVER | failover | {"timeouts": timeouts}
    return entry | {"affinity": affinity, "scenario": scenario}


#: What ``document`` without profiles hands on to the one it makes.
OF_PROFILE = ("strategy", "params", "failover", "timeouts", "affinity", "scenario", "rules", "require_tags")


def document(
    providers: list[dict[str, Any]], profiles: list[dict[str, Any]] | None = None, number: int = 1, **given: Any
) -> dict[str, Any]:
    """A compiled revision; ``policy`` may be partial. Without profiles: one named ``default`` over all providers in
    order, which takes what ``OF_PROFILE`` names from ``given``."""
    of_profile = {name: given.pop(name) for name in OF_PROFILE if name in given}
    if profiles is None:
        profiles = [profile("default", [target(entry["slug"]) for entry in providers], **of_profile)]
    weights = {entry["slug"]: entry["weight"] for entry in providers}
    for entry in profiles:
        for place in entry["targets"]:
            if place["weight"] is None:
                place["weight"] = weights.get(place["provider"], 1)
    return {
        "format": 1,
        "installation": an_id("installation", "test"),
        "number": number,
        "published_at": "2026-11-20T12:00:00Z",
        "policy": POLICY | given.pop("policy", {}),
        "prices": {},
        "builtin_prices": {},
        "builtin_context": {},
        "translates": True,
        "providers": providers,
        "profiles": profiles,
        **given,
    }


def snapshot(
    providers: list[dict[str, Any]], profiles: list[dict[str, Any]] | None = None, number: int = 1, **given: Any
) -> Snapshot:
    """``document`` compiled."""
    return Snapshot.from_document(document(providers, profiles, number, **given))


def access_key(value: str, profile: str = "default", name: str = "test", **given: Any) -> dict[str, Any]:
    """A key as the overlay holds it."""
    return {
        "id": an_id("key", name),
        "name": name,
        "prefix": value[:12],
        "hash": hashlib.sha256(value.encode()).hexdigest(),
        "profile": profile,
        "scopes": ["route"],
        "enabled": True,
        "expires": None,
        "region": None,
        "tags": [],
        "models": None,
        "profiles": None,
        "allow": [],
        **given,
    }


def overlay(keys: list[dict[str, Any]] | None = None, version: int = 1, **given: Any) -> dict[str, Any]:
    """A live overlay. ``credentials={slug: value}`` and ``admin_states={slug: state}`` are spelled out by slug
    here and turned into the overlay's entries by provider id."""
    credentials = given.pop("credentials", {})
    states = given.pop("admin_states", {})
    return {
        "format": 1,
        "installation": an_id("installation", "test"),
        "version": version,
        "credentials": {
            an_id("provider", slug): {"value": value, "generation": 1} if isinstance(value, str) else value
            for slug, value in credentials.items()
        },
        "admin_states": {
            an_id("provider", slug): {"state": state, "until": None, "reason": ""} if isinstance(state, str) else state
            for slug, state in states.items()
        },
        "keys": keys or [],
        **given,
    }
