"""What an access key has used of its limits, in words: ``12 of 60 requests in the last minute``. Nothing is asked for
here; ``routes.host`` knows the figures."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, NamedTuple

from routes.engine.limits import MONEY_WINDOWS, KeyLimits, ends

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from routes.engine.limits import KeyUsage, MoneyWindow

_WINDOW: Final[dict[MoneyWindow, str]] = {"day": "today", "week": "this week", "month": "this month"}
_CENT: Final = 10_000  # millionths of a dollar


class Used(NamedTuple):
    """``budgets``: those that are used up (``today``); requests are refused until ``again``."""

    parts: list[str]
    budgets: list[str]
    again: datetime | None


def used(limits: Mapping[str, Any], usage: KeyUsage, wall: float) -> Used | None:
    """What is counted of a key with these limits; None when nothing is. ``wall``: Unix time."""
    limit = KeyLimits.from_document(limits)
    if limit is None:
        return None
    parts = []
    if limit.rpm:
        parts.append(f"{_grouped(usage.requests)} of {_requests(limit.rpm)} in the last minute")
    if limit.tpm:
        parts.append(f"{_grouped(usage.tokens)} of {_grouped(limit.tpm)} tokens in the last minute")
    most = f" of {_grouped(limit.concurrency)}" if limit.concurrency else ""
    parts.append(f"{_grouped(usage.in_flight)}{most} under way")
    spent_up = []
    for window, most_money, spent in zip(MONEY_WINDOWS, limit.money, usage.money, strict=True):
        if most_money:
            parts.append(f"{_dollars(spent)} of {_dollars(most_money)} {_WINDOW[window]} (UTC)")
            if spent >= most_money:
                spent_up.append(window)
    again = max((ends(window, wall) for window in spent_up), default=None)
    return Used(
        parts,
        [_WINDOW[window] for window in spent_up],
        None if again is None else datetime.fromtimestamp(again, UTC),
    )


def _requests(limit: float) -> str:
    return f"{_grouped(limit)} {'request' if limit == 1 else 'requests'}"


def _grouped(value: float) -> str:
    return f"{value:,.0f}".replace(",", "\u202f")


def _dollars(micro: float) -> str:
    """Rounded down, so that nothing looks used up before it is; below a cent with as many places as it takes."""
    if 0 < micro < _CENT:
        return f"${micro / 1e6:.6f}".rstrip("0")
    return f"${micro // _CENT / 100:,.2f}".replace(",", "\u202f")
