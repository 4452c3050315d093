"""Facts that somebody states instead of a request: the decisions API's ``facts``, explain's overrides. Pure."""

from __future__ import annotations

from datetime import UTC, datetime
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any, Final

from routes.engine.facts.catalogue import find
from routes.engine.facts.scenario import normalise

if TYPE_CHECKING:
    from routes.engine.facts.catalogue import FactSpec

#: The last second that every time zone can show.
_LATEST: Final = 253_402_000_000.0
_LARGEST: Final = 1e15
_MAX_FACTS: Final = 200
#: Characters of what is kept with a record, and entries of a set; texts, headers and metadata are never kept.
_MAX_KEPT: Final = 1_000
_MAX_ENTRIES: Final = 100


def fits(spec: FactSpec, value: Any) -> bool:
    """Whether ``value`` has the type this fact has in JSON. Sets and partitions aside."""
    match spec.kind:
        case "flag":
            return type(value) is bool
        case "number":
            return type(value) in (int, float) and 0 <= value <= _LARGEST
        case "time":
            return type(value) in (int, float) and 0 <= value <= _LATEST
    return type(value) is str


def check_given(given: Any, path: str = "facts") -> tuple[dict[str, Any], list[tuple[str, str]]]:
    """(facts in the types the engine uses, errors as (path, message)). Null states that a fact is absent."""
    if type(given) is not dict:
        return {}, [(path, "must be an object of facts by name")]
    if len(given) > _MAX_FACTS:
        return {}, [(path, f"must not have more than {_MAX_FACTS} facts")]
    found: dict[str, Any] = {}
    errors: list[tuple[str, str]] = []
    for name, value in given.items():
        spec = find(name) if type(name) is str else None
        if spec is None:
            errors.append((f"{path}.{name}", "there is no such fact"))
        elif spec.kind == "partition":
            errors.append((f"{path}.{name}", "comes from the targets and cannot be given"))
        else:
            try:
                found[_full_name(spec, name)] = _convert(spec, value)
            except ValueError as error:
                errors.append((f"{path}.{name}", str(error)))
    return found, errors


def _full_name(spec: FactSpec, name: str) -> str:
    _require_text(name)
    return name.lower() if spec.name == "header.<name>" else name


def _convert(spec: FactSpec, value: Any) -> Any:
    """Raises ValueError with what it must be."""
    if spec.kind == "set":
        return frozenset() if value is None else _set(value)
    if value is None:
        return None
    if spec.kind == "time" and type(value) is str:
        return _moment(value)
    if not fits(spec, value):
        raise ValueError(f"must be {_MUST_BE[spec.kind]}")
    if type(value) is str:
        _require_text(value)
        if len(value) > _MAX_KEPT and not spec.secretive:
            raise ValueError(f"must not be longer than {_MAX_KEPT} characters")
        if spec.kind == "network":
            ip_address(value)  # its message names the value
        if spec.choices:
            known = normalise(value) if spec.name == "scenario" else value
            if known not in spec.choices:
                raise ValueError(f"must be one of {', '.join(spec.choices)}")
            return known
    return value


_MUST_BE: Final = {
    "string": "a string",
    "text": "a string",
    "flag": "true or false",
    "number": "a number, not below 0",
    "network": "an address",
    "time": "a moment: ISO 8601, or seconds since 1970",
}


def _set(value: Any) -> frozenset[str]:
    if type(value) is not list or not all(type(entry) is str for entry in value):
        raise ValueError("must be a list of strings")
    if len(value) > _MAX_ENTRIES or sum(map(len, value)) > _MAX_KEPT:
        raise ValueError(f"must not have more than {_MAX_ENTRIES} entries or {_MAX_KEPT} characters in all")
    for entry in value:
        _require_text(entry)
    return frozenset(value)


def _require_text(value: str) -> None:
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ValueError("must be valid text") from None


def _moment(value: str) -> float:
    try:
        moment = datetime.fromisoformat(value)
        seconds = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        seconds = -1.0
    if not 0 <= seconds <= _LATEST:
        raise ValueError(f"must be {_MUST_BE['time']}")
    return seconds
