"""What an operator may do about a target or a provider: what is offered, what each act will do, and doing it.

Every act is one of ``routes.actions`` or a probe, so that it is checked, audited and told to gateways as by the API.
"""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from typing import TYPE_CHECKING, NamedTuple

from django.utils import timezone

from health import asking
from health.timeline import moment_of
from routes import actions
from routes.actions.errors import Invalid
from routes.engine.words import outcome

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from health.models import Check
    from health.report import ProviderHealth, TargetHealth
    from routes.actions.actor import Actor
    from routes.models import Provider

IN_FORCE = "In force on every process within 2 seconds."
AT = "at"
DURATIONS = (
    ("", "For good"),
    ("15m", "15 minutes"),
    ("1h", "1 hour"),
    ("4h", "4 hours"),
    ("today", "Today, until 24:00 UTC"),
    (AT, "Until a time"),
)
LENGTHS = {"15m": timedelta(minutes=15), "1h": timedelta(hours=1), "4h": timedelta(hours=4)}


class Offer(NamedTuple):
    name: str
    icon: str
    word: str
    text: str  # what it will do
    timed: bool = False  # for as long as chosen
    danger: bool = False
    busy: str = ""  # what its button says meanwhile, where it takes a while


class Panel(NamedTuple):
    kind: str  # target | provider
    id: str
    word: str
    offered: list[Offer]

    @property
    def timed(self) -> bool:
        return any(offer.timed for offer in self.offered)


def for_target(target: TargetHealth) -> Panel:
    """Only what would change something."""
    offers = [_probe("Checks its endpoint")]
    offers += _of_admin_state(target.admin.state, target.in_flight)
    circuit = target.circuit
    if not (circuit.forced and circuit.state == "open"):
        text = "No request goes there, whatever it answers."
        offers.append(Offer("open", "circle-off", "Hold circuit open", text, timed=True, danger=True))
    if not (circuit.forced and circuit.state == "closed"):
        text = "Requests go there whatever it answers: failures do not open the circuit."
        offers.append(Offer("close", "lock", "Hold circuit closed", text, timed=True))
    held = "Nobody holds it any more; it is closed" if circuit.forced else "Its circuit is closed"
    offers.append(
        Offer("reset", "rotate-ccw", "Reset circuit", f"{held} with empty counts, as if nothing had happened.")
    )
    if target.quarantine:
        offers.append(_clear(target.provider))
    return Panel("target", target.id, "Act on this target", offers)


def for_provider(provider: ProviderHealth) -> Panel:
    offers = [_probe("Checks every endpoint of it"), *_of_admin_state(provider.admin.state, provider.in_flight)]
    if provider.quarantines:
        offers.append(_clear(provider.slug))
    return Panel("provider", provider.id, "Act on the whole provider", offers)


def _probe(what: str) -> Offer:
    return Offer(
        "probe",
        "radar",
        "Probe now",
        f"{what} at once and says what came of it. A success ends the pause of an open circuit; a failure counts.",
        busy="Probing…",
    )


def _of_admin_state(state: str, in_flight: int) -> list[Offer]:
    way = "One request is" if in_flight == 1 else f"{in_flight} requests are"
    offers = []
    if state != "active":
        offers.append(Offer("enable", "circle-check", "Enable", "It takes requests again."))
    if state != "draining":
        text = f"Nothing new goes there; sessions that are pinned to it stay. {way} under way and may end."
        offers.append(Offer("drain", "circle-pause", "Drain", text, timed=True))
    if state != "disabled":
        text = f"Nothing goes there at all, pinned sessions move elsewhere. {way} under way and may end."
        offers.append(Offer("disable", "circle-off", "Disable", text, timed=True, danger=True))
    return offers


def _clear(provider: str) -> Offer:
    return Offer(
        "clear",
        "key-round",
        "Clear quarantine",
        f"Ends every quarantine of {provider} now. The next refusal or rate limit starts one anew.",
    )


# -- doing it ---------------------------------------------------------------------------------------------------
class Wanted(NamedTuple):
    """An act as a form sends it, about a target or (None) a whole provider."""

    provider: Provider
    target_id: str | None
    label: str
    until: datetime | None
    reason: str


class Done(NamedTuple):
    """What came of an act, in a sentence. ``well``: as one would like it."""

    text: str
    well: bool = True


def perform(name: str, wanted: Wanted, actor: Actor) -> Done:
    """Do it. Raises ActionError."""
    act = _ACTS.get(name)
    if act is None:
        raise Invalid("There is no such act.")
    return act(wanted, actor)


def until_of(form: Mapping[str, str], now: datetime | None = None) -> datetime | None:
    """When what a form asks for ends; None = it stays. Raises Invalid."""
    now = now or timezone.now()
    chosen = form.get("for", "")
    if chosen in LENGTHS:
        return now + LENGTHS[chosen]
    if chosen == "today":
        return datetime.combine(now.astimezone(UTC).date() + timedelta(days=1), time(), UTC)
    if chosen != AT:
        return None
    found = moment_of(form.get("until", ""))
    if found is None:
        raise Invalid("Until when? Give the time, in UTC, like 2026-11-30 18:00.")
    return found


def _ask(wanted: Wanted, actor: Actor) -> Done:
    asked = asking.ask(wanted.provider, actor=actor, reason=wanted.reason)
    found = [_found(check) for check in asked.checks] if asked.done else []
    return Done(" ".join([asked.message, *found]), asked.done and not any(check.error_class for check in asked.checks))


def _found(check: Check) -> str:
    if check.error_class:
        told = f" ({check.message.rstrip('.')})" if check.message else ""
        return f"{check.label} {outcome(check.error_class, None)}{told}."
    took = f" in {check.latency_ms:.0f} ms" if check.latency_ms is not None else ""
    return f"{check.label} answered{took} ({check.kind})."


def _set_state(state: str, done: str) -> Callable[[Wanted, Actor], Done]:
    def act(wanted: Wanted, actor: Actor) -> Done:
        until = None if state == "active" else wanted.until
        actions.set_admin_state(
            wanted.provider, state, actor=actor, until=until, reason=wanted.reason, target=wanted.target_id
        )
        return Done(f"{wanted.label} {done}{_until(until)}. {IN_FORCE}")

    return act


def _force(state: str) -> Callable[[Wanted, Actor], Done]:
    def act(wanted: Wanted, actor: Actor) -> Done:
        target_id = _target(wanted)
        actions.force_circuit(target_id, state, actor=actor, until=wanted.until, reason=wanted.reason)
        until = _until(wanted.until) or " until it is reset"
        return Done(f"The circuit of {wanted.label} is held {state}{until}. {IN_FORCE}")

    return act


def _reset(wanted: Wanted, actor: Actor) -> Done:
    actions.reset_circuit(_target(wanted), actor=actor, reason=wanted.reason)
    return Done(f"The circuit of {wanted.label} was reset. {IN_FORCE}")


def _clear_quarantine(wanted: Wanted, actor: Actor) -> Done:
    actions.clear_quarantine(wanted.provider, actor=actor, reason=wanted.reason)
    return Done(f"The quarantines of {wanted.provider.slug} were ended. {IN_FORCE}")


def _target(wanted: Wanted) -> str:
    if wanted.target_id is None:
        raise Invalid("A circuit is that of a single target.")
    return wanted.target_id


def _until(until: datetime | None) -> str:
    return f" until {until.astimezone(UTC):%Y-%m-%d %H:%M} UTC" if until else ""


_ACTS: dict[str, Callable[[Wanted, Actor], Done]] = {
    "probe": _ask,
    "enable": _set_state("active", "takes requests again"),
    "drain": _set_state("draining", "drains"),
    "disable": _set_state("disabled", "is disabled"),
    "open": _force("open"),
    "close": _force("closed"),
    "reset": _reset,
    "clear": _clear_quarantine,
}
