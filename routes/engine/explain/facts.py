"""The facts of a record, without those that say nothing: most requests are of one kind, have no tags, no tools, no
images. What is left out is told again on reading, and told from what was never known. Imports the engine only.

A record keeps, beside the facts that differ from the usual, whether the body had been read, and of a body that had
not been which of its facts were known all the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from routes.engine.facts import CATALOGUE, record

if TYPE_CHECKING:
    from collections.abc import Mapping

    from routes.engine.facts import Facts

#: What a fact is of most requests.
_USUAL: Final[dict[str, Any]] = {
    spec.name: False if spec.kind == "flag" else [] if spec.kind == "set" else None for spec in CATALOGUE
} | {"scenario": "default"}
_KEPT: Final = tuple(spec for spec in CATALOGUE if not spec.secretive and spec.kind != "partition")
_PLAIN: Final = tuple(spec.name for spec in _KEPT if not spec.from_body)
_OF_BODY: Final = tuple(spec.name for spec in _KEPT if spec.from_body)
_WITHOUT_BODY: Final = _USUAL | dict.fromkeys(_OF_BODY)
#: Told from other parts of the record.
_ELSEWHERE: Final = frozenset({"operation", "model"})
#: Keys of the packed form that are no facts: bits of clauses, and names that are known and usual.
BITS, USUAL = "bits", "usual"


def packed(facts: Facts) -> dict[str, Any]:
    """What is kept of the facts. ``usual``: 1 = the body was read, 0 = there was none; else the names of its facts
    that were known."""
    known = record(facts)
    usual = _USUAL if known["body_bytes"] is not None else _WITHOUT_BODY
    kept: dict[str, Any] = {
        name: value
        for name, value in known.items()
        if name not in _ELSEWHERE and (name == BITS or value != usual[name])
    }
    if usual is _WITHOUT_BODY:
        kept[USUAL] = 0
    elif _OF_BODY[-1] in known and _OF_BODY[0] in known:
        kept[USUAL] = 1
    elif of_body := [name for name in _OF_BODY if name in known and name not in kept]:
        kept[USUAL] = of_body
    return kept


def unpacked(kept: Mapping[str, Any], operation: str, model: str) -> dict[str, Any]:
    """The record of ``facts.record`` again."""
    mark = kept.get(USUAL, ())
    names = (*_PLAIN, *(_OF_BODY if mark in (0, 1) else mark))
    usual = _WITHOUT_BODY if mark == 0 else _USUAL
    known: dict[str, Any] = {"operation": operation} | {name: usual.get(name) for name in names}
    known |= {"model": model or None}
    return known | {name: value for name, value in kept.items() if name != USUAL}
