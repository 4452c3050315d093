"""Sizes and versions of models as they are written, made comparable. Imports nothing."""

from __future__ import annotations

import re
from functools import lru_cache

_UNITS = {"k": 1e3, "m": 1e6, "b": 1e9, "t": 1e12}
#: A number with a unit, perhaps of several experts: 70b, 1.5B, 8x7b, 405B-instruct, llama-3-70b.
_WITH_UNIT = re.compile(r"(?<![0-9.])(?:(\d+)\s*[x\u00d7]\s*)?(\d+(?:\.\d+)?)\s*([kmbt])(?![a-z])", re.IGNORECASE)
_PLAIN = re.compile(r"\s*(\d+(?:\.\d+)?)\s*")


@lru_cache(maxsize=1024)
def parameters(size: str) -> float | None:
    """How many parameters: ``70b`` is 7e10, ``8x7b`` 5.6e10; a bare number counts billions. None = it says no size.
    Requests name sizes, so what is remembered is bounded, and so is what is read."""
    size = size[:100]
    found = _WITH_UNIT.search(size)
    if found is not None:
        experts, number, unit = found.groups()
        return int(experts or 1) * float(number) * _UNITS[unit.lower()]
    plain = _PLAIN.fullmatch(size)
    return None if plain is None else float(plain[1]) * 1e9


def is_prefix(wanted: str, version: str) -> bool:
    """Whether ``version`` is one of the ``wanted`` ones: 1.2 of 1.2.7, but not of 1.20."""
    if not version.startswith(wanted):
        return False
    return not (wanted[-1:].isdigit() and version[len(wanted) : len(wanted) + 1].isdigit())
