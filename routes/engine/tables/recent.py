"""The last outcomes of one target, as people want to see them. Cells of its record; written under its guard.

Imports the vocabulary.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from routes.engine.live import RecentOutcome
from routes.engine.types import ERROR_CLASSES

if TYPE_CHECKING:
    from typing import Literal

#: Outcomes kept.
KEPT = 10
#: How many ever, then moments, then codes.
SIZE = 1 + 2 * KEPT
_CODES = 1 + KEPT
# A code is source, class and status in one number: 1 007 503 = a probe failed with class 7 and status 503.
_PROBE, _CLASS = 1_000_000, 1_000
_CODE_OF = {name: (number + 1) * _CLASS for number, name in enumerate(ERROR_CLASSES)}


class Recent:
    __slots__ = ("_cells",)

    def __init__(self, cells: memoryview[float]) -> None:
        self._cells = cells

    def add(self, at: float, error_class: str | None, status: int | None, probe: bool = False) -> None:
        cells = self._cells
        total = int(cells[0])
        place = total % KEPT
        code = (0 if error_class is None else _CODE_OF.get(error_class, 0)) + (status or 0)
        cells[1 + place] = at
        cells[_CODES + place] = code + _PROBE if probe else code
        cells[0] = total + 1

    def last(self) -> list[RecentOutcome]:
        """Oldest first."""
        cells, total = self._cells, int(self._cells[0])
        places = [number % KEPT for number in range(max(0, total - KEPT), total)]
        return [_outcome(cells[1 + place], int(cells[_CODES + place])) for place in places]

    def shift(self, seconds: float) -> None:
        for place in range(KEPT):
            self._cells[1 + place] += seconds


def _outcome(at: float, code: int) -> RecentOutcome:
    source: Literal["traffic", "probe"] = "probe" if code >= _PROBE else "traffic"
    number, status = divmod(code % _PROBE, _CLASS)
    return RecentOutcome(at, ERROR_CLASSES[number - 1] if number else None, status or None, source)
