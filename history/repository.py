"""The history's front door for Python code: record decisions, report outcomes, ask what happened. All async.

Writes go through the journal of this process, like a gateway's, and become rows within two seconds; reads come from
the database. So that a caller can report the outcome of a decision it was just given, the last decisions of this
process are remembered until they are rows. Raises the errors of ``history.errors``.
"""

from __future__ import annotations

import asyncio
import threading
from collections import OrderedDict
from functools import cache
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from asgiref.sync import sync_to_async

from history import failures
from history.errors import JournalFull, RouteNotFound, StatusConflict
from history.filters import NOTHING, Filters, from_parameters
from history.ids import new_id
from history.journal import JournalWriter
from history.models import RouteHistory, RouteStatus
from history.records import Attempt, Finished, Update
from history.search import DEFAULT_LIMIT, ORDERS, Page, find, search
from history.statistics import statistics
from history.tally import bring_writer
from history.timerange import TimeRange
from routing_project.env import get_env

if TYPE_CHECKING:
    from collections.abc import Iterable
    from uuid import UUID

#: Decisions of this process that may not be rows yet.
REMEMBERED: Final = 10_000
#: How long an update waits for the row of a decision that another process made.
PATIENCE_SECONDS: Final = 2.0
POLL_SECONDS: Final = 0.1
#: What a decision may become.
OUTCOMES: Final = frozenset({RouteStatus.ROUTED, RouteStatus.FAILED, RouteStatus.TIMEOUT})


class Metric(NamedTuple):
    name: str
    value: float
    unit: str = ""


@cache
def process_journal() -> JournalWriter:
    """This process's journal; opened with its first record."""
    env = get_env()
    return JournalWriter(env.journal_dir, env.journal_max_mb * 1024 * 1024)


class _Recent:
    """Status of the last decisions recorded or updated here; any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._status: OrderedDict[UUID, str] = OrderedDict()

    def get(self, route: UUID) -> str | None:
        with self._lock:
            return self._status.get(route)

    def put(self, route: UUID, status: str) -> None:
        with self._lock:
            self._status[route] = status
            self._status.move_to_end(route)
            if len(self._status) > REMEMBERED:
                self._status.popitem(last=False)

    def change(self, route: UUID, known: str, status: str) -> str:
        """Set the status unless another caller was faster; what it was before."""
        with self._lock:
            before = self._status.get(route, known)
            if before == RouteStatus.DECIDED:
                self._status[route] = status
            return before


_recent: Final = _Recent()


class RouteHistoryRepository:
    """Costs: a write is one ``write`` to the journal; a read one to five queries, in a thread."""

    def __init__(self, journal: JournalWriter | None = None, alias: str = "default") -> None:
        self._given = journal
        self._alias = alias

    @property
    def _journal(self) -> JournalWriter:
        return self._given or process_journal()

    # -- writing -------------------------------------------------------------------------------------
    async def record_route_decision(
        self,
        *,
        route_type: str,
        profile: str,
        strategy: str,
        profile_id: UUID | None = None,
        status: str = RouteStatus.DECIDED,
        id: UUID | None = None,  # noqa: A002 - the column's name
        session_key: str | None = None,
        key_id: UUID | None = None,
        key_name: str = "",
        endpoint_id: UUID | None = None,
        endpoint: str = "",
        provider: str = "",
        model: str = "",
        requested_model: str = "",
        region: str = "",
        head_id: str = "",
        source: str = "",
        rule: str | None = None,
        error_code: str | None = None,
        message: str = "",
        selection_us: int = 0,
        latency_us: int = 0,
        degraded: bool = False,
        revision: int = 0,
        decision: dict[str, Any] | None = None,
        client_ip: str = "",
        user_agent: str = "",
        attempts: Iterable[Attempt] = (),
    ) -> UUID:
        """Record a decision; returns its id. ``status`` is ``decided`` while its outcome is unknown."""
        identifier = id or new_id()
        tried = list(attempts)
        self._append(
            Finished(
                id=identifier.bytes,
                status=str(status),
                profile_id=profile_id.bytes if profile_id else None,
                profile=profile,
                key_id=key_id.bytes if key_id else None,
                key_name=key_name,
                route_type=route_type,
                session_key=session_key,
                client_ip=client_ip,
                user_agent=user_agent,
                error_code=error_code,
                message=message,
                latency_us=latency_us,
                selection_us=selection_us,
                endpoint_id=endpoint_id.bytes if endpoint_id else None,
                endpoint=endpoint,
                region=region,
                head_id=head_id,
                provider=provider,
                model=model,
                requested_model=requested_model,
                strategy=strategy,
                source=source,
                rule=rule,
                attempt_count=len(tried),
                attempts=tried,
                degraded=degraded,
                revision=revision,
                decision=decision,
            )
        )
        _recent.put(identifier, str(status))
        return identifier

    async def update_route_status(
        self,
        route: UUID,
        status: str,
        *,
        latency_ms: float | None = None,
        ttfb_ms: float | None = None,
        http_status: int | None = None,
        error_code: str | None = None,
        message: str | None = None,
        input_tokens: int | None = None,
        output_tokens: int | None = None,
        metrics: Iterable[Metric] = (),
    ) -> bool:
        """Report what became of a decision; False if exactly that status is known already.

        Raises RouteNotFound, or StatusConflict when another outcome is recorded.
        """
        if status not in OUTCOMES:
            raise StatusConflict(f"a decision becomes {', '.join(sorted(OUTCOMES))}, not {status}")
        known = await self._status(route)
        before = _recent.change(route, known, str(status))
        if before == status:
            return False
        if before != RouteStatus.DECIDED:
            raise StatusConflict(f"the route is {before} already")
        try:
            self._append(
                Update(
                    id=route.bytes,
                    status=str(status),
                    http_status=http_status,
                    error_code=error_code,
                    message=message,
                    latency_us=_microseconds(latency_ms),
                    ttfb_us=_microseconds(ttfb_ms),
                    input_tokens=input_tokens,
                    output_tokens=output_tokens,
                    metrics=[(metric.name, metric.value, metric.unit) for metric in metrics],
                )
            )
        except JournalFull:
            _recent.put(route, RouteStatus.DECIDED)
            raise
        return True

    async def add_route_metrics(self, route: UUID, metrics: Iterable[Metric]) -> None:
        """Add measurements to a route. Raises RouteNotFound."""
        await self._status(route)
        self._append(Update(id=route.bytes, metrics=[(metric.name, metric.value, metric.unit) for metric in metrics]))

    def _append(self, record: Finished | Update) -> None:
        journal = self._journal
        kept = journal.append(record)
        bring_writer(journal)
        if not kept:
            raise JournalFull("the journal is full, so this was not recorded")

    async def _status(self, route: UUID) -> str:
        """Of a row, or of a decision that is about to be one."""
        for _ in range(int(PATIENCE_SECONDS / POLL_SECONDS)):
            known = _recent.get(route)
            if known is not None:
                return known
            rows = RouteHistory.objects.using(self._alias).filter(id=route)
            stored: str | None = await rows.values_list("status", flat=True).afirst()
            if stored is not None:
                return stored
            await asyncio.sleep(POLL_SECONDS)
        raise RouteNotFound(f"there is no route {route}")

    # -- reading -------------------------------------------------------------------------------------
    async def search(
        self,
        filter: Filters = NOTHING,  # noqa: A002 - the name is fixed
        order: str = ORDERS[0],
        page: str | None = None,
        *,
        time_range: TimeRange = TimeRange(),  # noqa: B008 - immutable
        limit: int = DEFAULT_LIMIT,
    ) -> Page:
        """One page of routes (see ``history.search``); ``page`` is a cursor from the page before or behind it.

        ``filter`` comes from ``history.filters``: ``from_parameters({"status__in": "failed,timeout"})``.
        Raises BadQuery, RangeTooLarge.
        """
        return await sync_to_async(search)(filter, time_range, order=order, limit=limit, cursor=page, alias=self._alias)

    async def get_route(self, route: UUID) -> RouteHistory | None:
        """One route, whole. One query."""
        return await sync_to_async(find)(route, self._alias)

    async def get_route_history(self, session_id: UUID, limit: int = 1000) -> list[RouteHistory]:
        """The routes of a session, oldest first; the newest ``limit`` of them. One query."""
        session = from_parameters({"session_id": str(session_id)})
        page = await sync_to_async(search)(session, limit=limit, alias=self._alias)
        return page.rows[::-1]

    async def get_route_statistics(
        self,
        time_range: TimeRange,
        group_by: str | None = None,
        filter: Filters = NOTHING,  # noqa: A002 - as in ``search``
    ) -> dict[str, Any]:
        """Counts, failure rate, latencies, tokens and cost of a range (see ``history.statistics``)."""
        return await sync_to_async(statistics)(time_range, group_by, filter, self._alias)

    async def get_failed_routes(
        self,
        time_range: TimeRange,
        filter: Filters = NOTHING,  # noqa: A002 - as in ``search``
        page: str | None = None,
        *,
        include_recovered: bool = False,
        limit: int = DEFAULT_LIMIT,
    ) -> failures.Report:
        """What went wrong in a range, grouped by cause and provider, and a page of the routes, newest first.

        Five queries. Raises BadQuery, RangeTooLarge.
        """
        return await sync_to_async(failures.report)(
            time_range, filter, include_recovered=include_recovered, limit=limit, cursor=page, alias=self._alias
        )


def _microseconds(milliseconds: float | None) -> int | None:
    return None if milliseconds is None else round(milliseconds * 1000)
