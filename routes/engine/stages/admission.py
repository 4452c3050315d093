"""Admission: who may serve this request at all, before health or any strategy looks at them, so that a disabled
target never advances a counter or skews a weight. Imports the engine only.

What the configuration decides (wire, model) was decided once per revision in the ``CandidateSet``; here the
admin states of the overlay and the request's own wishes are applied.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from routes.engine.stages import Run

NAME = "admission"


def apply(run: Run) -> None:
    inactive = run.live.inactive(run.now)
    only, exclude = run.request.only, run.request.exclude
    if not inactive and only is None and not exclude:
        return
    base, dropped = run.base, run.dropped
    for provider_id, state in inactive.items():
        for candidate in base.by_provider.get(provider_id, ()):
            run.drop(candidate, NAME, state)
    if only is not None or exclude:
        for candidate in base.candidates:
            if candidate.position in dropped:
                continue
            slug = candidate.target.provider.slug
            if only is not None and slug not in only:
                run.drop(candidate, NAME, "not_requested")
            elif slug in exclude:
                run.drop(candidate, NAME, "excluded_by_request")
