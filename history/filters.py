"""Filters of the history: from query parameters or a JSON tree to one condition on ``RouteHistory``.

``field=``, ``field__ne= __in= __contains= __startswith= __gt= __lt=``, and ``filter=`` with groups
``{"all"|"any": [...]}``, ``{"not": {...}}`` of ``{"field", "op", "value"}``. Fields are a closed list; anything else
is refused by name. Says whether an index narrows the search; if none does, a time range must.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from uuid import UUID

from django.db.models import Q

from history.errors import BadQuery
from history.models import RouteStatus, RouteType

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

MAX_VALUES: Final = 100
#: No column is longer, and SQLite refuses to look for texts of some ten thousand characters.
MAX_TEXT: Final = 2000
MAX_DEPTH: Final = 8
MAX_CONDITIONS: Final = 50


def _text(value: Any) -> str:
    if not isinstance(value, str) or "\x00" in value or any("\ud800" <= letter <= "\udfff" for letter in value):
        raise ValueError("must be text")
    if len(value) > MAX_TEXT:
        raise ValueError(f"is longer than {MAX_TEXT} characters")
    return value


def _integer(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise ValueError("must be a whole number")
    try:
        number = int(value)
    except ValueError:
        raise ValueError("must be a whole number") from None
    if abs(number) >= 2**63:
        raise ValueError("is out of range")
    return number


def _boolean(value: Any) -> bool:
    known = {"1": True, "true": True, "0": False, "false": False}
    if isinstance(value, bool):
        return value
    if str(value).lower() not in known:
        raise ValueError("must be true or false")
    return known[str(value).lower()]


def _uuid(value: Any) -> UUID:
    try:
        return UUID(_text(value))
    except ValueError:
        raise ValueError("must be a UUID") from None


def _one_of(choices: Sequence[str]) -> Callable[[Any], str]:
    def parse(value: Any) -> str:
        if value not in choices:
            raise ValueError(f"must be one of {', '.join(choices)}")
        return str(value)

    return parse


class Field(NamedTuple):
    parse: Callable[[Any], Any]
    operators: frozenset[str]
    indexed: bool = False  # equality on it finds rows without reading others


_EQUALITY: Final = frozenset({"eq", "ne", "in"})
_TEXT: Final = _EQUALITY | {"contains", "startswith"}
_NUMBER: Final = _EQUALITY | {"gt", "lt"}

NUMBERS: Final = (
    *("http_status", "latency_ms", "selection_us", "ttfb_ms", "attempt_count"),
    *("input_tokens", "output_tokens", "cached_tokens", "cost_micro_usd", "revision"),
)
FIELDS: Final[dict[str, Field]] = {
    "id": Field(_uuid, _EQUALITY, indexed=True),
    "route_id": Field(_uuid, _EQUALITY),
    "endpoint_id": Field(_uuid, _EQUALITY),
    "session_id": Field(_uuid, _EQUALITY, indexed=True),
    "session_key": Field(_text, _TEXT),
    "profile": Field(_text, _TEXT, indexed=True),
    "provider": Field(_text, _TEXT, indexed=True),
    "access_key": Field(_text, _TEXT, indexed=True),
    "error_code": Field(_text, _TEXT, indexed=True),
    "status": Field(_one_of(RouteStatus.values), _EQUALITY),
    "route_type": Field(_one_of(RouteType.values), _EQUALITY),
    "model": Field(_text, _TEXT),
    "requested_model": Field(_text, _TEXT),
    "strategy": Field(_text, _TEXT),
    "source": Field(_text, _TEXT),
    "rule": Field(_text, _TEXT),
    "message": Field(_text, _TEXT),
    "recovered": Field(_boolean, frozenset({"eq", "ne"})),
    "degraded": Field(_boolean, frozenset({"eq", "ne"})),
    **{name: Field(_integer, _NUMBER) for name in NUMBERS},
}
#: ``session=`` finds a session by either of its names.
SESSION: Final = "session"


class Filters(NamedTuple):
    """A condition, and whether an index finds its rows (else the search needs a time range)."""

    condition: Q
    indexed: bool
    empty: bool

    def __and__(self, other: Filters) -> Filters:
        return Filters(self.condition & other.condition, self.indexed or other.indexed, self.empty and other.empty)


NOTHING: Final = Filters(Q(), indexed=False, empty=True)


def from_parameters(parameters: Mapping[str, str]) -> Filters:
    """All of ``parameters``; raises BadQuery for one it does not know."""
    found = NOTHING
    for name, value in parameters.items():
        if name == "filter":
            found &= from_tree(value)
            continue
        field, _, operator = name.partition("__")
        operator = operator or "eq"
        wanted: Any = value
        if operator == "in":
            wanted = value.split(",")
            if "" in wanted:
                # An empty list is a mistake more often than a question for rows without a value.
                raise BadQuery(name, f"has an empty value; to find rows without one use '{field}='")
        found &= _condition(field, operator, wanted, name)
    return found


def from_tree(text: str) -> Filters:
    """The ``filter=`` parameter."""
    try:
        tree = json.loads(text)
    except (ValueError, RecursionError):
        raise BadQuery("filter", "is not valid JSON") from None
    budget = [MAX_CONDITIONS]
    return _group(tree, 0, budget)


def _group(tree: Any, depth: int, budget: list[int]) -> Filters:
    if depth > MAX_DEPTH:
        raise BadQuery("filter", f"is nested deeper than {MAX_DEPTH}")
    if not isinstance(tree, dict):
        raise BadQuery("filter", "must be an object with all, any, not, or field")
    if tree.keys() <= {"field", "op", "value"} and {"field", "value"} <= tree.keys():
        budget[0] -= 1
        if budget[0] < 0:
            raise BadQuery("filter", f"has more than {MAX_CONDITIONS} conditions")
        return _condition(str(tree["field"]), str(tree.get("op", "eq")), tree["value"], "filter")
    if len(tree) != 1:
        raise BadQuery("filter", "a group has exactly one of all, any, not")
    ((kind, parts),) = tree.items()
    if kind == "not":
        inner = _group(parts, depth + 1, budget)
        return Filters(~inner.condition, indexed=False, empty=False)
    if kind not in {"all", "any"} or not isinstance(parts, list) or not parts:
        raise BadQuery("filter", "a group is all or any with a list, or not with a condition")
    groups = [_group(part, depth + 1, budget) for part in parts]
    condition = Q()
    for group in groups:
        condition = condition & group.condition if kind == "all" else condition | group.condition
    indexed = any(g.indexed for g in groups) if kind == "all" else all(g.indexed for g in groups)
    return Filters(condition, indexed, empty=False)


def _condition(name: str, operator: str, value: Any, parameter: str) -> Filters:
    if name == SESSION:
        name = "session_id" if _is_uuid(value) else "session_key"
    field = FIELDS.get(name)
    if field is None:
        raise BadQuery(parameter, f"there is no field '{name}' to filter by")
    if operator not in field.operators:
        raise BadQuery(parameter, f"'{name}' knows {', '.join(sorted(field.operators))}, not '{operator}'")
    try:
        if operator == "in":
            if not isinstance(value, list) or not 0 < len(value) <= MAX_VALUES:
                raise ValueError(f"must be a list of 1 to {MAX_VALUES} values")
            parsed: Any = [field.parse(part) for part in value]
        else:
            parsed = field.parse(value)
    except ValueError as error:
        raise BadQuery(parameter, str(error)) from None
    lookup = {"eq": name, "ne": name}.get(operator, f"{name}__{operator}")
    condition = Q(**{lookup: parsed})
    if operator == "ne":
        # SQL leaves out rows without a value; a person asking for "not x" means them too.
        return Filters(~condition, indexed=False, empty=False)
    indexed = field.indexed and operator in {"eq", "in"}
    if name == "status" and operator in {"eq", "in"} and RouteStatus.ROUTED not in (parsed, *_listed(parsed)):
        # Spelled out, so that the partial index of everything but the successes is used.
        condition &= ~Q(status=RouteStatus.ROUTED)
        indexed = True
    if name == "recovered" and parsed is True:
        indexed = True
    return Filters(condition, indexed, empty=False)


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _is_uuid(value: Any) -> bool:
    try:
        UUID(str(value))
    except ValueError:
        return False
    return True
