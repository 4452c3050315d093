"""The packed decision as a row keeps it: without what the row's own columns say already. No Django, no I/O.

``w`` names by letter what was left out, so that it is put back exactly; nothing is left out that a column holds cut.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from history.ids import milliseconds

if TYPE_CHECKING:
    from collections.abc import Mapping

    from history.models import RouteHistory
    from history.records import Finished

LEFT_OUT: Final = "w"
#: Longer texts may be cut in their columns.
_LENGTH: Final = 128


def kept(record: Finished) -> dict[str, Any]:
    """What is stored of the record's decision; {} when none was made."""
    packed = record.decision
    if not packed:
        return {}
    stored = packed.copy()
    left = ""
    value: str | bool | float
    for letter, value in (("o", record.operation), ("m", record.requested_model), ("c", record.source)):
        if value and stored.get(letter) == value and _whole(value):
            del stored[letter]
            left += letter
    facts = stored.get("f")
    if isinstance(facts, dict):
        stored["f"] = facts = facts.copy()
        for letter, name, value in (
            ("k", "key.name", record.key_name),
            ("i", "client_ip", record.client_ip),
            ("s", "stream", record.stream),
            ("t", "time", milliseconds(record.id) / 1000),
        ):
            if value and facts.get(name) == value and _whole(value):
                del facts[name]
                left += letter
    if left:
        stored[LEFT_OUT] = left
    return stored


def decision_of(route: RouteHistory) -> dict[str, Any]:
    """The decision as ``routes.engine.explain`` packed it; {} when none was made. No query."""
    stored = route.routing_decision or {}
    left = stored.get(LEFT_OUT, "")
    packed = {name: value for name, value in stored.items() if name != LEFT_OUT}
    source: Mapping[str, Any] = route.source_info
    of_decision = {"o": source.get("operation"), "m": route.requested_model, "c": route.source}
    packed |= {letter: value for letter, value in of_decision.items() if letter in left}
    of_facts = {
        "k": ("key.name", route.access_key),
        "i": ("client_ip", source.get("client_ip")),
        "s": ("stream", True),
        "t": ("time", milliseconds(route.id) / 1000),
    }
    if found := dict(pair for letter, pair in of_facts.items() if letter in left):
        packed["f"] = packed["f"] | found
    return packed


def _whole(value: Any) -> bool:
    return not isinstance(value, str) or (len(value) <= _LENGTH and "\x00" not in value)
