"""The Live page: routes as they happen, with the history's form, words and look.

The page follows ``/ws/live`` and not an event stream: it pauses and filters with messages, and only a socket's close
codes tell it whether it is signed out, may not, or has lost the connection. Its filters are in the address and are the
feed's own (``routing_project.feed.where``), which are the history's by name. What is told here is not in the database
yet, or never gets there while it is away; the page itself asks it for what the form offers, in two queries.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlencode

from django.core.exceptions import PermissionDenied
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone

from history.admin import form, words
from history.admin.asked import Asked, Problem
from history.admin.frame import LIST
from routes.admin.base import READ
from routes.engine.troubles import ERRORS, REFUSALS
from routing_project.feed.where import FAILURE_STATUSES, ROUTE_FIELDS, STATUSES, BadFilter, Where

if TYPE_CHECKING:
    from collections.abc import Mapping

    from django.contrib.admin import AdminSite
    from django.http import HttpRequest

#: Rows the page keeps; older ones fall off.
MOST_ROWS: Final = 500
#: Why a target was asked, where neither a rule nor the strategy says it.
SOURCES: Final = {"affinity": "its session's target", "pinned": "goes on from an earlier response"}


def live_page(request: HttpRequest, site: AdminSite) -> TemplateResponse:
    if not request.user.has_perm(READ):
        raise PermissionDenied
    now = timezone.now()
    given, problems = _understood(request.GET)
    offered = form.read(Asked.read(given, now), now)
    more = [control for control in offered.more if control.name in ROUTE_FIELDS]
    in_form = {control.name for control in (*offered.first, *more)} | ({"recovered"} if offered.recovered else set())
    history = reverse(LIST)
    context = {
        **site.each_context(request),
        "title": "Live",
        "first": offered.first,
        "more": more,
        "more_chosen": sum(bool(control.value) for control in more) + offered.recovered,
        "recovered": offered.recovered,
        "kept": [(name, value) for name, value in given.items() if name not in in_form],
        "chips": [_chip(given, name) for name in given],
        "problems": problems,
        "filtered": bool(given),
        "history": _address(history, given),
        "looks": (*STATUSES, "recovered", "degraded"),
        "most_rows": MOST_ROWS,
        "page": json.dumps(
            {
                "filter": given,
                "history": history,
                "signIn": _address(reverse("admin:login"), {"next": request.get_full_path()}),
                "now": now.isoformat(),
                "failures": FAILURE_STATUSES,
                "sources": SOURCES,
                "errors": {code: trouble.told for code, trouble in ERRORS.items()},
                "refusals": {code: trouble.told for code, trouble in REFUSALS.items()},
                "mostRows": MOST_ROWS,
            }
        ),
    }
    return TemplateResponse(request, "console/live.html", context)


def _understood(parameters: Mapping[str, Any]) -> tuple[dict[str, str], list[Problem]]:
    """The filters of the address, and what of it is none: that is told and left out."""
    given: dict[str, str] = {}
    problems = []
    for name, value in ((name, str(value).strip()) for name, value in parameters.items()):
        try:
            if value:
                Where.parse({name: value})
                given[name] = value
        except BadFilter as error:
            problems.append(Problem(name, value, error.message))
    return given, problems


def _chip(given: Mapping[str, str], name: str) -> words.Chip:
    said = words.of_parameter(name, given[name])
    cut = len(said) > words.SHOWN
    without = _address("", {each: value for each, value in given.items() if each != name}) or "?"
    return words.Chip(f"{said[: words.SHOWN]}…" if cut else said, said if cut else "", without)


def _address(path: str, parameters: Mapping[str, str]) -> str:
    return f"{path}?{urlencode(parameters)}" if parameters else path
