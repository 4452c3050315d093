"""Rollups: sums of what happened, which make statistics quick and outlive the rows they were made of.

``periods`` says which hours there are and what was summed up of each, ``sums`` is the SQL that sums up, ``work`` does
so every minute, ``sealing`` keeps an hour's sums true once its rows are gone, ``plan`` and ``reading`` answer questions
from sums and rows together. This module must not import the others at its top: that of the tables imports a field from
this package.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime


def seal(before: datetime, alias: str = "default") -> None:
    """Sum up every hour that ended by ``before`` for good; to be called before rows of that time are removed.

    The contract with whoever removes them: once this has returned, any rows from before ``before`` (rounded down to a
    full hour) may be removed, in any order, in any transactions, by chunks or by partitions, now or after a crash, and
    no count changes. A sealed hour is never summed up from rows again; what the shipper still inserts into it, or
    updates in it, it adds to its sums in the same transaction, whether the old rows are gone already or not. If this
    raises (a database error), the hours it did not get to are not sealed, and their rows must stay.
    """
    from history.rollups.sealing import seal_hours

    seal_hours(before, alias)
