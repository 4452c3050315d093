"""``TableClaim``: one attempt's permission, known to the process that took it. Imports the vocabulary."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from routes.engine.tables.records import ProviderRecord, TargetRecord
    from routes.engine.types import Transition


class TableClaim:
    """See ``live.Claim``."""

    __slots__ = (
        "began",
        "line",
        "period",
        "provider",
        "record",
        "released",
        "sample",
        "settled",
        "settled_at",
        "stream",
        "token",
        "transitions",
    )

    def __init__(self, record: TargetRecord, provider: ProviderRecord, period: float, token: int, began: float) -> None:
        self.record = record
        self.provider = provider
        self.period = period
        self.token = token  # of the half-open slot; 0 = none
        self.began = began
        self.settled: str | None = None  # the verdict reported last
        self.settled_at = 0.0
        self.stream = False
        self.released = False
        self.sample: int | None = None  # what a success was counted as
        self.transitions: list[Transition] = []
        self.line: dict[str, Any] | None = None  # for the host's log, when no lock is held any more

    @property
    def target_id(self) -> str:
        return self.record.id

    @property
    def half_open(self) -> bool:
        return self.token > 0
