"""``/api/v1/heads/``: register, list, report, approve, leave. Translates between HTTP and ``service``.

The heartbeat's view authenticates by the overlay and is throttled in memory: between a head's bearer key and the live
state there is no query.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.db import InterfaceError, OperationalError
from drf_spectacular.utils import extend_schema
from rest_framework import status
from rest_framework.exceptions import ValidationError
from rest_framework.response import Response
from rest_framework.views import APIView

from health.heads import actions, render, schema
from health.heads.auth import KnownBearer
from health.heads.documents import HeadRegistration, HeadStatus, HeadsWanted, NamedHead
from health.heads.errors import Flooded, HeadsError, Unknowable
from health.heads.service import REST_SECONDS, desk
from health.heads.store import wanted_rows
from routes.api import errors
from routes.api.auth import BrowserAuthentication, actor_of
from routes.api.openapi import json_body, reference
from routes.api.pagination import CursorPages
from routes.api.permissions import OperateScope
from routes.api.resources import parse_body, parse_tree

if TYPE_CHECKING:
    from rest_framework.request import Request


class ByHeadId(CursorPages):
    ordering = "head_id"


def problem(exc: Exception) -> Response | None:
    """What is not refused but not possible now, as an answer."""
    if isinstance(exc, (OperationalError, InterfaceError)):
        exc = Unknowable("the database is away; try again in a moment", REST_SECONDS)
    if not isinstance(exc, HeadsError):
        return None
    flooded = isinstance(exc, Flooded)
    code = status.HTTP_429_TOO_MANY_REQUESTS if flooded else status.HTTP_503_SERVICE_UNAVAILABLE
    retry = {"Retry-After": str(int(exc.retry_after))}
    return Response(errors.document(exc.code, exc.message), status=code, headers=retry)


class HeadsView(APIView):
    permission_classes = (OperateScope,)

    def handle_exception(self, exc: Exception) -> Response:
        return problem(exc) or super().handle_exception(exc)


class HeadListView(HeadsView):
    @extend_schema(
        operation_id="heads_list",
        tags=["heads"],
        parameters=schema.LIST_PARAMETERS,
        responses={200: reference("HeadPage")},
        description="Registered heads by `head_id`, approved or not, online or not.",
    )
    def get(self, request: Request) -> Response:
        pages = ByHeadId()
        rows = pages.paginate_queryset(wanted_rows(_wanted(request)), request, view=self) or []
        return pages.get_paginated_response([render.document(row) for row in rows])

    @extend_schema(
        operation_id="heads_register",
        tags=["heads"],
        request=json_body("HeadRegistration", schema.REGISTRATION_EXAMPLE),
        responses={201: reference("HeadAnswer"), 200: reference("HeadAnswer")},
        description="Register a head, or register it again (200): what was said before is replaced, and a new "
        "generation begins. Takes traffic at once if its address is inside the provider's published `head_networks`, "
        "else after somebody approved it. Must be heard of again within `ttl` seconds.",
    )
    def post(self, request: Request) -> Response:
        answer = desk.register(parse_body(HeadRegistration, request), actor_of(request))
        return Response(answer.body, status=status.HTTP_201_CREATED if answer.created else status.HTTP_200_OK)


class HeadView(HeadsView):
    @extend_schema(
        operation_id="heads_retrieve",
        tags=["heads"],
        parameters=[schema.HEAD_ID],
        responses={200: reference("Head")},
        description="One head: what it registered as, and how it is now.",
    )
    def get(self, request: Request, head_id: str) -> Response:
        return Response(render.document(actions.find(head_id)))

    @extend_schema(
        operation_id="heads_deregister",
        tags=["heads"],
        parameters=[schema.HEAD_ID, schema.GENERATION],
        responses={204: None},
        description="Take a head out of every ranking at once. What it is answering is finished.",
    )
    def delete(self, request: Request, head_id: str) -> Response:
        desk.deregister(NamedHead.model_construct(head_id=head_id, generation=_generation(request)), actor_of(request))
        return Response(status=status.HTTP_204_NO_CONTENT)


class HeadStatusView(HeadsView):
    authentication_classes = (KnownBearer, BrowserAuthentication)
    throttle_classes = ()  # ``desk`` throttles, without the database

    @extend_schema(
        operation_id="heads_report",
        auth=schema.AUTH,
        tags=["heads"],
        parameters=[schema.HEAD_ID],
        request=json_body("HeadStatus", schema.STATUS_EXAMPLE),
        responses={200: reference("HeadAnswer")},
        description="A heartbeat: alive for another `ttl` seconds, under this load. `draining` = no new sessions. A "
        "`generation` that is not the current one gives 409, an unknown head 404: register.",
    )
    def patch(self, request: Request, head_id: str) -> Response:
        return Response(desk.update(head_id, parse_body(HeadStatus, request), actor_of(request)).body)


class ApproveView(HeadsView):
    @extend_schema(
        operation_id="heads_approve",
        tags=["heads"],
        parameters=[schema.HEAD_ID],
        request=None,
        responses={200: reference("Head")},
        description="Let a head whose address is outside the provider's `head_networks` take traffic.",
    )
    def post(self, request: Request, head_id: str) -> Response:
        return Response(render.document(actions.approve(head_id, actor=actor_of(request))))


def _wanted(request: Request) -> HeadsWanted:
    """Raises Invalid and ValidationError."""
    asked = request.query_params
    given: dict[str, Any] = {name: asked[name] for name in ("provider", "approved") if name in asked}
    if "approved" in given:
        if given["approved"] not in {"true", "false"}:
            raise ValidationError({"approved": ["must be true or false"]})
        given["approved"] = given["approved"] == "true"
    return parse_tree(HeadsWanted, given)


def _generation(request: Request) -> int | None:
    text = request.query_params.get("generation")
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= 16):
        raise ValidationError({"generation": ["must be the number that registration answered"]})
    return int(text)
