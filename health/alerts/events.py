"""What happened, as alerts tell it: from the timeline of health and from the audit trail, after their commit.

``heard`` and ``acted`` are the receivers of the two signals. They only write rows (``matching``) and never touch the
network; one that fails harms neither who told it nor the other events. Must not import admin or API.
"""

from __future__ import annotations

from datetime import UTC
from typing import TYPE_CHECKING, Any, Final

from health import words
from health.alerts import matching, outages
from health.alerts.kinds import AlertEvent, Over
from health.models import HealthEvent
from routes.engine.limits import MONEY_WINDOWS
from routing_project.logs import get_logger

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from routes.models import AuditEntry

log = get_logger("alerts")

#: Outcomes that are worth a line: the newest ones.
OUTCOMES: Final = 5
#: What ends that a head is offline.
BACK: Final = frozenset({"online", "registered", "deregistered"})
#: Limits of money, as reasons name them, and the window each is about.
BUDGETS: Final = {f"usd_{window}": window for window in MONEY_WINDOWS}


# -- receivers -----------------------------------------------------------------------------------------
def heard(sender: Any, events: Sequence[HealthEvent], **_: Any) -> None:
    """Receiver of ``health.events.happened``."""
    for event in events:
        take(read_health(event))
    if touched := {event.provider for event in events if event.provider and outages.concerns(event)}:
        outages.look(touched)


def acted(sender: Any, entry: AuditEntry, **_: Any) -> None:
    """Receiver of ``routes.events.acted``."""
    take(read_audit(entry))


def take(found: Iterable[AlertEvent | Over]) -> None:
    """Hand on what was read; what fails is logged, and the next one is taken."""
    for each in found:
        try:
            if isinstance(each, Over):
                matching.over(each.kind, each.key, each.at)
            else:
                matching.take(each)
        except Exception as error:
            log.error("alert_not_taken", kind=each.kind, key=each.key, error=repr(error))


# -- the timeline of health ------------------------------------------------------------------------------
def read_health(event: HealthEvent) -> list[AlertEvent | Over]:
    """Most events are none that a rule can be about; nor is it that people hold a circuit as it was."""
    same = event.before == event.after
    match event.kind, event.after:
        case HealthEvent.Kind.CIRCUIT, "open":
            return [] if same else [_of_target(event, "circuit_opened")]
        case HealthEvent.Kind.CIRCUIT, "closed":
            found = _of_target(event, "circuit_closed")
            over = Over("circuit_opened", found.key, found.at)
            return [over] if same else [found, over]
        case HealthEvent.Kind.HEAD, after:
            return _of_head(event, after)
        case HealthEvent.Kind.BUDGET, percent if percent.isdecimal():
            return [_of_budget(event, int(percent))]
    return []


def _of_target(event: HealthEvent, kind: str) -> AlertEvent:
    return AlertEvent(
        kind,
        f"target:{event.target_id or event.subject}"[:300],
        event.subject,
        words.event(event),
        _utc(event.at),
        event.provider,
        _provider_page(event),
        _fields(
            ("Provider", event.provider),
            ("Before", words.STATES.get(event.before, event.before)),
            ("After", words.STATES.get(event.after, event.after)),
            ("Last outcomes", _outcomes(event.detail)),
            ("By", event.actor),
        ),
    )


def _of_head(event: HealthEvent, after: str) -> list[AlertEvent | Over]:
    key, at = f"head:{event.subject}"[:300], _utc(event.at)
    kind = {"registered": "head_registered", "offline": "head_offline"}.get(after)
    found: list[AlertEvent | Over] = [Over("head_offline", key, at)] if after in BACK else []
    if kind is not None:
        fields = _fields(("Provider", event.provider), ("By", event.actor))
        page = _provider_page(event)
        found.append(
            AlertEvent(kind, key, event.subject, words.event(event), at, event.provider, page, fields),
        )
    return found


def _of_budget(event: HealthEvent, percent: int) -> AlertEvent:
    used_up = percent >= 100
    window = BUDGETS.get(event.reason, "")
    budget = f"its budget of the {window}" if window else "a budget"
    return AlertEvent(
        "budget_exceeded" if used_up else "budget_warning",
        f"key:{event.subject}:{window}"[:300],
        event.subject,
        f"The access key {event.subject} has used up {budget}: its requests are refused."
        if used_up
        else f"The access key {event.subject} has spent {percent} % of {budget}.",
        _utc(event.at),
        path="/admin/routes/accesskey/",
        fields=_fields(("Access key", event.subject), ("Budget", window), ("Spent", f"{percent} %")),
    )


def _outcomes(detail: Any) -> str:
    """The last outcomes that caused a change, newest last: ``503 upstream_5xx, connect_refused``."""
    outcomes = detail.get("outcomes") if isinstance(detail, dict) else None
    words = []
    for outcome in (outcomes or [])[-OUTCOMES:]:
        parts = (outcome.get("http_status"), outcome.get("error_class"))
        words.append(" ".join(str(part) for part in parts if part) or "ok")
    return ", ".join(words)


# -- the audit trail ---------------------------------------------------------------------------------------
def read_audit(entry: AuditEntry) -> list[AlertEvent | Over]:
    who = (("By", entry.actor_name), ("Reason", entry.reason))
    match entry.action:
        case "policy.updated":
            fields = ", ".join(entry.changes)
            text = f"{entry.actor_name} changed the routing policy of the draft: {fields}."
            page = "/admin/routes/policy/"
            return [AlertEvent("policy_updated", "policy", "", text, _utc(entry.at), path=page, fields=_fields(*who))]
        case "revision.published" | "revision.rolled_back":
            back = entry.action == "revision.rolled_back"
            verb = "brought back an older configuration as" if back else "published"
            changes = entry.changes.get("changes") or []
            text = f"{entry.actor_name} {verb} {entry.object_name}: {_count(len(changes), 'change')}."
            return [
                AlertEvent(
                    "config_published",
                    f"revision:{entry.object_id}",
                    entry.object_name,
                    text,
                    _utc(entry.at),
                    path=f"/admin/routes/configrevision/{entry.object_id}/change/",
                    fields=_fields(*who, ("Changes", "; ".join(str(change) for change in changes[:5]))),
                )
            ]
    return []


# -- words -----------------------------------------------------------------------------------------------
def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _fields(*pairs: tuple[str, str]) -> tuple[tuple[str, str], ...]:
    return tuple((name, value[:500]) for name, value in pairs if value)


def _provider_page(event: HealthEvent) -> str:
    return f"/admin/routes/provider/{event.provider_id}/change/" if event.provider_id else "/admin/routes/provider/"


def _utc(moment: datetime) -> datetime:
    return moment.astimezone(UTC)
