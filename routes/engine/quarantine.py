"""Quarantines: keeping traffic from an upstream that said no (429, 403) or a credential it refuses (401, 402).

Owns the rules: how long, and when a refused credential is no accident. The records are in ``tables.quarantines``.
No clock, no state. Imports settings only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from routes.engine.settings import QuarantineSettings

#: Two refused credentials within this many seconds are no accident.
AUTH_WINDOW = 60.0
#: Bounds of a Retry-After that is believed, with the settings' ``rate_limit_max`` above.
RETRY_AFTER_MIN = 1.0
#: Doubling ends here however often a credential is refused (the settings' maximum ends it long before).
MAX_DOUBLINGS = 16


def rate_limit_seconds(settings: QuarantineSettings, retry_after: float | None) -> float:
    """How long a 429 keeps traffic away: its Retry-After clamped, or ``rate_limit`` without one."""
    if retry_after is None:
        return min(settings.rate_limit, settings.rate_limit_max)
    return min(max(retry_after, RETRY_AFTER_MIN), settings.rate_limit_max)


def auth_seconds(settings: QuarantineSettings, rounds: int) -> float:
    """How long refused credentials keep traffic away, after ``rounds`` such quarantines without an answer."""
    return min(settings.auth * 2.0 ** min(rounds, MAX_DOUBLINGS), settings.auth_max)
