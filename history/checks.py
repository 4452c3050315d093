"""System checks of what the history's storage is set to and how it is. Each says what to do.

Run by ``check --database default`` and by ``migrate``, as those of ``routes.checks``.

history.W001  rows are kept for less time than a budget of an access key runs
history.W002  rows are in no day's partition (PostgreSQL)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from django.core import checks
from django.db.utils import DatabaseError

from history import partitions
from history.errors import Busy
from routing_project.env import EnvError, get_env

if TYPE_CHECKING:
    from collections.abc import Sequence

#: The longest budgets and the days they may run.
BUDGETS: Final = {"usd_week": 7, "usd_month": 31}


@checks.register(checks.Tags.database)
def check_storage(databases: Sequence[str] | None = None, **_: Any) -> list[checks.CheckMessage]:
    """Looks into the tables, so only where Django asks for database checks."""
    if not databases or "default" not in databases:
        return []
    try:
        return [*_budgets(), *_strays()]
    except (DatabaseError, Busy, EnvError):
        return []  # not migrated yet, or not now


def _budgets() -> list[checks.CheckMessage]:
    from routes.models import AccessKey  # the shipper loads this app without the control plane

    days = get_env().history_days + 1  # the day that has begun is kept, too
    short = [
        name
        for name, limits in AccessKey.objects.values_list("name", "limits")
        if any(limits.get(budget) and days < needed for budget, needed in BUDGETS.items())
    ]
    if not short:
        return []
    return [
        checks.Warning(
            f"History is kept for less time than a budget runs, of the access key {', '.join(short)}.",
            hint="A host that loses its live state reads from the history what was spent, and would find less. Set "
            "SIGNALBOX_HISTORY_DAYS to 7 or more for weekly budgets, to 30 or more for monthly ones.",
            id="history.W001",
        )
    ]


def _strays(alias: str = "default") -> list[checks.CheckMessage]:
    found = partitions.strays(alias)
    if not found:
        return []
    counted = ", ".join(f"{number} of {table}" for table, number in found.items())
    return [
        checks.Warning(
            f"Rows are in no day's partition: {counted}.",
            hint="The worker moves or removes them every ten minutes; see its log if they stay. Those of a clock that "
            "ran far ahead stay.",
            id="history.W002",
        )
    ]
