"""What heads are told when they are refused, beside the errors of actions.

ActionError
├── Missing
│   └── HeadMissing      head_not_found        nobody of this id is registered: register
└── Conflict
    ├── OldGeneration    stale_generation      the head has registered again since: this process is not it any more
    ├── OutOfOrder       out_of_order          a newer update of the head was taken already
    └── TooManyHeads     too_many_heads        as many as there may be are registered
HeadsError               not refused, but not possible now; ``retry_after`` seconds
├── Flooded              throttled             too many messages in too little time
└── Unknowable           database_unavailable  whether there is such a head only the database knows, and it is away
"""

from __future__ import annotations

from routes.actions.errors import Conflict, Missing


class HeadMissing(Missing):
    code = "head_not_found"

    def __init__(self) -> None:
        super().__init__("there is no head of this id; register it")


class OldGeneration(Conflict):
    code = "stale_generation"

    def __init__(self, given: int, current: int) -> None:
        super().__init__(
            f"generation {given} is not current: the head has registered as generation {current}",
            {"generation": [f"is {current} by now"]},
        )


class OutOfOrder(Conflict):
    code = "out_of_order"

    def __init__(self) -> None:
        super().__init__("a newer update of this head was taken already", {"timestamp": ["is older"]})


class TooManyHeads(Conflict):
    code = "too_many_heads"


class HeadsError(Exception):
    """``code`` is stable; ``retry_after`` in seconds."""

    code = "unavailable"

    def __init__(self, message: str, retry_after: float) -> None:
        super().__init__(message)
        self.message = message
        self.retry_after = retry_after


class Flooded(HeadsError):
    code = "throttled"


class Unknowable(HeadsError):
    code = "database_unavailable"
