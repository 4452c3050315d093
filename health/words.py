"""Health in plain English: every code of circuits, checks, quarantines, heads and admin states, for people.

Codes stay what they are in API and events; sentences are made from them here and nowhere else, so that the board, the
API and alerts say the same. Pure; imports of the engine what it needs.
"""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from routes.engine import words
from routes.engine.tables.recent import KEPT

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from health.models import HealthEvent
    from health.report import Admin, Circuit, ProviderHealth, Quarantine, TargetHealth

#: Why a circuit is in its state (``engine.circuit.REASONS``), to follow a colon.
CIRCUIT: Final = {
    "consecutive_failures": "too many failures in a row",
    "failure_rate": "too many of its latest results were failures",
    "recovery_timeout": "its pause is over, it is being tried carefully",
    "degraded_success": "it answered although nothing was expected of it",
    "probe_success": "a check succeeded, so it is tried before its pause is over",
    "successes": "it answered often enough",
    "half_open_failure": "it failed again while it was being tried",
    "another_host": "another host found it so",
    "forced_open": "held open",
    "forced_closed": "held closed",
    "force_ended": "nobody holds it any more, it is being tried carefully",
    "reset": "reset",
}
STATES: Final = {"closed": "closed", "open": "open", "half_open": "half-open"}
#: Error classes that quarantine.
QUARANTINE: Final = {
    "rate_limited": "it answers that it is asked too often (429)",
    "auth_failed": "it refuses access (401 or 403)",
    "quota_exhausted": "it answers that the account has no credit left",
}
#: Why the observed state changed.
OBSERVED: Final = {
    "first_check": "checked for the first time",
    "fall": "checks failed several times in a row",
    "rise": "checks succeeded several times in a row",
    "failing": "fewer than 95 % of its latest requests succeed",
    "slow": "it is more than twice as slow as usual",
    "recovered": "its figures are as usual again",
    "stale": "nothing has been heard of it for three intervals",
    "not_probed": "it is not checked any more",
    "credential_changed": "its credential was changed",
}
#: What there is to say of a head beyond that it was registered, approved, went offline, …
HEAD: Final = {
    "registered": "",
    "registered_again": "as a new generation",
    "approved": "",
    "inside_head_networks": "its address is inside the provider's networks for heads",
    "heartbeat": "its heartbeats are back",
    "heartbeats_stopped": "its heartbeats stopped",
    "reported": "it said so itself",
    "deregistered": "",
    "offline_too_long": "it was offline for too long",
}
#: Actors that are nobody.
_NOBODY: Final = frozenset({"", "traffic", "probe", "clock", "head"})
_STATES_OF_ADMIN: Final = {"active": "Set active", "draining": "Drained", "disabled": "Disabled"}
_KINDS: Final = {
    "models": "its list of models",
    "completion": "a small real request",
    "tcp": "a connection",
    "http": "a request to its health address",
    "traffic": "requests of clients",
}


def of(table: Mapping[str, str], code: str) -> str:
    """A code in words; one that this release does not know is said as it is."""
    return table.get(code, code.replace("_", " "))


def clock(moment: datetime, now: datetime) -> str:
    """A time of day, with the date unless it is today's."""
    moment = moment.astimezone(UTC)
    form = "%H:%M:%S UTC" if moment.date() == now.astimezone(UTC).date() else "%Y-%m-%d %H:%M:%S UTC"
    return moment.strftime(form)


def counted(classes: Iterable[str]) -> str:
    """Error classes, the most frequent first: ``3 × connect_refused, 2 × timeout_first_byte``."""
    return ", ".join(f"{number} × {name}" for name, number in Counter(classes).most_common())


# -- how it is -----------------------------------------------------------------------------------------------
def target(found: TargetHealth, admin: Admin, outcomes: Sequence[str] | None, now: datetime) -> str:
    """What state a target is in, why, and when it is tried again. ``admin``: what is in force, its own or its
    provider's; ``outcomes``: error classes that opened its circuit, where known."""
    said = []
    if admin.state != "active":
        said.append(_admin(admin, now, "" if admin == found.admin else " with its provider"))
    if found.head is not None and found.head.status != "active":
        said.append(_head(found, now))
    if found.stands_by:
        said.append("Stands by: the provider's heads serve.")
    if found.quarantine is not None:
        said.append(quarantine(found.quarantine, now))
    if found.circuit.state != "closed" or found.circuit.forced:
        said.append(circuit(found.circuit, outcomes or (), now))
    if found.observed.state in {"unhealthy", "degraded"}:
        said.append(_observed(found, now))
    if not said and found.status == "degraded":
        said.append(_figures(found))
    return " ".join(said) or _well(found, now)


def provider(found: ProviderHealth, now: datetime) -> str:
    """The same of a provider, in one or two sentences."""
    said = []
    if found.admin.state != "active":
        said.append(_admin(found.admin, now))
    said += [quarantine(each, now) for each in found.quarantines if each.model is None]
    for status in ("unhealthy", "degraded"):
        labels = [target.label for target in found.targets if target.status == status]
        if len(labels) == len(found.targets) == 1:
            said.append(found.targets[0].why if not said else "")
        elif labels:
            said.append(
                f"{len(labels)} of {len(found.targets)} targets {status}: {', '.join(labels[:3])}"
                f"{' and more' if len(labels) > 3 else ''}."
            )
    if not any(said):
        said.append(
            {"healthy": "All its targets are well.", "unknown": "Nothing has been heard of it yet."}[found.status]
        )
    return " ".join(filter(None, said))


def circuit(found: Circuit, outcomes: Sequence[str], now: datetime) -> str:
    state = STATES[found.state].capitalize() if found.forced else f"Circuit {STATES[found.state]}"
    since = f" since {clock(found.since, now)}" if found.since else ""
    if found.forced:
        by = f" by {found.by}" if found.by else ""
        until = f" until {clock(found.forced_until, now)}" if found.forced_until else " until somebody resets it"
        return f"Circuit held {STATES[found.state]}{by}{since}{until}{_noted(found.note)}."
    sentence = f"{state}{since}: {_cause(found.reason, outcomes)}"
    if found.reopened:
        sentence += f"; failed {times(found.reopened)} while it was tried"
    if found.until is not None:
        sentence += f"; tried again at {clock(found.until, now)}"
    return sentence + "."


def quarantine(found: Quarantine, now: datetime) -> str:
    whose = "for this credential" if found.model is None else f"for model {found.model}"
    told = ", as it says itself" if found.told else ""
    return f"Quarantined {whose} until {clock(found.until, now)}{told}: {of(QUARANTINE, found.cause)}."


def times(number: int) -> str:
    return {1: "once", 2: "twice"}.get(number, f"{number} times")


def _cause(reason: str, outcomes: Sequence[str]) -> str:
    if not outcomes:
        return of(CIRCUIT, reason)
    if reason == "consecutive_failures" and 1 < len(outcomes) < KEPT:
        return f"{len(outcomes)} consecutive failures: {counted(outcomes)}"
    return f"{of(CIRCUIT, reason)}: {counted(outcomes)}"


def _admin(admin: Admin, now: datetime, whose: str = "") -> str:
    by = f" by {admin.by}" if admin.by else ""
    until = f" until {clock(admin.until, now)}" if admin.until else " for good"
    return f"{_STATES_OF_ADMIN[admin.state]}{whose}{by}{until}{_noted(admin.reason)}."


def _head(found: TargetHealth, now: datetime) -> str:
    head = found.head
    assert head is not None
    if head.status == "draining":
        return f"Head {head.head_id} says that it takes no new sessions."
    heard = f"since {clock(head.heard_at, now)}" if head.heard_at else "yet"
    return f"Head {head.head_id} is offline: nothing was heard of it {heard}."


def _observed(found: TargetHealth, now: datetime) -> str:
    observed = found.observed
    sentence = f"Found {observed.state}"
    sentence += f" since {clock(observed.since, now)}" if observed.since else ""
    sentence += f" by checking {of(_KINDS, observed.kind)}" if observed.kind else ""
    if observed.state == "degraded":
        p95 = f", p95 {found.p95_ms:.0f} ms" if found.p95_ms is not None else ""
        sentence += f": success rate {found.success_rate:.0%}{p95}"
    elif observed.error_class:
        sentence += f": it {words.outcome(observed.error_class, None)}"
        sentence += f" ({observed.message})" if observed.message else ""
    if observed.state == "unhealthy" and observed.next_check_at is not None:
        sentence += f"; checked again at {clock(observed.next_check_at, now)}"
    return sentence + "."


def _figures(found: TargetHealth) -> str:
    if found.consecutive_failures:
        last = f", last {found.last_error.error_class}" if found.last_error else ""
        plural = "failure" if found.consecutive_failures == 1 else "failures"
        return f"{found.consecutive_failures} {plural} in a row{last}; success rate {found.success_rate:.0%}."
    return f"Answers again after failures; success rate {found.success_rate:.0%}."


def _well(found: TargetHealth, now: datetime) -> str:
    if found.status == "unknown":
        return "Nothing has been heard of it: no request in the last hour, no check yet."
    checked = found.observed.checked_at
    if found.observed.state == "healthy" and checked is not None:
        return f"Well: checked at {clock(checked, now)} by {of(_KINDS, found.observed.kind)}."
    return f"Well: answers requests, success rate {found.success_rate:.0%}."


def _noted(note: str) -> str:
    return f" (“{note}”)" if note else ""


# -- what happened -------------------------------------------------------------------------------------------
def event(found: HealthEvent) -> str:
    """One line of the timeline, without its time and subject."""
    note = _noted(str(found.detail.get("note") or ""))
    return f"{_EVENTS.get(found.kind, _other)(found, found.detail)}{note}."


def failures(detail: Mapping[str, Any], reason: str) -> list[str]:
    """Error classes of the outcomes that an event came of, among the last ones that it names."""
    return causes([outcome.get("error_class") for outcome in detail.get("outcomes") or ()], reason)


def causes(outcomes: Sequence[str | None], reason: str) -> list[str]:
    """Those of the last outcomes (error classes, None = success, oldest first) that are why a circuit opened. What
    quarantines counts neither way."""
    counting = [outcome for outcome in outcomes if outcome not in QUARANTINE]
    if reason == "half_open_failure":
        counting = counting[-1:]
    if reason == "consecutive_failures" and None in counting:
        counting = counting[len(counting) - counting[::-1].index(None) :]
    return [outcome for outcome in counting if outcome is not None]


def _circuit_event(found: HealthEvent, detail: Mapping[str, Any]) -> str:
    became = {"open": "opened", "closed": "closed", "half_open": "went half-open"}.get(found.after, found.after)
    if found.after == "open" and found.before == "half_open":
        became = "opened again"
    outcomes = failures(detail, found.reason) if found.after == "open" else ()
    text = f"Circuit {became}: {_cause(found.reason, outcomes)}{_by(found)}"
    if found.reason.startswith("forced_"):
        return text + _until(detail)
    return text + (f"; tried again at {_moment(detail['until'])}" if detail.get("until") else "")


def _observed_event(found: HealthEvent, detail: Mapping[str, Any]) -> str:
    classes = failures(detail, found.reason)
    what = str(detail.get("message") or "") or counted(classes)
    return f"Found {found.after}: {of(OBSERVED, found.reason)}{f' ({what})' if what else ''}"


def _admin_event(found: HealthEvent, detail: Mapping[str, Any]) -> str:
    if found.reason == "expired":
        return "Active again: the time set for it has passed"
    return f"{_STATES_OF_ADMIN.get(found.after, found.after)}{_by(found)}{_until(detail)}"


def _quarantine_event(found: HealthEvent, detail: Mapping[str, Any]) -> str:
    whose = f" for model {detail['model']}" if detail.get("model") else ""
    if found.after == "none":
        why = ": its credential was changed" if found.reason == "credential_changed" else ""
        return f"Quarantine lifted{whose}{_by(found)}{why}"
    return f"Quarantined{whose}{_until(detail)}: {of(QUARANTINE, found.after)}"


def _head_event(found: HealthEvent, detail: Mapping[str, Any]) -> str:
    more = of(HEAD, found.reason)
    return f"Head {found.after}{_by(found)}{f': {more}' if more else ''}"


def _other(found: HealthEvent, detail: Mapping[str, Any]) -> str:
    change = f"{found.before} to {found.after}" if found.before else found.after
    return f"{found.kind.capitalize()} {change}: {found.reason.replace('_', ' ')}{_by(found)}"


_EVENTS: Final = {
    "circuit": _circuit_event,
    "observed": _observed_event,
    "admin": _admin_event,
    "quarantine": _quarantine_event,
    "head": _head_event,
}


def _by(found: HealthEvent) -> str:
    return f" by {found.actor}" if found.actor not in _NOBODY else ""


def _until(detail: Mapping[str, Any]) -> str:
    return f" until {_moment(detail['until'])}" if detail.get("until") else ""


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
