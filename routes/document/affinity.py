"""Session affinity of a profile in the configuration document. Free of Django."""

from __future__ import annotations

from typing import Literal

from routes.document.base import PositiveSeconds, Seconds, Strict


class Affinity(Strict):
    """How long a session stays with its target. Seconds; ``promotion_hold``: how long a session stays after a better
    tier is back."""

    enabled: bool = True
    ttl: PositiveSeconds = 1800
    scope: Literal["rule", "profile"] = "rule"
    sliding: bool = False
    promotion_hold: Seconds = 60
    client_ip: bool = False
