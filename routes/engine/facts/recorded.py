"""What is kept of a request's facts, and facts read back from it. Pure.

Kept are the facts that are no words of the client's; of clauses on texts, headers and metadata (and on figures of
targets at that moment) only whether they held, under the digest of the clause. What was not kept is UNKNOWN: a
condition then says that it cannot tell, and never guesses.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Any, Final

from routes.engine.facts.body import TEXT_OPERATIONS
from routes.engine.facts.catalogue import CATALOGUE, FactSpec, find
from routes.engine.facts.given import fits

if TYPE_CHECKING:
    from collections.abc import Mapping

    from routes.engine.facts.live import Facts


class Unknown(Enum):
    """The only value of a fact that was not recorded."""

    UNKNOWN = "unknown"


UNKNOWN: Final = Unknown.UNKNOWN

_OF_BODY: Final = tuple((spec.name, spec.attribute) for spec in CATALOGUE if spec.from_body and not spec.secretive)
_ATTRIBUTES: Final = frozenset(attribute for _, attribute in _OF_BODY)


def record(facts: Facts, cheap: int = 0) -> dict[str, Any]:
    """JSON for ``routing_decision.facts``: facts by name (null = absent), the operation, and ``bits``.

    Facts of the body are kept when it was read for the decision, or is no larger than ``cheap`` bytes: reading it only
    for the record would cost more than the decision did.
    """
    kept: dict[str, Any] = {
        "operation": facts.operation,
        "model": facts.model,
        "region": facts.region,
        "key.name": facts.key_name,
        "tag": sorted(facts.tag),
        "key.tag": sorted(facts.key_tag),
        "stream": facts.stream,
        "body_bytes": facts.body_bytes,
        "percent": facts.percent,
        "client_ip": facts.client_ip,
        "time": facts.time,
    }
    values = facts.__dict__
    if facts.has_read_body or (facts.body_bytes or 0) <= cheap:
        for name, attribute in _OF_BODY:
            kept[name] = getattr(facts, attribute)
    elif not values.keys().isdisjoint(_ATTRIBUTES):  # some were given
        for name, attribute in _OF_BODY:
            if attribute in values:
                kept[name] = values[attribute]
    if facts.bits:
        kept["bits"] = {digest: held for digest, held in facts.bits.items() if held is not None}
    return kept


class RecordedFacts:
    """Facts read from a record; ``overrides`` (as ``check_given`` returned them) count instead of what it says."""

    __slots__ = ("_bits", "_overrides", "_record", "operation")

    def __init__(self, record: Mapping[str, Any], **overrides: Any) -> None:
        bits = record.get("bits")
        self._record = record
        self._overrides = overrides
        self._bits: Mapping[str, Any] = bits if isinstance(bits, dict) else {}
        operation = record.get("operation")
        self.operation: str | None = operation if isinstance(operation, str) else None

    @property
    def carries_text(self) -> bool | None:
        """None when the record does not say which operation it was."""
        return None if self.operation is None else self.operation in TEXT_OPERATIONS

    def get(self, name: str) -> Any:
        """The value, None when it was absent, UNKNOWN when it was not recorded."""
        if name in self._overrides:
            return self._overrides[name]
        spec = find(name)
        if spec is None or spec.secretive or name not in self._record:
            return UNKNOWN
        return _read(spec, self._record[name])

    def bit(self, digest: str) -> bool | None:
        """Whether the clause of that digest held when it was evaluated; None when it was not."""
        bit = self._bits.get(digest)
        return bit if isinstance(bit, bool) else None


def _read(spec: FactSpec, value: Any) -> Any:
    """A recorded value in the type that live facts have; what another version wrote in another type is UNKNOWN."""
    if spec.kind == "set":
        if isinstance(value, list) and all(isinstance(entry, str) for entry in value):
            return frozenset(value)
        return UNKNOWN
    return value if value is None or fits(spec, value) else UNKNOWN
