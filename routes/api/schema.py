"""OpenAPI 3.1 from the models that validate: pydantic's JSON Schema becomes the components, nothing is said twice.

Views refer to components by name (``reference``); ``add_components`` brings them in when the schema is made.
``AccessKeyPatch`` is ``AccessKey`` with nothing required, ``AccessKeyResource`` what is answered. Regenerate the
snapshot with ``python manage.py spectacular --file tests/control/openapi.yaml``.
"""

from __future__ import annotations

import copy
from typing import Any

from drf_spectacular.extensions import OpenApiAuthenticationExtension
from drf_spectacular.utils import OpenApiParameter, extend_schema
from pydantic.json_schema import models_json_schema

from routes import document
from routes.api import audit_schema, explain_schema
from routes.api.openapi import MAYBE_TEXT, MAYBE_TIME, NUMBER, TEMPLATE, TEXT, TIME, json_body, object_of, reference
from routes.document.acts import PublishRequest
from routes.document.condition import add_conditions
from routes.document.provider import PriceSection
from routes.document.user import User
from routes.explain.documents import ExplainRequest
from routes.roles import ROLES

IF_MATCH = OpenApiParameter(
    "If-Match", str, OpenApiParameter.HEADER, description="The `ETag` that was read; another version gives 412."
)
PAGE_PARAMETERS = [
    OpenApiParameter("cursor", str, description="From `next` or `previous`."),
    OpenApiParameter("limit", int, description="Rows a page, 1 to 1000; 50 by default."),
    OpenApiParameter("count", str, enum=["exact", "estimate"], description="Also count the rows."),
]
META = {
    "id": {**TEXT, "readOnly": True},
    "version": {**NUMBER, "readOnly": True, "description": "Also the `ETag`."},
    "created_at": {**TIME, "readOnly": True},
    "updated_at": {**TIME, "readOnly": True},
}
PIN = {
    **dict.fromkeys(("profile", "target", "provider", "session"), TEXT),
    "model": {**MAYBE_TEXT, "description": "As configured; null = what the client asks for."},
    "kind": {"enum": ["session", "response"]},
    "pinned_at": TIME,
    "expires_at": TIME,
}
ADMIN_STATE = {
    "state": {"enum": ["active", "draining", "disabled"]},
    "until": {"anyOf": [TIME, {"type": "null"}]},
    "reason": TEXT,
    "by": TEXT,
}
USAGE = {
    "requests_last_minute": {**NUMBER, "description": "That were let in."},
    "tokens_last_minute": {**NUMBER, "description": "Used, and reserved by requests under way."},
    "in_flight": {**NUMBER, "description": "Requests under way."},
    "usd_day": {"type": "number", "description": "USD spent since 00:00 UTC."},
    "usd_week": {"type": "number", "description": "USD spent since Monday, 00:00 UTC."},
    "usd_month": {"type": "number", "description": "USD spent since the 1st, 00:00 UTC."},
}
#: Fields that an answer has beside the document's.
EXTRA: dict[str, dict[str, Any]] = {
    "Provider": {
        "credential_last4": {**TEXT, "readOnly": True},
        "admin_state": {"type": "object", "readOnly": True, "properties": ADMIN_STATE},
    },
    "Profile": {},
    "Rule": {
        "profile": {**TEXT, "description": "Slug of the profile; given when a rule is added, then it stays."},
        "position": {**NUMBER, "minimum": 0, "description": "Place among the profile's rules, from 0; last if absent."},
        "sentence": {**TEXT, "readOnly": True, "description": "The condition in words."},
        "matched_24h": {**NUMBER, "readOnly": True, "description": "Requests it matched in the last 24 hours."},
        "last_matched": {
            "anyOf": [TIME, {"type": "null"}],
            "readOnly": True,
            "description": "Null when that was not in the last 24 hours.",
        },
    },
    "AccessKey": {
        "prefix": {**TEXT, "readOnly": True},
        "last4": {**TEXT, "readOnly": True},
        "usage": {
            "type": ["object", "null"],
            "readOnly": True,
            "description": (
                "What the key has used, as this host counts it, with what other hosts on the same Redis have told it. "
                "Only keys with a limit are counted, and money only of keys with a budget; all else is 0. Null when "
                "the live state of the host cannot be read."
            ),
            "required": list(USAGE),
            "properties": USAGE,
            "examples": [
                {
                    "requests_last_minute": 12,
                    "tokens_last_minute": 8100,
                    "in_flight": 3,
                    "usd_day": 1.2,
                    "usd_week": 6.85,
                    "usd_month": 20.031,
                }
            ],
        },
    },
    "Policy": {},
    "Prices": {},
    "User": {"last_login": {**MAYBE_TIME, "readOnly": True}},
}
#: What of a person is null for callers without the scope ``admin``, but for the person itself.
PERSONAL = ("email", "first_name", "last_name")
PERSON = {
    "id": "4",
    "version": 198134873109211,
    "created_at": "2026-11-02T09:12:44.120000+00:00",
    "username": "grace",
    "email": "grace@example.com",
    "first_name": "Grace",
    "last_name": "Hopper",
    "roles": ["Operator"],
    "is_active": True,
    "is_superuser": False,
    "last_login": "2026-11-20T07:55:01Z",
}


def describes(
    name: str,
    noun: str,
    new: str = "",
    within: OpenApiParameter | None = None,
    refused: str = "and `used_by` while something needs it",
) -> dict[str, Any]:
    """The five operations of a configuration resource, for ``extend_schema_view``. ``new``: what a POST takes;
    ``within``: a parameter that lists are filtered by and names need, where they are not unique by themselves;
    ``refused``: when deleting one is."""
    resource = reference(f"{name}Resource")
    one = [OpenApiParameter("id", str, OpenApiParameter.PATH, description="The id, or the slug or name.")]
    some = PAGE_PARAMETERS
    if within is not None:
        one, some = [*one, within], [within, *some]
    return {
        "list": extend_schema(parameters=some, responses={200: resource}),
        "retrieve": extend_schema(parameters=one, responses={200: resource}),
        "create": extend_schema(
            request=json_body(new or name), responses={201: resource}, description=f"Add a new {noun}."
        ),
        "partial_update": extend_schema(
            parameters=[*one, IF_MATCH],
            request=json_body(f"{name}Patch"),
            responses={200: resource},
            description="Objects with fixed fields are merged; lists and maps are replaced whole.",
        ),
        "destroy": extend_schema(
            parameters=[*one, IF_MATCH],
            responses={204: None},
            description=f"Refused with 409 {refused}.",
        ),
    }


def components() -> dict[str, Any]:
    """Every component that our views refer to."""
    models: dict[str, Any] = {
        "Provider": document.Provider,
        "Profile": document.Profile,
        "Rule": document.Rule,
        "AccessKey": document.AccessKey,
        "Policy": document.Policy,
        "Prices": PriceSection,
        "PublishRequest": PublishRequest,
        "ExplainRequest": ExplainRequest,
        "User": User,
    }
    _, tree = models_json_schema([(model, "validation") for model in models.values()], ref_template=TEMPLATE)
    found: dict[str, Any] = tree["$defs"]
    found["Prices"] = found.pop("PriceSection")
    add_conditions(found, TEMPLATE)
    for name, extra in EXTRA.items():
        base = found[name]
        found[f"{name}Patch"] = {**copy.deepcopy(base), "required": []}
        found[f"{name}Resource"] = {
            **copy.deepcopy(base),
            "properties": {**META, **base["properties"], **extra},
            "required": sorted({*META, *base["properties"], *extra} - {"value"}),
        }
    _describe_users(found)
    # Where a rule belongs is written too, but only over REST: in the document it is where it stands.
    placed = {name: EXTRA["Rule"][name] for name in ("profile", "position")}
    for name, required in (("RuleCreate", ["profile"]), ("RulePatch", [])):
        base = found["Rule"]
        found[name] = {
            **copy.deepcopy(base),
            "properties": {**placed, **base["properties"]},
            "required": [*required, *base["required"]] if required else [],
        }
    revision = {
        "number": NUMBER,
        "author": TEXT,
        "message": TEXT,
        "created_at": TIME,
        "rolled_back_to": {"type": ["integer", "null"]},
    }
    found["Revision"] = object_of(revision)
    finding = object_of({"code": TEXT, "path": TEXT, "message": TEXT})
    findings = {"type": "array", "items": finding, "description": "What is probably not meant; nothing is refused."}
    found["PublishedRevision"] = object_of({**revision, "findings": findings})
    found["Pin"] = object_of(PIN)
    found["PinPage"] = object_of(
        {"results": {"type": "array", "items": reference("Pin")}, "next": MAYBE_TEXT, "previous": MAYBE_TEXT}
    )
    found["Dropped"] = object_of({"deleted": NUMBER})
    found["RevisionDetail"] = object_of({**revision, "document": {"type": "object"}})
    change = {"path": TEXT, "sentence": TEXT, "before": {}, "after": {}}
    found["RevisionDiff"] = object_of(
        {
            "from": NUMBER,
            "to": {"anyOf": [NUMBER, {"const": "draft"}]},
            "changes": {"type": "array", "items": object_of(change)},
        }
    )
    found |= explain_schema.components()
    found |= audit_schema.components()
    error = {
        "code": TEXT,
        "message": TEXT,
        "fields": {"type": "object", "additionalProperties": {"type": "array", "items": TEXT}},
    }
    listed = object_of(error)
    listed["properties"] = {**error, "used_by": {"type": "array", "items": TEXT, "description": "With 409."}}
    found["Error"] = object_of({"error": listed})
    return found


def _describe_users(found: dict[str, Any]) -> None:
    """Accounts have no time of the last change, and their version is no count."""
    resource = found["UserResource"]
    properties = resource["properties"]
    del properties["updated_at"], properties["password"]
    properties["version"] = {**NUMBER, "readOnly": True, "description": "Stands for the content; also the `ETag`."}
    for name in PERSONAL:
        properties[name] = {"anyOf": [properties[name], {"type": "null"}], "description": "Null without `admin`."}
    properties["last_login"] = {**properties["last_login"], "description": "Null: never, or without `admin`."}
    resource["required"] = sorted(properties)
    resource["examples"] = [PERSON]
    written = ("username", "email", "first_name", "last_name", "roles")
    found["User"]["examples"] = [{**{name: PERSON[name] for name in written}, "password": "correct horse battery"}]
    found["User"]["required"] = ["username", "password"]
    found["UserPatch"]["examples"] = [{"roles": ["Viewer"]}, {"is_active": False}]
    role = {"name": TEXT, "scopes": {"type": "array", "items": TEXT}, "description": TEXT, "users": NUMBER}
    found["Role"] = object_of(role)
    found["RolePage"] = object_of(
        {
            "results": {"type": "array", "items": reference("Role")},
            "next": {"type": "null"},
            "previous": {"type": "null"},
        }
    )
    found["RolePage"]["examples"] = [
        {
            "results": [
                {"name": "Operator", "scopes": ["read", "operate"], "description": ROLES["Operator"], "users": 3}
            ],
            "next": None,
            "previous": None,
        }
    ]


def add_components(result: dict[str, Any], **_: Any) -> dict[str, Any]:
    """drf-spectacular's postprocessing hook: our components, and the error answer of every operation."""
    schemas = result.setdefault("components", {}).setdefault("schemas", {})
    schemas.update(components())
    result["components"]["schemas"] = dict(sorted(schemas.items()))
    refused = {"description": "Refused.", "content": {"application/json": {"schema": reference("Error")}}}
    for operations in result["paths"].values():
        for operation in operations.values():
            operation["responses"].setdefault("default", refused)
    return result


class BearerScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    target_class = "routes.api.auth.BearerAuthentication"
    name = "accessKey"

    def get_security_definition(self, auto_schema: Any) -> dict[str, Any]:
        return {"type": "http", "scheme": "bearer", "description": "An access key with the scope that is needed."}


class SessionScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    target_class = "routes.api.auth.BrowserAuthentication"
    name = "session"

    def get_security_definition(self, auto_schema: Any) -> dict[str, Any]:
        return {"type": "apiKey", "in": "cookie", "name": "sessionid", "description": "The admin's session."}
