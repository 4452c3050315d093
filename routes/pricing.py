"""The built-in tables of prices and context windows: genai-prices' figures as plain numbers, offline. Its updater is
never started.

A model is priced by whoever makes it: the first of ``MAKERS`` that lists it. Resellers' own prices belong into a
provider's ``prices``. Prices in tiers count with their first tier. Imports nothing of the project.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

MAKERS = (
    *("openai", "anthropic", "google", "mistral", "cohere", "x-ai", "deepseek", "meta", "moonshotai", "zai"),
    *("minimax", "perplexity", "voyageai", "arcee", "groq", "cerebras", "together", "fireworks", "openrouter"),
)


def builtin_prices(at: datetime) -> dict[str, dict[str, float]]:
    """Model -> ``{input, output, cached?}`` in USD per million tokens, valid on the day of ``at``."""
    return _table(at.replace(hour=12, minute=0, second=0, microsecond=0))


@lru_cache(maxsize=1)
def builtin_context() -> dict[str, int]:
    """Model -> context window in tokens."""
    table: dict[str, int] = {}
    for model in _models():
        if window := getattr(model, "context_window", None):
            for name in {model.id, *_names(model.match)}:
                table.setdefault(name, int(window))
    return dict(sorted(table.items()))


def _models() -> Iterator[Any]:
    """All models, the makers' own before those of resellers."""
    from genai_prices.data import providers  # half a second and 40 MB, so only where revisions are compiled

    by_id = {provider.id: provider for provider in providers}
    for maker in MAKERS:
        if maker in by_id:
            yield from by_id[maker].models


@lru_cache(maxsize=2)
def _table(at: datetime) -> dict[str, dict[str, float]]:
    table: dict[str, dict[str, float]] = {}
    for model in _models():
        price = _price(model.get_prices(at))
        for name in {model.id, *_names(model.match)} if price else ():
            table.setdefault(name, price)
    return dict(sorted(table.items()))


def _price(price: Any) -> dict[str, float]:
    """Empty when the model is not priced by tokens."""
    figures = {
        "input": _figure(getattr(price, "input_mtok", None)),
        "output": _figure(getattr(price, "output_mtok", None)),
        "cached": _figure(getattr(price, "cache_read_mtok", None)),
    }
    if figures["input"] is None and figures["output"] is None:
        return {}
    return {"input": 0.0, "output": 0.0} | {name: value for name, value in figures.items() if value is not None}


def _figure(value: Any) -> float | None:
    return None if value is None else float(getattr(value, "base", value))


def _names(match: Any) -> set[str]:
    """The exact names in a matching clause."""
    if hasattr(match, "equals"):
        return {match.equals}
    return {name for clause in getattr(match, "or_", ()) for name in _names(clause)}
