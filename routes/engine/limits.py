"""Limits per access key: what a key may do in a minute, at once, and for how much money; and the answers about it.

Vocabulary and calendar only: what was used is counted by ``tables.keys``. Money is in millionths of a US dollar; its
windows are calendar days, weeks (from Monday) and months in UTC, so they alone go by Unix time. Imports nothing.
"""

from __future__ import annotations

import time
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

MoneyWindow = Literal["day", "week", "month"]
LimitName = Literal["rpm", "tpm", "concurrency", "usd_day", "usd_week", "usd_month"]

MONEY_WINDOWS: Final[tuple[MoneyWindow, ...]] = ("day", "week", "month")
#: Percentages of a budget that people are told about when they are reached; the last one blocks.
MONEY_STEPS: Final = (80, 100)
#: Seconds a request or a token counts for. Seconds are counted whole, so something may count for up to one more.
MINUTE: Final = 60

_DAY: Final = 86_400
#: Days that a window has at most.
_LONGEST: Final[dict[MoneyWindow, int]] = {"day": 1, "week": 7, "month": 31}


class KeyLimits(NamedTuple):
    """0 = no limit. Requests and tokens in any minute, requests under way at once, millionths of a dollar."""

    rpm: float = 0
    tpm: float = 0
    concurrency: float = 0
    day: float = 0
    week: float = 0
    month: float = 0

    @classmethod
    def from_document(cls, document: Mapping[str, Any] | None) -> KeyLimits | None:
        """From the overlay (money there is in dollars); None when nothing is limited."""
        entry = document or {}
        money = (float(entry.get(f"usd_{window}") or 0) * 1e6 for window in MONEY_WINDOWS)
        found = cls(*(float(entry.get(name) or 0) for name in ("rpm", "tpm", "concurrency")), *money)
        return found if any(found) else None

    @property
    def money(self) -> tuple[float, float, float]:
        """By ``MONEY_WINDOWS``."""
        return self.day, self.week, self.month


class Meter(NamedTuple):
    """One limit by the minute as a client is told of it. ``reset``: seconds until nothing counts any more."""

    limit: int
    remaining: int
    reset: float


class Meters(NamedTuple):
    """None = there is no such limit."""

    requests: Meter | None = None
    tokens: Meter | None = None


class Exceeded(NamedTuple):
    """Why a key may not go on. ``retry_after``: seconds until it may; None = waiting does not help."""

    limit: LimitName
    retry_after: float | None
    meters: Meters


class Crossing(NamedTuple):
    """A budget has reached a step of ``MONEY_STEPS`` percent. Told once per key, window and step, host-wide."""

    window: MoneyWindow
    percent: int


class KeyUsage(NamedTuple):
    """What a key uses now, over all hosts that are known of. Money is in millionths of a dollar, by
    ``MONEY_WINDOWS``, each of the window that runs now."""

    requests: int
    tokens: int
    in_flight: int
    money: tuple[int, int, int]


UNUSED: Final = KeyUsage(0, 0, 0, (0, 0, 0))


def numbers(wall: float) -> tuple[int, int, int]:
    """Which day, week and month it is, each counted from some beginning."""
    return _numbers(int(wall // _DAY))


@lru_cache(maxsize=8)
def _numbers(day: int) -> tuple[int, int, int]:
    date = time.gmtime(day * _DAY)
    return day, (day + 3) // 7, date.tm_year * 12 + date.tm_mon - 1  # the first of January 1970 was a Thursday


def begins(window: MoneyWindow, wall: float) -> float:
    """Unix time at which the window that runs at ``wall`` began."""
    day = int(wall // _DAY)
    if window == "week":
        day -= (day + 3) % 7
    elif window == "month":
        day -= time.gmtime(wall).tm_mday - 1
    return float(day * _DAY)


def ends(window: MoneyWindow, wall: float) -> float:
    """Unix time at which the window that runs at ``wall`` will be over and the next one begins."""
    return begins(window, begins(window, wall) + _LONGEST[window] * _DAY)
