"""Targets in the order in which they need somebody, in groups of providers, as the board draws them.

Pure functions over a health report, but for ``provider_badges``, which reads one.
"""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING, NamedTuple

from django.urls import reverse

from health import report, words
from routes.engine.words import outcome
from routes.ports import ProviderHealth as Badge
from routing_project.console.board import acts
from routing_project.console.templatetags.console import ago_words

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from health.report import HealthReport, Outcome, ProviderHealth, Quarantine, TargetHealth

#: Up to so many targets all are shown; beyond, those of providers that need somebody, and of others how many.
ALL_SHOWN = 50
ASIDE = "set aside by people"
#: Profiles that are named beside a target.
NAMED = 2
#: Quarantines that waiting does not end well: somebody has to do something about the account.
LASTING = frozenset({"auth_failed", "quota_exhausted"})


class Need(IntEnum):
    """How much something needs somebody, most first."""

    OUT = 0  # no request goes there, and nobody wanted that
    IMPAIRED = 1
    SET_ASIDE = 2  # by people, who may have forgotten
    NOT_KNOWN = 3
    NONE = 4

    @property
    def tone(self) -> str:
        return ("bad", "warn", "warn", "quiet", "ok")[self]


class Row(NamedTuple):
    target: TargetHealth
    name: str  # within its provider
    under: str  # who uses it
    need: Need
    circuit_state: str
    quarantine_state: str
    quarantine_word: str  # "" = the usual one
    last_error: str

    @property
    def strip(self) -> list[bool]:
        """Whether each of the last outcomes was good, oldest first."""
        return [each.error_class is None for each in self.target.recent]

    @property
    def last(self) -> str:
        return came_of(self.target.recent[-1]) if self.target.recent else ""

    @property
    def panel(self) -> acts.Panel:
        return acts.for_target(self.target)

    @property
    def needs(self) -> bool:
        return self.need <= Need.SET_ASIDE

    @property
    def tone(self) -> str:
        return self.need.tone


class Group(NamedTuple):
    provider: ProviderHealth
    need: Need
    why: str  # what is so for all its targets; "" = nothing is
    quarantine: Quarantine | None  # of its credential
    note: str
    rows: list[Row]
    shown: bool  # with its targets; else as one line

    @property
    def panel(self) -> acts.Panel:
        return acts.for_provider(self.provider)

    @property
    def tone(self) -> str:
        return self.need.tone

    @property
    def news(self) -> str:
        """Changes when there is something new that needs somebody."""
        return ",".join(str(int(need)) for need in (self.need, *(row.need for row in self.rows if row.needs)))


def groups(report: HealthReport, only: str = "") -> list[Group]:
    """All providers, or the one of that slug."""
    few = len(report.targets) <= ALL_SHOWN or bool(only)
    found = [_group(provider, report.at, few) for provider in report.providers if not only or provider.slug == only]
    return sorted(found, key=lambda group: (group.need, group.provider.slug))


def _group(provider: ProviderHealth, now: datetime, few: bool) -> Group:
    quarantine = next((each for each in provider.quarantines if each.model is None), None)
    rows = sorted((row_of(target, now) for target in provider.targets), key=lambda row: (row.need, row.target.label))
    own = _need_of_provider(provider, quarantine)
    need = min([own, *(row.need for row in rows)])
    why = provider.why if own <= Need.SET_ASIDE or (len(rows) > 1 and need <= Need.IMPAIRED) else ""
    return Group(
        provider,
        need,
        why,
        quarantine,
        _note(provider),
        rows,
        few or need <= Need.SET_ASIDE,
    )


def provider_badges() -> dict[str, Badge]:
    """How each provider is, for pages that only say so. Three queries."""
    board = reverse("admin:health_board")
    badges = {}
    for group in groups(report.read(brief=True)):
        state = "quarantined" if group.quarantine else group.provider.status
        badges[group.provider.slug] = Badge(state, group.provider.why, f"{board}?provider={group.provider.slug}")
    return badges


def _need_of_provider(provider: ProviderHealth, quarantine: Quarantine | None) -> Need:
    if quarantine is not None:
        return Need.OUT if quarantine.cause in LASTING else Need.IMPAIRED
    return Need.SET_ASIDE if provider.admin.state != "active" else Need.NONE


def row_of(target: TargetHealth, now: datetime) -> Row:
    return Row(
        target,
        target.label.removeprefix(target.provider).removeprefix(" / ") or "every model",
        _users(target.profiles),
        need_of(target),
        circuit_state(target),
        "quarantined" if target.quarantine else "not_quarantined",
        f"Ends {ago_words(target.quarantine.until, now)}" if target.quarantine else "",
        "" if target.last_error is None else outcome(target.last_error.error_class, target.last_error.http_status),
    )


def _users(profiles: Sequence[str]) -> str:
    if not profiles:
        return "in no profile"
    more = len(profiles) - NAMED
    return ", ".join(profiles[:NAMED]) + (f" and {more} more" if more > 0 else "")


def need_of(target: TargetHealth) -> Need:
    """What the target's provider as a whole has to say for it is said there."""
    if target.circuit.forced and target.circuit.state == "open":
        return Need.SET_ASIDE
    own_quarantine = target.quarantine if target.quarantine and target.quarantine.model else None
    if target.circuit.state == "open" or target.status == "unhealthy":
        return Need.OUT
    if own_quarantine and own_quarantine.cause in LASTING:
        return Need.OUT
    if own_quarantine or target.circuit.forced or target.circuit.state == "half_open" or target.status == "degraded":
        return Need.IMPAIRED
    if target.admin.state != "active":
        return Need.SET_ASIDE
    return Need.NOT_KNOWN if target.status == "unknown" else Need.NONE


def circuit_state(target: TargetHealth) -> str:
    circuit = target.circuit
    return f"held_{circuit.state}" if circuit.forced and circuit.state != "half_open" else circuit.state


class Field(NamedTuple):
    """One of the four things that never mix: a state, what is to be said of it, and moments with their names."""

    name: str
    state: str
    lines: list[str]
    moments: list[tuple[str, datetime]]


def fields(target: TargetHealth, provider: ProviderHealth | None) -> list[Field]:
    return [_admin(target, provider), _observed(target), _circuit(target), _quarantine(target)]


def _admin(target: TargetHealth, provider: ProviderHealth | None) -> Field:
    admin = target.admin
    lines = [f"Set by {admin.by}." if admin.by else "", f"“{admin.reason}”" if admin.reason else ""]
    if admin.state != "active" and admin.until is None:
        lines.append("Until somebody enables it.")
    if provider is not None and provider.admin.state != "active":
        lines.append(f"All of {provider.slug} is {provider.admin.state}, which is stricter or as strict.")
    return Field("Admin state", admin.state, _said(lines), _moments(("until", admin.until)))


def _observed(target: TargetHealth) -> Field:
    found = target.observed
    lines = []
    if found.kind:
        lines.append("By requests of clients." if found.kind == "traffic" else f"By probes: {found.kind}.")
    if found.error_class or found.message:
        lines.append(found.message or outcome(found.error_class, None))
    moments = _moments(("since", found.since), ("checked", found.checked_at), ("next check", found.next_check_at))
    return Field("Observed", found.state, _said(lines) or ["Nobody has checked it yet."], moments)


def _circuit(target: TargetHealth) -> Field:
    circuit = target.circuit
    lines = []
    if circuit.forced:
        lines.append(f"Held by {circuit.by}." if circuit.by else "Held by an operator.")
        lines.append(f"“{circuit.note}”" if circuit.note else "")
        lines.append("" if circuit.forced_until else "Until somebody resets it.")
    elif circuit.reason:
        reason = words.of(words.CIRCUIT, circuit.reason)
        lines.append(f"{reason[:1].upper()}{reason[1:]}.")
    if circuit.reopened:
        lines.append(f"Failed again {words.times(circuit.reopened)} while it was tried.")
    moments = _moments(("since", circuit.since), ("tried again", circuit.until), ("held until", circuit.forced_until))
    return Field("Circuit", circuit_state(target), _said(lines) or ["Nothing ever happened to it."], moments)


def _quarantine(target: TargetHealth) -> Field:
    found = target.quarantine
    if found is None:
        return Field("Quarantine", "not_quarantined", ["Neither its credential nor its model."], [])
    cause = words.of(words.QUARANTINE, found.cause)
    lines = [
        f"Model {found.model} of this credential." if found.model else "The provider’s credential as a whole.",
        f"{cause[:1].upper()}{cause[1:]}.",
        "It said itself until when." if found.told else "",
    ]
    return Field("Quarantine", "quarantined", _said(lines), _moments(("since", found.since), ("until", found.until)))


def _said(lines: Iterable[str]) -> list[str]:
    return [line for line in lines if line]


def _moments(*named: tuple[str, datetime | None]) -> list[tuple[str, datetime]]:
    return [(name, moment) for name, moment in named if moment is not None]


def came_of(each: Outcome) -> str:
    """An outcome in words, with who found it."""
    return f"{outcome(each.error_class, each.http_status)} ({each.source})"


def _note(provider: ProviderHealth) -> str:
    size = len(provider.targets)
    parts = [f"{provider.eligible_targets} of {size} target{'' if size == 1 else 's'} in use"]
    if provider.heads.registered:
        waiting = provider.heads.registered - provider.heads.approved
        parts.append(f"{provider.heads.active} of {provider.heads.registered} heads active")
        parts += [f"{waiting} waiting for approval"] if waiting else []
    return ", ".join(parts)


def summary(found: Sequence[Group]) -> str:
    """The board in one sentence."""
    targets = [row for group in found for row in group.rows]
    out = _count(targets, Need.OUT)
    if not targets:
        return ""
    parts = [
        (out, "out of service"),
        (_count(targets, Need.IMPAIRED), "impaired"),
        (sum(row.target.admin_in_force != "active" or row.need == Need.SET_ASIDE for row in targets), ASIDE),
    ]
    said = [f"{number} {word}" for number, word in parts if number]
    whole = f"{len(targets)} target{'' if len(targets) == 1 else 's'}"
    return f"Of {whole}: {', '.join(said)}." if said else f"Nothing needs attention: {whole}, all as they should be."


def _count(rows: Iterable[Row], need: Need) -> int:
    return sum(row.need == need for row in rows)
