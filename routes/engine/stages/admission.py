"""Admission: who may serve this request at all, before health or any strategy looks at them, so that a disabled
target never advances a counter or skews a weight. Imports the engine only.

What the configuration decides (wire, model) was decided once per revision in the ``CandidateSet``; here come the
admin states of the overlay, limits on what is in flight, and the request's own wishes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from routes.engine.stages import affinity

if TYPE_CHECKING:
    from collections.abc import Mapping

    from routes.engine.candidates import Candidate
    from routes.engine.stages import Run
    from routes.engine.types import AdminState

NAME = "admission"


def apply(run: Run) -> None:
    request, base = run.request, run.base
    if request.origin is not None:
        _only_origin(run, request.origin)
    inactive = run.live.inactive(run.now)
    if inactive:
        _inactive(run, inactive)
    away = run.live.heads_away(run.now)
    if away or base.fallbacks:
        _heads(run, away)
    if request.only is not None or request.exclude:
        _wishes(run)
    if request.tags and run.profile.require_tags:
        _tags(run)
    for candidate in base.typed:
        head = candidate.target.head
        assert head is not None  # of those whose head has a type
        if head.model_type != request.model_type and candidate.position not in run.dropped:
            run.drop(candidate, NAME, "model_type", head.model_type)
    for provider_id, most in base.capped:
        in_flight = run.live.in_flight(provider_id)
        if in_flight >= most:
            for candidate in base.by_provider[provider_id]:
                if candidate.position not in run.dropped:
                    run.drop(candidate, NAME, "at_capacity", in_flight)


def _only_origin(run: Run, origin: str) -> None:
    """An earlier response lives where it came from: nobody else can go on with it, whatever rules say."""
    for candidate in run.base.candidates:
        if candidate.id != origin:
            run.drop(candidate, NAME, "not_origin")


def _inactive(run: Run, inactive: Mapping[str, AdminState]) -> None:
    """Draining means no new sessions: those that are there, and responses that came from there, go on."""
    base = run.base
    for key, state in inactive.items():
        target = base.by_id.get(key)
        for candidate in base.by_provider.get(key, ()) if target is None else (target,):
            if candidate.position in run.dropped:
                continue
            if state != "draining" or not _stays(run, candidate):
                run.drop(candidate, NAME, state)


def _heads(run: Run, away: Mapping[str, str]) -> None:
    """Heads that are offline, or want no new sessions; and base URLs, which serve when no head does."""
    base = run.base
    for key, code in away.items():
        candidate = base.by_id.get(key)
        if candidate is None or candidate.position in run.dropped:
            continue
        if code == "head_offline" or not _stays(run, candidate):
            run.drop(candidate, NAME, code)
    for fallback in base.fallbacks:
        others = base.by_provider[fallback.target.provider.id]
        if fallback.position not in run.dropped and any(c.target.head and c.id not in away for c in others):
            run.drop(fallback, NAME, "heads_serve")


def _stays(run: Run, candidate: Candidate) -> bool:
    """Whether the request goes on with what this target began."""
    return bool(run.request.origin or affinity.pinned_to(run, candidate))


def _wishes(run: Run) -> None:
    only, exclude = run.request.only, run.request.exclude
    for candidate in run.base.candidates:
        if candidate.position in run.dropped:
            continue
        slug = candidate.target.provider.slug
        if only is not None and slug not in only:
            run.drop(candidate, NAME, "not_requested")
        elif slug in exclude:
            run.drop(candidate, NAME, "excluded_by_request")


def _tags(run: Run) -> None:
    for candidate in run.base.candidates:
        missing = run.request.tags - candidate.target.provider.tags
        if missing and candidate.position not in run.dropped:
            run.drop(candidate, NAME, "tags_missing", ", ".join(sorted(missing)))
