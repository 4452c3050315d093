"""What the page of one request says of its copies: that they are kept and until when, and, asked by an admin, the text.

``change_view`` hands ``of`` to ``history/payload.html``. Showing is a POST to the page's own address, so that no link,
prefetch or reload reads what somebody wrote without being asked to.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

from history import payloads
from history.errors import PayloadNotKept
from routes.actions.actor import Actor
from routing_project.env import get_env

if TYPE_CHECKING:
    from datetime import datetime

    from django.http import HttpRequest

    from history.models import RouteHistory, RoutePayload

ADMIN = "routes.control_admin"
#: The button's name.
SHOW = "show_payload"


class Text(NamedTuple):
    """One of the two texts. ``indented``: it is JSON, laid out for reading."""

    title: str
    name: str
    content_type: str
    size: int | None
    text: str
    tail: str
    cut: bool
    indented: bool


class Section(NamedTuple):
    kept: bool
    policy: str  # what is kept of new requests
    until: datetime
    texts: tuple[Text, ...] = ()
    redactions: int = 0


def of(request: HttpRequest, route: RouteHistory) -> Section | None:
    """None for people who may not read copies: they are not told that there are any."""
    if not request.user.has_perm(ADMIN):
        return None
    policy, until = get_env().history_payloads, payloads.kept_until(route.id)
    if request.method != "POST" or SHOW not in request.POST:
        return Section(payloads.is_kept(route.id), policy, until)
    try:
        payload = payloads.read(route.id, actor=Actor.user(request.user, request))
    except PayloadNotKept:  # since the page was drawn
        return Section(False, policy, until)
    return Section(True, policy, until, _texts(payload), payload.redactions)


def _texts(payload: RoutePayload) -> tuple[Text, ...]:
    return tuple(
        _text(title, name, *(getattr(payload, f"{name}_{part}") for part in ("type", "size", "text", "tail", "cut")))
        for title, name in (("What the client sent", "request"), ("What it was answered", "response"))
    )


def _text(title: str, name: str, content_type: str, size: int | None, text: str, tail: str, cut: bool) -> Text:
    laid_out = "" if cut or "json" not in content_type else _indented(text)
    return Text(title, name, content_type, size, laid_out or text, tail, cut, bool(laid_out))


def _indented(text: str) -> str:
    try:
        value: Any = json.loads(text)
        return json.dumps(value, indent=2, ensure_ascii=False)
    except (ValueError, RecursionError):
        return ""
