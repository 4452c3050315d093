"""Questions to the audit log: filters and times as the API and the pages take them, read strictly.

Every filter has an index with the time behind it (``routes.models.audit``), so that a page costs what it shows,
whatever the size of the table. Searching by a part of a name has none, and looks at a bounded number of entries.
"""

from __future__ import annotations

from datetime import UTC, datetime
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any, Final

from django.utils.dateparse import parse_date, parse_datetime

from routes.actions.errors import Invalid
from routes.audit.chain import address
from routes.models import AuditEntry

if TYPE_CHECKING:
    from collections.abc import Mapping

    from django.db.models import QuerySet

#: What may be asked for, as it is and with ``__in``.
FILTERS: Final = (
    *("category", "action", "object_type", "object_id", "object_name"),
    *("actor_kind", "actor_id", "actor_name", "client_ip", "request_id"),
)
ACTOR_KINDS: Final = ("user", "key", "command", "system")
CHOICES: Final[dict[str, tuple[str, ...]]] = {
    "category": tuple(AuditEntry.Category.values),
    "actor_kind": ACTOR_KINDS,
}
MAX_VALUES: Final = 50
MAX_TEXT: Final = 200


def narrowed(asked: Mapping[str, str]) -> QuerySet[AuditEntry]:
    """The entries that a question finds, in no order: filters, ``from`` ≤ at < ``to``. Raises Invalid, which names
    every parameter that cannot be."""
    rows: QuerySet[AuditEntry] = AuditEntry.objects.all()
    errors: list[tuple[str, str]] = []
    for name, text in asked.items():
        try:
            rows = rows.filter(**_condition(name, text))
        except ValueError as error:
            errors.append((name, str(error)))
    if errors:
        raise Invalid.from_errors(errors)
    return rows


def _condition(name: str, text: str) -> dict[str, Any]:
    field, _, operator = name.partition("__")
    if name in {"from", "to"}:
        return {"at__gte" if name == "from" else "at__lt": moment_of(text)}
    if field not in FILTERS or operator not in {"", "in"}:
        raise ValueError("there is no such parameter")
    if operator == "":
        return {field: _value(field, text)}
    values = [_value(field, part) for part in text.split(",")]
    if len(values) > MAX_VALUES:
        raise ValueError(f"at most {MAX_VALUES} values")
    return {name: values}


def _value(field: str, text: str) -> str:
    if field in CHOICES and text not in CHOICES[field]:
        raise ValueError(f"must be one of {', '.join(CHOICES[field])}")
    if len(text) > MAX_TEXT or "\x00" in text:
        raise ValueError(f"at most {MAX_TEXT} characters, none of them NUL")
    if field == "client_ip":
        try:
            ip_address(text)
        except ValueError:
            raise ValueError("must be an IP address") from None
        return address(text) or ""
    return text


def moment_of(text: str) -> datetime:
    """ISO 8601; without zone = UTC; a date alone is its midnight. Raises ValueError."""
    text = text.strip().replace(" ", "+") if "T" in text else text.strip()  # a "+" in a URL arrives as a space
    try:
        found = parse_datetime(text)
        if found is None and (day := parse_date(text)) is not None:
            found = datetime(day.year, day.month, day.day, tzinfo=UTC)
        if found is not None:
            return found.astimezone(UTC) if found.tzinfo else found.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        pass
    raise ValueError("must be an ISO 8601 time such as 2026-11-20T08:00:00Z")
