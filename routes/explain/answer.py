"""The explanation as JSON: the decision's fields as the contract names them, trace, shares, sentences. Pure."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from routes.engine.explain import decision_sentences

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from routes.engine.types import Decision
    from routes.explain.documents import ExplainOverrides
    from routes.gateway.exchange import Exchange

TROUBLE_WORDS = {"down": "down", "429": "refusing for rate (429)", "slow": "ten times as slow"}


def request_line(exchange: Exchange, key: str | None) -> dict[str, Any]:
    """How the request was understood."""
    assert exchange.profile is not None
    return {
        "path": exchange.path,
        "operation": exchange.operation,
        "model": exchange.model,
        "stream": exchange.stream,
        "session": exchange.session,
        "key": key,
        "profile": exchange.profile.slug,
    }


def document(
    told: dict[str, Any],
    decision: Decision,
    number: int | None,
    revision: str,
    overrides: ExplainOverrides,
    notes: Sequence[str] = (),
) -> dict[str, Any]:
    """``told`` is what ``describe`` made of the decision; ``number`` None = the draft."""
    first = decision.place(0)
    winner = told["ranking"][0] if told["ranking"] else None
    trace = told.pop("stages")
    return {
        "status": "rejected" if winner is None else "decided",
        "error_code": None if winner is not None else _refusal(decision),
        "head_id": "" if winner is None else winner["head_id"],
        "endpoint": "" if winner is None else winner["endpoint"],
        "provider": "" if winner is None else winner["provider"],
        "model": "" if winner is None else winner["model"],
        "region": first.target.region if first is not None else None,
        "strategy_used": told["strategy"],
        "reason": "" if winner is None else winner["reason"],
        "metadata": {
            "model": "" if winner is None else winner["model"],
            "region": first.target.region if first is not None else None,
        },
        **told,
        "revision": "draft" if number is None else number,
        "trace": trace,
        "sentences": [*_imagined(revision, overrides), *decision_sentences(told), *notes],
    }


def _refusal(decision: Decision) -> str:
    """What the client would be told."""
    if decision.unserved:
        return "model_not_found"
    return "rate_limited" if decision.all_rate_limited else "no_target_available"


def _imagined(revision: str, overrides: ExplainOverrides) -> list[str]:
    told = [f"Decided by {revision}."]
    told += [f"As if {slug} were {TROUBLE_WORDS[trouble]}." for slug, trouble in overrides.providers.items()]
    if overrides.at is not None:
        told.append(f"As if it were {overrides.at.isoformat(sep=' ')}.")
    return told


def shares(told: Mapping[str, Any], firsts: Iterable[str | None]) -> dict[str, float]:
    """Part of the draws that each target led; every target is named, those without traffic with 0."""
    counts = Counter(firsts)
    total = counts.total()
    targets = [line["target"] for line in (*told["ranking"], *told["excluded"])]
    return {target: counts[target] / total for target in targets}
