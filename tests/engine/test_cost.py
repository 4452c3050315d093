"""Where a price is looked up, and what a request costs."""

from __future__ import annotations

from typing import Any

import pytest

from routes.engine.cost import Price, cost_micro_usd, price_for
from tests.documents import provider, snapshot


def price(usd: float) -> dict[str, float]:
    return {"input": usd, "output": usd}


@pytest.mark.parametrize(
    ("own", "section", "builtin", "expected"),
    [
        ({"m": price(1), "u": price(2)}, {"m": price(3)}, {"u": price(5)}, 1),
        ({"u": price(2)}, {"m": price(3), "u": price(4)}, {"u": price(5)}, 2),
        ({}, {"m": price(3), "u": price(4)}, {"u": price(5)}, 3),
        ({}, {"u": price(4)}, {"u": price(5)}, 4),
        ({}, {}, {"u": price(5), "m": price(6)}, 5),
        ({}, {}, {"m": price(6)}, 6),
        ({"m": price(0)}, {"m": price(3)}, {}, 0),
        ({"other": price(1)}, {"other": price(1)}, {"other": price(1)}, None),
    ],
)
def test_a_price_is_the_providers_then_the_sections_then_built_in(
    own: dict[str, Any], section: dict[str, Any], builtin: dict[str, Any], expected: float | None
) -> None:
    compiled = snapshot([provider("a", prices=own)], prices=section, builtin_prices=builtin)
    found = price_for(compiled, compiled.providers["a"], "m", "u")
    assert (None if found is None else found.input) == expected


def test_a_cached_price_left_out_is_the_price_of_input() -> None:
    entries = {
        "a": {"input": 2.5, "output": 10},
        "b": {"input": 2.5, "output": 10, "cached": 0},
        "c": {"input": 1, "output": None},
    }
    prices = snapshot([provider("p")], prices=entries).prices
    assert prices == {"a": Price(2.5, 10, 2.5), "b": Price(2.5, 10, 0), "c": Price(1, 0, 1)}


@pytest.mark.parametrize(
    ("tokens", "expected"),
    [
        ((1000, 100, 0), 2500 + 1000),
        ((1000, 100, 400), 1500 + 500 + 1000),
        ((1000, 100, None), 3500),
        ((1000, None, 2000), 1250),  # no more from the cache than there was
        ((None, 100, None), 1000),
        ((None, None, None), None),
        ((0, 0, 0), 0),
    ],
)
def test_cost_in_millionths_of_a_dollar(
    tokens: tuple[int | None, int | None, int | None], expected: int | None
) -> None:
    assert cost_micro_usd(Price(2.5, 10.0, 1.25), *tokens) == expected


def test_an_unknown_price_costs_nobody_knows_what() -> None:
    assert cost_micro_usd(None, 1, 1, 0) is None
