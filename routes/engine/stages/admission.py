"""Admission: who may serve this request at all, before health or any strategy looks at them, so that a disabled
target never advances a counter or skews a weight. Imports the engine only.

What the configuration decides (wire, model) was decided once per revision in the ``CandidateSet``; here the
admin states of the overlay and the request's own wishes are applied.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from routes.engine.types import Exclusion

if TYPE_CHECKING:
    from routes.engine.candidates import Candidate
    from routes.engine.stages import Run

NAME = "admission"


def apply(run: Run) -> None:
    request = run.request
    live = run.live
    only, exclude = request.only, request.exclude
    if only is None and not exclude and live.all_active(run.now):
        return
    kept: list[Candidate] = []
    for candidate in run.candidates:
        target = candidate.target
        slug = target.provider.slug
        state = live.admin_state(target, run.now)
        if state != "active":
            code: str = state
        elif only is not None and slug not in only:
            code = "not_requested"
        elif slug in exclude:
            code = "excluded_by_request"
        else:
            kept.append(candidate)
            continue
        run.excluded.append(Exclusion(target, NAME, code))
    if len(kept) != len(run.candidates):
        run.candidates = kept
