"""One request in full: what happened in words, stages and attempts in time, targets with reasons, its session's
neighbours; and, for an id that has no row, why that may be. Never a row's JSON as such: that is the API's."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from django.urls import reverse
from django.utils import timezone
from django.utils.dateparse import parse_datetime

from history import render, status
from history.admin import places
from history.admin.listing import why
from history.ids import time_of
from history.models import RouteHistory
from routes.engine import troubles, words
from routes.models import Profile, Provider
from routing_project.env import get_env

if TYPE_CHECKING:
    from uuid import UUID

#: A request that is answered is a row within about two seconds; one that is not may take as long as its time-outs.
SOON: Final = timedelta(minutes=10)
#: Clocks of several hosts differ.
AHEAD: Final = timedelta(minutes=1)


class Attempt(NamedTuple):
    """An attempt as the timeline draws it; ``left`` and ``width`` are percent of the whole request."""

    ordinal: int
    name: str
    provider_url: str
    answered: bool
    outcome: str
    error_class: str | None
    message: str
    endpoint: str
    offset_ms: int
    latency_ms: int | None
    ttfb_ms: int | None
    left: str
    width: str
    transitions: list[str]


def context(route: RouteHistory) -> dict[str, Any]:
    """Seven queries at most."""
    told = render.detail(route)
    decision = told["routing_decision"]
    slugs = {route.provider, *(each["provider"] for each in told["attempts"])}
    pks = dict(Provider.objects.filter(slug__in=slugs).values_list("slug", "pk"))
    providers = {slug: reverse("admin:routes_provider_change", args=[pk]) for slug, pk in pks.items()}
    trouble = troubles.of(route.error_code, route.provider)
    profile = Profile.objects.filter(slug=route.profile).values_list("pk", flat=True).first()
    before, after = _neighbours(route)
    return {
        "route": route,
        "told": told,
        "why": why(route),
        "decision": decision,
        "attempts": _attempts(route, told["attempts"], providers),
        "metrics": told["metrics"],
        "source": told["source_info"],
        "trouble": trouble,
        "see": places.of(trouble.see, route.provider, pks.get(route.provider), profile),
        "profile_pk": profile,
        "provider_url": providers.get(route.provider, ""),
        "before": before,
        "after": after,
        "scored": any(line.get("score") is not None for line in decision.get("ranking") or ()),
    }


def _neighbours(route: RouteHistory) -> tuple[RouteHistory | None, RouteHistory | None]:
    """The requests of its session before and after it. Two queries, by the session's index."""
    if route.session_id is None:
        return None, None
    session = RouteHistory.objects.filter(session_id=route.session_id).only("id", "created_at")
    return (
        session.filter(id__lt=route.id).order_by("-id").first(),
        session.filter(id__gt=route.id).order_by("id").first(),
    )


def _attempts(route: RouteHistory, attempts: list[dict[str, Any]], providers: dict[str, str]) -> list[Attempt]:
    """Attempts laid out over the time of the whole request."""
    starts = [parse_datetime(entry["started_at"]) for entry in attempts]
    offsets = [
        max(0, round((start - route.created_at) / timedelta(milliseconds=1))) if start else 0 for start in starts
    ]
    ends = [offset + (entry["latency_ms"] or 0) for offset, entry in zip(offsets, attempts, strict=True)]
    whole = max(1, route.latency_ms or 0, *ends, 1)
    return [
        Attempt(
            entry["ordinal"],
            f"{entry['provider']} / {entry['model']}" if entry["model"] else entry["provider"],
            providers.get(entry["provider"], ""),
            entry["error_class"] is None,
            words.outcome(entry["error_class"], entry["http_status"]),
            entry["error_class"],
            entry["message"],
            entry["endpoint"],
            offset,
            entry["latency_ms"],
            entry["ttfb_ms"],
            f"{100 * offset / whole:.2f}",
            f"{max(0.6, 100 * (entry['latency_ms'] or 0) / whole):.2f}",
            [words.transition(*change) for change in entry["transitions"]],
        )
        for entry, offset in zip(attempts, offsets, strict=True)
    ]


class Missing(NamedTuple):
    """Why there is no row of an id; ``later``: asking again may help."""

    title: str
    text: str
    later: bool = False


def missing(identifier: UUID | None) -> Missing:
    """From the time inside the id, and what the shipper last said. No query."""
    if identifier is None or identifier.version != 7:
        return Missing("No such request", "That is no id of a request. They are in the history, and in x-route-id.")
    now, accepted = timezone.now(), time_of(identifier)
    if accepted > now + AHEAD:
        return Missing("No such request", "By its id it would come from the future: no request has it.")
    days = get_env().history_days
    if now - accepted > timedelta(days=days):
        return Missing("Not kept any more", f"History keeps requests for {days:g} days, and this one is older.")
    if waiting := _waiting():
        return Missing("Not stored yet", waiting, later=True)
    if now - accepted < SOON:
        text = (
            "It is usually there within two seconds of its answer. If it is still being answered, that may take as "
            "long as its time-outs allow."
        )
        return Missing("Not stored yet", text, later=True)
    return Missing("No such request", "The history has no request with this id.")


def _waiting() -> str:
    """What holds rows up, "" while nothing does."""
    folder = get_env().journal_dir
    report = status.read(folder)
    if report is None or time.time() - report.at > status.AWAY_SECONDS:
        if status.journal_bytes(folder) == 0:
            return ""
        return (
            "The shipper, which stores what gateways record, does not run on this host. Nothing is lost: the records "
            "wait in the journal. “manage.py serve” starts it; its log says why it stopped."
        )
    if report.database != "up":
        return (
            "The shipper cannot reach the database. Nothing is lost: the records wait in the journal and are stored "
            "when it is back."
        )
    return ""
