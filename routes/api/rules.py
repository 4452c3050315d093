"""Smart rules over REST: the document's fields, and beside them profile, place, the sentence of the condition and how
often the rule matched. Everything is decided by ``routes.actions``."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any
from uuid import UUID

from django.db.models import CharField, Value
from django.db.models.functions import Cast, Concat, LPad
from drf_spectacular.utils import OpenApiParameter, extend_schema, extend_schema_view
from rest_framework import status
from rest_framework.exceptions import NotFound
from rest_framework.response import Response

from routes import actions, draft
from routes.actions.errors import Invalid
from routes.api.auth import actor_of
from routes.api.pagination import CursorPages
from routes.api.resources import ResourceViewSet, body_of, etag, meta
from routes.api.schema import describes
from routes.document.condition import sentence
from routes.models import Profile, Rule
from routes.ports import rule_traffic

if TYPE_CHECKING:
    from collections.abc import Mapping

    from django.db.models import QuerySet
    from rest_framework.request import Request

    from routes.ports import RuleTraffic

#: Digits of a position in the order of the list.
DIGITS = 5
PROFILE = OpenApiParameter("profile", str, description="The profile of the rules: its slug or id. Names need it.")


class InOrder(CursorPages):
    ordering = "place"


@extend_schema_view(**describes("Rule", "rule", new="RuleCreate", within=PROFILE))
@extend_schema(tags=["rules"])
class RuleViewSet(ResourceViewSet):
    """Smart rules of the draft, in the order in which they are asked, profile by profile. A rule's version counts what
    the rule says; its profile's version counts every change of its rules, their order too."""

    noun = "rule"
    pagination_class = InOrder
    read_only = ResourceViewSet.read_only | {"profile", "sentence", "matched_24h", "last_matched"}

    def rows(self) -> QuerySet[Rule]:
        """By one key, so that pages need no offset: the profile, then the place in it."""
        place = Concat(
            "profile__slug",
            Cast("profile_id", CharField()),
            LPad(Cast("position", CharField()), DIGITS, Value("0")),
            output_field=CharField(),
        )
        rows = draft.rules_with_targets().select_related("profile").annotate(place=place)
        wanted = self.request.query_params.get("profile")
        if wanted is None:
            return rows
        profile = find_profile(wanted)
        return rows.filter(profile=profile) if profile else rows.none()

    def find(self, key: str) -> Rule:
        """By id; by name with the parameter ``profile``. Raises NotFound."""
        try:
            row = self.rows().filter(pk=UUID(key)).first()
        except ValueError:
            named = "\x00" not in key and "profile" in self.request.query_params
            row = self.rows().filter(name=key).first() if named else None
        if row is None:
            raise NotFound("there is no rule of this id")
        return row

    @cached_property
    def traffic(self) -> Mapping[tuple[str, str], RuleTraffic]:
        """Asked once per request."""
        return rule_traffic()

    def represent(self, row: Rule) -> dict[str, Any]:
        traffic = self.traffic.get((row.profile.slug, row.name))
        return {
            **meta(row),
            "profile": row.profile.slug,
            "position": row.position,
            **draft.rule_tree(row),
            "sentence": sentence(row.when),
            "matched_24h": traffic.matched if traffic else 0,
            "last_matched": traffic.last.isoformat() if traffic else None,
        }

    def create(self, request: Request) -> Response:
        data = dict(body_of(request))
        profile = data.pop("profile", None)
        row = find_profile(profile) if isinstance(profile, str) else None
        if row is None:
            raise Invalid.from_errors([("profile", "required" if profile is None else "there is no such profile")])
        rule = actions.create_rule(row, data, actor=actor_of(request), position=data.pop("position", None))
        return Response(self.represent(rule), status=status.HTTP_201_CREATED, headers=etag(rule))

    def perform_update(self, row: Rule, changes: dict[str, Any], version: int | None, request: Request) -> Rule:
        if "position" in changes and changes["position"] is None:
            raise Invalid.from_errors([("position", "must be a whole number from 0")])
        position = changes.pop("position", None)
        return actions.update_rule(row, changes, actor=actor_of(request), version=version, position=position)

    def perform_delete(self, row: Rule, version: int | None, request: Request) -> None:
        actions.delete_rule(row, actor=actor_of(request), version=version)


def find_profile(key: str) -> Profile | None:
    """By slug or id."""
    if "\x00" in key:
        return None
    try:
        return Profile.objects.filter(pk=UUID(key)).first()
    except ValueError:
        return Profile.objects.filter(slug=key).first()
