"""Random numbers for many decisions on one request, even enough that a share shows and not a sample's noise. Pure."""

from __future__ import annotations

from random import Random


class EvenRandom(Random):
    """A random source whose first number of each draw runs evenly through [0, 1).

    A strategy that draws once (``weighted``) then shows its exact shares; further numbers of the same draw stay random,
    so strategies that draw pairs are not led astray.
    """

    def __init__(self, draws: int) -> None:
        super().__init__(1)
        self._draws = draws
        self._first: float | None = None

    def begin(self, number: int) -> None:
        self._first = (number + 0.5) / self._draws

    def random(self) -> float:
        first, self._first = self._first, None
        return super().random() if first is None else first
