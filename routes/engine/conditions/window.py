"""Time windows of a day, by the wall clock of a time zone. Pure.

[start, end) to the minute; a start after the end wraps midnight, and then the day is the one on which the window began.
The wall clock decides: an hour that a change of the clocks skips does not occur, one that it repeats occurs twice.
"""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_NAMES: Final = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_CLOCK = re.compile(r"([01][0-9]|2[0-3]):([0-5][0-9])", re.ASCII)
MIDNIGHT: Final = 24 * 60


def minutes(text: Any, *, end: bool = False) -> int | None:
    """``HH:MM`` in minutes since midnight; ``24:00`` is an end. None for anything else."""
    if type(text) is not str:
        return None
    if end and text == "24:00":
        return MIDNIGHT
    match = _CLOCK.fullmatch(text)
    return None if match is None else int(match[1]) * 60 + int(match[2])


class Window:
    """A window whose parts have been checked. Callable: seconds of the wall clock -> inside (or outside)."""

    __slots__ = ("_days", "_end", "_last", "_outside", "_start", "_zone", "value")

    def __init__(self, value: dict[str, Any], zone: ZoneInfo) -> None:
        start, end = minutes(value["start"]), minutes(value["end"], end=True)
        assert start is not None
        assert end is not None
        self.value = value
        self._start, self._end = start, end
        self._zone = zone
        self._days = frozenset(DAYS.index(day) for day in value.get("days", DAYS))
        self._outside = value.get("outside", False)
        self._last: tuple[float, bool] = (-1.0, False)

    def __call__(self, wall: float) -> bool:
        minute = wall // 60  # offsets of time zones are whole minutes, so nothing changes within one
        known, result = self._last
        if known != minute:
            result = self._holds(wall)
            self._last = (minute, result)
        return result

    def _holds(self, wall: float) -> bool:
        local = datetime.fromtimestamp(wall, self._zone)
        minute, day = local.hour * 60 + local.minute, local.weekday()
        if self._start < self._end:
            inside = self._start <= minute < self._end and day in self._days
        elif minute >= self._start:
            inside = day in self._days
        else:
            inside = minute < self._end and (local - timedelta(days=1)).weekday() in self._days
        return inside is not self._outside

    def local(self, wall: float) -> str:
        """The moment as the window sees it."""
        return f"{datetime.fromtimestamp(wall, self._zone):%a %H:%M} {self._zone.key}"

    def describe(self) -> str:
        """``between 22:00 and 06:00 (Europe/Berlin) on Monday to Friday``."""
        value = self.value
        words = f"between {value['start']} and {value['end']} ({value['timezone']})"
        if "days" in value:
            words += f" on {_days(sorted(self._days))}"
        return f"not {words}" if self._outside else words


def _days(days: list[int]) -> str:
    """Runs of three or more as ``Monday to Friday``, others one by one."""
    runs: list[list[int]] = []
    for day in days:
        if runs and runs[-1][-1] == day - 1:
            runs[-1].append(day)
        else:
            runs.append([day])
    words: list[str] = []
    for run in runs:
        if len(run) > 2:
            words.append(f"{_NAMES[run[0]]} to {_NAMES[run[-1]]}")
        else:
            words += [_NAMES[day] for day in run]
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
