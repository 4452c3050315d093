"""What a request costs: where a price is looked up, and the arithmetic. Pure; imports nothing of the project.

Prices are US dollars per million tokens (the contract's unit), so tokens x price = micro-dollars.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

    from routes.engine.provider import Provider
    from routes.engine.snapshot import Snapshot


class Price(NamedTuple):
    """US dollars per million tokens. ``cached`` applies to the part of the input read from a cache."""

    input: float
    output: float
    cached: float


def prices(section: Mapping[str, Mapping[str, float | None]]) -> dict[str, Price]:
    """Prices by model from a section of the document; a cached price left out is the price of ordinary input."""
    found: dict[str, Price] = {}
    for model, entry in section.items():
        given, out, cached = entry.get("input"), entry.get("output"), entry.get("cached")
        base = float(given or 0.0)
        found[model] = Price(base, float(out or 0.0), base if cached is None else float(cached))
    return found


def price_for(snapshot: Snapshot, provider: Provider, m: str, u: str) -> Price | None:
    """The provider's own price for ``m``, then ``u``; the ``prices`` section likewise; then the built-in table.

    In the built-in table the upstream name goes first: it names what is really used, while ``m`` is whatever
    the configuration calls it.
    """
    return (
        provider.prices.get(m)
        or provider.prices.get(u)
        or snapshot.prices.get(m)
        or snapshot.prices.get(u)
        or snapshot.builtin_prices.get(u)
        or snapshot.builtin_prices.get(m)
    )


def cost_micro_usd(
    price: Price | None, input_tokens: int | None, output_tokens: int | None, cached: int | None
) -> int | None:
    """Cost in millionths of a dollar, or None when the price or both counts are unknown.

    ``cached`` tokens are part of ``input_tokens`` (a wire format that reports them apart adds them first).
    """
    if price is None or (input_tokens is None and output_tokens is None):
        return None
    total_in = input_tokens or 0
    from_cache = min(cached or 0, total_in)
    return round(
        (total_in - from_cache) * price.input + from_cache * price.cached + (output_tokens or 0) * price.output
    )
