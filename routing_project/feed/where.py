"""Which events a watcher wants: fields, and the values each may have. A value of bounded size: equal filters share
their work, however they were written.

Names, operators and words are those of the history's list (``history.filters``), as far as a row in hand can be judged
by them cheaply; the history cannot be imported here, a test holds the two together.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple
from uuid import UUID

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

MAX_VALUE: Final = 256
MAX_VALUES: Final = 100
#: ``status=failures``: what the History page calls any failure.
FAILURES: Final = "failures"
FAILURE_STATUSES: Final = ("failed", "timeout", "rejected", "interrupted")
STATUSES: Final = ("routed", *FAILURE_STATUSES, "cancelled", "decided")
ROUTE_TYPES: Final = ("session", "service", "inference")
#: A session's own name or ours.
SESSION: Final = "session"

Value = str | bool


class BadFilter(ValueError):
    """``field`` is what is wrong with the filter."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field}: {message}")
        self.field = field
        self.message = message


class Field(NamedTuple):
    """``read`` says which values of an event a given one stands for; raises ValueError. ``listed``: ``__in`` works.
    ``word`` alone, in no list, stands for several."""

    read: Callable[[Any], tuple[Value, ...]]
    listed: bool = True
    word: tuple[str, tuple[Value, ...]] | None = None


def _text(value: Any) -> tuple[Value, ...]:
    if not isinstance(value, str) or not 0 < len(value) <= MAX_VALUE:
        raise ValueError(f"must be text of 1 to {MAX_VALUE} characters")
    return (value,)


def _uuid(value: Any) -> tuple[Value, ...]:
    try:
        return (str(UUID(value)),)
    except (ValueError, TypeError, AttributeError):
        raise ValueError("must be a UUID") from None


def _session(value: Any) -> tuple[Value, ...]:
    named = _text(value)
    try:
        return named + _uuid(value)
    except ValueError:
        return named


def _status(value: Any) -> tuple[Value, ...]:
    return _one_of(value, STATUSES)


def _route_type(value: Any) -> tuple[Value, ...]:
    return _one_of(value, ROUTE_TYPES)


def _one_of(value: Any, choices: tuple[str, ...]) -> tuple[Value, ...]:
    if value not in choices:
        raise ValueError(f"must be one of {', '.join(choices)}")
    return (value,)


def _boolean(value: Any) -> tuple[Value, ...]:
    known = {"1": True, "true": True, "0": False, "false": False}
    if isinstance(value, bool):
        return (value,)
    if str(value).lower() not in known:
        raise ValueError("must be true or false")
    return (known[str(value).lower()],)


Fields = dict[str, Field]
ROUTE_FIELDS: Final[Fields] = {
    **dict.fromkeys(("profile", "provider", "model", "requested_model", "strategy", "source", "rule"), Field(_text)),
    **dict.fromkeys(("error_code", "access_key", "session_key"), Field(_text)),
    "session_id": Field(_uuid),
    SESSION: Field(_session),
    "status": Field(_status, word=(FAILURES, FAILURE_STATUSES)),
    "route_type": Field(_route_type),
    **dict.fromkeys(("recovered", "degraded"), Field(_boolean, listed=False)),
}
HEAD_FIELDS: Final[Fields] = dict.fromkeys(("event", "head_id", "provider", "region", "status"), Field(_text))


class Where(NamedTuple):
    """All of these must hold: a field, and what it may be; one of each field, by name. None = everything."""

    conditions: tuple[tuple[str, frozenset[Value]], ...] = ()

    @classmethod
    def parse(cls, given: Mapping[str, Any], fields: Fields = ROUTE_FIELDS) -> Where:
        """``field`` or ``field__in``; lists are JSON's or commas'. Raises BadFilter."""
        where = cls()
        for parameter, value in given.items():
            name, _, operator = parameter.partition("__")
            field = fields.get(name)
            if field is None:
                raise BadFilter(parameter, f"cannot be filtered by; only {', '.join(sorted(fields))} can be")
            try:
                where = where.also(name, _values(field, operator, value))
            except ValueError as error:
                raise BadFilter(parameter, str(error)) from None
        return where

    def also(self, name: str, values: frozenset[Value]) -> Where:
        """With another condition. One more on the same field narrows it, to nothing if it must."""
        found = dict(self.conditions)
        found[name] = found.get(name, values) & values
        return Where(tuple(sorted(found.items(), key=lambda condition: condition[0])))

    def matches(self, event: Mapping[str, Any]) -> bool:
        return all(
            not values.isdisjoint((event.get("session_id"), event.get("session_key")))
            if name == SESSION
            else event.get(name) in values
            for name, values in self.conditions
        )


def _values(field: Field, operator: str, value: Any) -> frozenset[Value]:
    if operator in ("", "eq"):
        return frozenset(field.word[1] if field.word and value == field.word[0] else field.read(value))
    if operator != "in" or not field.listed:
        raise ValueError(f"knows {'eq and in' if field.listed else 'eq'}, not {operator!r}")
    parts = value.split(",") if isinstance(value, str) else value
    if not isinstance(parts, list) or not 0 < len(parts) <= MAX_VALUES:
        raise ValueError(f"must be a list of 1 to {MAX_VALUES} values")
    return frozenset(meant for part in parts for meant in field.read(part))


EVERYTHING: Final = Where()
