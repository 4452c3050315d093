"""Measured events: looked at once a minute, for every rule by its own window and thresholds.

Figures come from history through ``routes.ports``; one query for each different window. While a figure stays above
its threshold the event happens again every minute, which ``matching`` counts; once below, it is over.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from django.utils import timezone

from health.alerts import matching
from health.alerts.document import AlertThresholds
from health.alerts.kinds import MEASURED, AlertEvent
from health.models import AlertRule
from routes import ports

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from routes.ports import Tally

MIB = 1024 * 1024
HISTORY = "/admin/history/routehistory/"


def look(now: datetime | None = None) -> None:
    """One query where no rule is about anything measured."""
    now = now or timezone.now()
    rules = [rule for rule in AlertRule.objects.filter(enabled=True) if MEASURED.intersection(rule.events)]
    tallies: dict[int, Tally | None] = {}
    backlog: int | None = None
    if any("journal_backlog" in rule.events for rule in rules):
        backlog = ports.journal_backlog()
    for rule in rules:
        if rule.window not in tallies:
            tallies[rule.window] = ports.tally(now - timedelta(seconds=rule.window), now)
        happening = _happening(rule, tallies[rule.window], backlog, now)
        for kind in MEASURED.intersection(rule.events):
            if kind in happening:
                matching.take(happening[kind], [rule], now)
            else:
                matching.over(kind, kind, now, rule)


def _happening(rule: AlertRule, tally: Tally | None, backlog: int | None, now: datetime) -> Mapping[str, AlertEvent]:
    """Of what is measured, whatever is above the rule's thresholds."""
    limits = AlertThresholds.model_validate(rule.thresholds)
    minutes = f"{rule.window / 60:g} min"
    found = []
    if tally is not None and tally.requests >= limits.min_requests:
        percent = 100 * tally.failed_over / tally.requests
        if percent >= limits.failover_rate:
            text = (
                f"{tally.failed_over} of {tally.requests} requests of the last {minutes} needed more than one attempt: "
                f"{percent:.1f} %, and {limits.failover_rate:g} % is the threshold."
            )
            share = ("Share", f"{percent:.1f} %")
            found.append(_event("failover_rate", f"{percent:.1f} % of requests", text, now, share))
    if tally is not None and tally.no_target >= limits.no_target:
        were = "request was" if tally.no_target == 1 else "requests were"
        text = f"{tally.no_target} {were} refused in the last {minutes} because nothing was left to try."
        found.append(_event("no_target", "", text, now, ("Refused", str(tally.no_target))))
    if backlog is not None and backlog >= limits.journal_backlog * MIB:
        size = f"{backlog / MIB:.0f} MiB"
        text = (
            f"{size} of the journal are not in the database yet; {limits.journal_backlog:g} MiB is the threshold. "
            "The history lags behind; the shipper's log says why."
        )
        found.append(_event("journal_backlog", size, text, now, ("Waiting", size), path="/admin/"))
    return {event.kind: event for event in found}


def _event(
    kind: str, subject: str, text: str, now: datetime, figure: tuple[str, str], path: str = f"{HISTORY}?range=1h"
) -> AlertEvent:
    return AlertEvent(kind, kind, subject, text, now, path=path, fields=(figure,))
