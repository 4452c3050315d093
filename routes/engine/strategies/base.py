"""What strategies share: the shape of a ranking, params without fields, and hashed draws for tails.

Imports pydantic and the vocabulary only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from routes.engine.types import Ranked

#: (computed eagerly and best first, the rest on demand or None)
Ranking = tuple["Sequence[Ranked]", "Iterator[Ranked] | None"]

_MASK = (1 << 64) - 1


class Params(BaseModel):
    """Base of params models: unknown params are refused, like every unknown field of the document."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class NoParams(Params):
    """The strategy has none."""


def mixed(seed: int, step: int) -> float:
    """A uniform number in [0, 1) that follows from ``seed`` and ``step`` (splitmix64)."""
    z = (seed + step * 0x9E3779B97F4A7C15) & _MASK
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _MASK
    return ((z ^ (z >> 31)) >> 11) / (1 << 53)


def successive(draw: float, step: int) -> float:
    """A further uniform draw that follows from the first one.

    Tails and backups are drawn by it: independent enough to spread failovers, free until somebody asks, and
    to be told again from the one number that was recorded.
    """
    return mixed(int(draw * (1 << 53)), step)
