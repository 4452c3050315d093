"""``tokens_calibrated``: the estimate of a request's tokens, corrected by what models really counted. Pure.

For cost and limits only; conditions read the uncorrected ``tokens``, so that the same request always matches the same
rule. Not locked: callers own one per process or lock around it.
"""

from __future__ import annotations

from typing import Final

#: Models remembered; the one not heard of for longest goes first.
MAX_MODELS: Final = 1_000
#: Share of the newest answer in the average.
ALPHA: Final = 0.1
#: No tokenizer is further off than that; an upstream that says so counts something else.
LOWEST, HIGHEST = 0.1, 10.0
#: Below, the fixed overhead of a request says more than its text.
MIN_TOKENS: Final = 16


class Calibration:
    """An exponentially weighted mean, per model, of input tokens reported ÷ input tokens estimated."""

    __slots__ = ("_ratios",)

    def __init__(self) -> None:
        self._ratios: dict[str, float] = {}

    def update(self, model: str, estimated: int, reported: int) -> None:
        """An answer said how many tokens went in. ``model`` is the target's, never a client's string."""
        if estimated < MIN_TOKENS or reported <= 0:
            return
        ratio = min(HIGHEST, max(LOWEST, reported / estimated))
        before = self._ratios.pop(model, None)
        self._ratios[model] = ratio if before is None else before + ALPHA * (ratio - before)
        if len(self._ratios) > MAX_MODELS:
            del self._ratios[next(iter(self._ratios))]

    def ratio(self, model: str) -> float:
        """1.0 for a model of which nothing is known."""
        return self._ratios.get(model, 1.0)

    def read(self, model: str, estimated: int) -> int:
        """``tokens_calibrated``."""
        return round(estimated * self.ratio(model))
