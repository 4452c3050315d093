"""What the page of one request says of its copies: that they are kept and until when, and, asked by an admin, the text.

``change_view`` hands ``of`` to ``history/payload.html``. Showing is a POST to the page's own address, so that no link,
prefetch or reload reads what somebody wrote without being asked to.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

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
    """One of the two texts. ``indented``: it is JSON, laid out for reading; ``said``: the words of a stream."""

    title: str
    name: str
    content_type: str
    size: int | None
    text: str
    tail: str
    cut: bool
    indented: bool
    said: str


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
    said = " … ".join(filter(None, map(_said, (text, tail)))) if "event-stream" in content_type else ""
    return Text(title, name, content_type, size, laid_out or text, tail, cut, bool(laid_out), said)


def _indented(text: str) -> str:
    try:
        value: Any = json.loads(text)
        return json.dumps(value, indent=2, ensure_ascii=False)
    except (ValueError, RecursionError):
        return ""


def _said(events: str) -> str:
    """The words of a stream put together: of its first answer, whichever of the formats it is in. Events that are cut,
    and of other formats, are left out."""
    words = []
    for line in events.split("\n"):
        if not line.startswith("data:"):
            continue
        try:
            event = orjson.loads(line[5:])
        except orjson.JSONDecodeError:
            continue
        if type(event) is dict:
            words.append(_word(event))
    return "".join(words)


def _word(event: dict[str, Any]) -> str:
    match event:
        case {"choices": [{"index": 0, "delta": {"content": str(word)}}, *_]}:
            return word
        case {"choices": [{"index": 0, "text": str(word)}, *_]}:
            return word
        case {"type": "content_block_delta", "delta": {"text": str(word)}}:
            return word
        case {"type": "response.output_text.delta", "delta": str(word)}:
            return word
    return ""
