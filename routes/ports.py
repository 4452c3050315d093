"""What the control plane would like to know from history and health, without importing them.

They implement, the project wires (``provide_*``). Unwired, the answer is "nothing known", so that ``routes`` works and
is tested by itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime
    from uuid import UUID


class ProviderTraffic(NamedTuple):
    """Attempts at a provider in the last hour, and how many it answered."""

    requests: int
    answered: int

    @property
    def success_share(self) -> float | None:
        return self.answered / self.requests if self.requests else None


_traffic: Callable[[], Mapping[str, ProviderTraffic]] | None = None


def provide_traffic(source: Callable[[], Mapping[str, ProviderTraffic]]) -> None:
    """Say where ``provider_traffic`` gets its answer."""
    global _traffic
    _traffic = source


def provider_traffic() -> Mapping[str, ProviderTraffic]:
    """Traffic of the last hour by provider slug; providers without any are missing. One query when wired."""
    return _traffic() if _traffic else {}


class RecordedRoute(NamedTuple):
    """What history keeps of a request, as far as explaining it again needs."""

    id: UUID
    created_at: datetime
    profile: str
    revision: int
    packed: dict[str, Any]  # see ``routes.engine.explain``; empty when no decision was made
    requested_model: str
    session: str | None
    stream: bool
    key: str  # name of the access key
    client_ip: str
    path: str


_recorded: Callable[[UUID], RecordedRoute | None] | None = None


def provide_recorded_routes(source: Callable[[UUID], RecordedRoute | None]) -> None:
    """Say where ``recorded_route`` gets its answer."""
    global _recorded
    _recorded = source


def recorded_route(route: UUID) -> RecordedRoute | None:
    """A request of the history; None when there is none of that id. One query when wired."""
    return _recorded(route) if _recorded else None


_recent: Callable[[int], Sequence[UUID]] | None = None


def provide_recent_routes(source: Callable[[int], Sequence[UUID]]) -> None:
    """Say where ``recent_routes`` gets its answer."""
    global _recent
    _recent = source


def recent_routes(count: int) -> Sequence[UUID]:
    """The last requests that were decided, newest first. One query when wired."""
    return _recent(count) if _recent else ()


_oldest: Callable[[], datetime | None] | None = None


def provide_oldest_route(source: Callable[[], datetime | None]) -> None:
    """Say where ``oldest_route`` gets its answer."""
    global _oldest
    _oldest = source


def oldest_route() -> datetime | None:
    """When the oldest request that history still has was accepted; None without any. One query when wired."""
    return _oldest() if _oldest else None


_spent: Callable[[UUID, datetime], int] | None = None


def provide_spent(source: Callable[[UUID, datetime], int]) -> None:
    """Say where ``spent`` gets its answer."""
    global _spent
    _spent = source


def spent(access_key: UUID, since: datetime) -> int | None:
    """Millionths of a dollar that a key has spent since then, on all hosts; None when nobody knows. One query when
    wired."""
    return _spent(access_key, since) if _spent else None


class RuleTraffic(NamedTuple):
    """Requests that a rule matched in the last 24 hours, and when it last did."""

    matched: int
    last: datetime


_rule_traffic: Callable[[], Mapping[tuple[str, str], RuleTraffic]] | None = None


def provide_rule_traffic(source: Callable[[], Mapping[tuple[str, str], RuleTraffic]]) -> None:
    """Say where ``rule_traffic`` gets its answer."""
    global _rule_traffic
    _rule_traffic = source


def rule_traffic() -> Mapping[tuple[str, str], RuleTraffic]:
    """By (profile slug, rule name); rules that matched nothing in 24 hours are missing. One query when wired."""
    return _rule_traffic() if _rule_traffic else {}


_heads: Callable[[], Sequence[dict[str, Any]]] | None = None


def provide_heads(source: Callable[[], Sequence[dict[str, Any]]]) -> None:
    """Say where ``heads`` gets its answer."""
    global _heads
    _heads = source


def heads() -> Sequence[dict[str, Any]]:
    """Every registered head, approved or not, as the overlay has it: ``id`` (what it calls itself), ``provider`` (id),
    ``endpoint``, ``region``, ``model_type``, ``version``, ``capacity``, ``max_model_size``, ``capabilities``,
    ``generation``, ``approved``. One query when wired."""
    return _heads() if _heads else ()


class ProviderHealth(NamedTuple):
    """How a provider of the live revision is: a state, why in a sentence, and where there is more to read."""

    state: str
    why: str
    url: str


_health: Callable[[], Mapping[str, ProviderHealth]] | None = None


def provide_health(source: Callable[[], Mapping[str, ProviderHealth]]) -> None:
    """Say where ``provider_health`` gets its answer."""
    global _health
    _health = source


def provider_health() -> Mapping[str, ProviderHealth]:
    """By provider slug; providers that are not live are missing. Three queries when wired."""
    return _health() if _health else {}


class Tally(NamedTuple):
    """Requests of a stretch of time: all, those that needed more than one attempt, those refused for want of a
    target."""

    requests: int
    failed_over: int
    no_target: int


_tally: Callable[[datetime, datetime], Tally] | None = None


def provide_tally(source: Callable[[datetime, datetime], Tally]) -> None:
    """Say where ``tally`` gets its answer."""
    global _tally
    _tally = source


def tally(start: datetime, end: datetime) -> Tally | None:
    """From ``start`` to before ``end``; None when nobody knows. One query when wired."""
    return _tally(start, end) if _tally else None


_backlog: Callable[[], int] | None = None


def provide_journal_backlog(source: Callable[[], int]) -> None:
    """Say where ``journal_backlog`` gets its answer."""
    global _backlog
    _backlog = source


def journal_backlog() -> int | None:
    """Bytes that the gateways of this host wrote and that are not in the database yet; None when nobody knows. Reads a
    small file."""
    return _backlog() if _backlog else None
