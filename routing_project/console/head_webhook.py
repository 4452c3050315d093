"""``/webhook/head-status``: heads register, report and leave by signed messages, for those that hold a secret and no
access key. The body is the REST body with ``action`` (``update`` when it is left out) and ``head_id``. Needs no
database but for registering and leaving.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from rest_framework.response import Response

from health.heads.documents import HeadRegistration, HeadStatus, NamedHead, NamedHeadStatus
from health.heads.service import desk
from health.heads.views import problem
from routes.actions.actor import Actor
from routes.actions.errors import Invalid
from routes.api.resources import body_of, parse_tree
from routes.scopes import effective
from routing_project.console.webhooks import WebhookView

if TYPE_CHECKING:
    from rest_framework.request import Request


class HeadWebhook(WebhookView):
    """Whoever knows the secret may speak for any head, and approves none."""

    most_calls = 4800  # 400 heads behind one address, each every five seconds

    def handle_exception(self, exc: Exception) -> Response:
        return problem(exc) or super().handle_exception(exc)

    def post(self, request: Request) -> Response:
        body = dict(body_of(request))
        action = body.pop("action", "update")
        actor = replace(Actor.stranger(request._request), name="webhook", scopes=effective(["operate"]))
        if action == "register":
            return _answer("registered", desk.register(parse_tree(HeadRegistration, body), actor).body)
        if action == "update":
            named = parse_tree(NamedHeadStatus, body)
            said = HeadStatus.model_validate(named.model_dump(exclude={"head_id"}))
            return _answer("updated", desk.update(named.head_id, said, actor).body)
        if action == "deregister":
            named_head = parse_tree(NamedHead, body)
            desk.deregister(named_head, actor)
            return _answer("deregistered", {"head_id": named_head.head_id})
        raise Invalid.from_errors([("action", "must be register, update or deregister")])


def _answer(message: str, body: dict[str, Any]) -> Response:
    return Response({"success": True, "message": message, **body})
