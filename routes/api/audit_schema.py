"""OpenAPI of the audit log: its parameters, an entry and a page of them, with an example. Imports only words."""

from __future__ import annotations

from typing import Any, Final

from drf_spectacular.utils import OpenApiParameter

from routes.api.openapi import LINK, NUMBER, TEXT, TIME, object_of, reference
from routes.audit.asked import ACTOR_KINDS, CHOICES, FILTERS, MAX_TEXT, MAX_VALUES
from routes.audit.chain import NOTHING
from routes.models import AuditEntry

ORDERS: Final = ("-at", "at")

_HASH: Final = {**TEXT, "pattern": "^[0-9a-f]{64}$"}
#: What a field is, as its filter and as a member of an entry.
MEANING: Final = {
    "category": "What kind of action it was.",
    "action": "What was done: `<object>.<verb>`.",
    "object_type": "What it was done to.",
    "object_id": "Its id; empty where there is only one.",
    "object_name": "Its name at that time.",
    "actor_kind": "A person, an access key, a command of the machine, or Signalbox itself.",
    "actor_id": "Id of the person or key.",
    "actor_name": "Their name at that time; of a command its name and account.",
    "client_ip": "Address of the client; null for commands and for Signalbox itself.",
    "request_id": "Id of the request that did it.",
}


def _schema(field: str) -> dict[str, Any]:
    if field in CHOICES:
        return {**TEXT, "enum": list(CHOICES[field])}
    return {**TEXT, "maxLength": MAX_TEXT, "pattern": "^[^\\x00]*$"}


def _filters(field: str) -> list[OpenApiParameter]:
    many = {"type": "array", "items": _schema(field), "minItems": 1, "maxItems": MAX_VALUES}
    return [
        OpenApiParameter(field, _schema(field), description=MEANING[field]),
        OpenApiParameter(f"{field}__in", many, description="One of these.", style="form", explode=False),
    ]


FILTER_PARAMETERS: Final = [
    *(parameter for field in FILTERS for parameter in _filters(field)),
    OpenApiParameter(
        "from", TIME, description="From this moment on. ISO 8601; without a zone it is UTC, a date is its midnight."
    ),
    OpenApiParameter("to", TIME, description="Before this moment."),
    OpenApiParameter("order", {**TEXT, "enum": list(ORDERS), "default": ORDERS[0]}, description="Descending with `-`."),
]

EXAMPLE: Final = {
    "id": 1,
    "at": "2026-11-20T14:02:10.120000Z",
    "category": "admin",
    "action": "provider.updated",
    "object_type": "provider",
    "object_id": "0198f6a2-5e0b-7c33-8f21-6b0d4a9c7e52",
    "object_name": "acme-eu",
    "actor_kind": "user",
    "actor_id": "1",
    "actor_name": "ada",
    "client_ip": "192.0.2.7",
    "request_id": "",
    "reason": "",
    "changes": {"weight": [1, 3], "credential": "changed"},
    "previous": NOTHING,
    "hash": "7e22940571f40afabbc255152163901b830a169777bc20d9c6913afc4c330921",
}


def components() -> dict[str, Any]:
    described = {field: {**TEXT, "description": MEANING[field]} for field in FILTERS}
    entry = object_of(
        {
            "id": {**NUMBER, "description": "One more than that of the entry before."},
            "at": {**TIME, "description": "UTC, with six decimals."},
            **described,
            "category": {**described["category"], "enum": list(AuditEntry.Category.values)},
            "actor_kind": {**described["actor_kind"], "enum": list(ACTOR_KINDS)},
            "client_ip": {"type": ["string", "null"], "description": MEANING["client_ip"]},
            "reason": {**TEXT, "description": "What the actor said of it."},
            "changes": {
                "type": "object",
                "description": "By field `[before, after]`, or what else there is to say. Secrets are `changed`.",
            },
            "previous": {**_HASH, "description": "Hash of the entry before; zeros in the first."},
            "hash": {
                **_HASH,
                "description": "SHA-256 of this object without `hash`, written as RFC 8785 says (docs/audit.md).",
            },
        }
    )
    count = {**NUMBER, "description": "With `count=exact` or `count=estimate`."}
    page = {"results": {"type": "array", "items": reference("AuditEntry")}, "next": LINK, "previous": LINK}
    return {"AuditEntry": {**entry, "examples": [EXAMPLE]}, "AuditPage": object_of(page, {"count": count})}
