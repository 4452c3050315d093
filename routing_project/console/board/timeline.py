"""The timeline: events of health and publishes in one order, newest first, page by page and by permalink.

Reads ``HealthEvent`` and ``ConfigRevision``: a query each for a page, two where a link names a moment; never a count,
however long the timeline is.
"""

from __future__ import annotations

import heapq
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlencode

from django.db.models import Q
from django.urls import reverse

from health import words
from health.models import HealthEvent
from health.timeline import moment_of, of_target
from routes.engine.words import outcome
from routes.models import ConfigRevision

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from uuid import UUID

    from django.db.models import QuerySet
    from django.http import QueryDict

    from health.report import TargetHealth

PAGE = 30
#: Lines shown above the moment that a permalink names: what came of it.
AFTER = 10
PUBLISH = "publish"
KINDS = (*((value, str(label)) for value, label in HealthEvent.Kind.choices), (PUBLISH, "Publish"))
ICONS = {
    "circuit": "unplug",
    "observed": "radar",
    "admin": "user",
    "quarantine": "clock",
    "head": "server",
    "budget": "key-round",
    PUBLISH: "upload",
}
#: What people should see first when they skim: by the state that an event led to, else by its kind.
TONES = {
    **dict.fromkeys(("open", "unhealthy", "offline", "disabled", "quarantine", "100"), "bad"),
    **dict.fromkeys(("half_open", "degraded", "draining", "rate_limited", "deregistered", "budget"), "warn"),
    **dict.fromkeys(("closed", "healthy", "active", "online", "approved", "none"), "ok"),
}
PLUS = re.compile(r"(?<=:\d\d) (?=\d\d:?\d\d$)")  # of a zone, as addresses are read
ENDPOINTS = frozenset({HealthEvent.Kind.OBSERVED.value, HealthEvent.Kind.HEAD.value})
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
EVENT, REVISION = 1, 0  # of one and the same moment, the publish comes first in time

#: Where a line stands: (when, EVENT or REVISION, id). Unique, and the order of the timeline.
Place = tuple[datetime, int, int]


class Outcome(NamedTuple):
    at: datetime | None
    words: str
    source: str  # traffic | probe


class Line(NamedTuple):
    place: Place
    kind: str
    icon: str
    tone: str
    word: str
    subject: str
    sentence: str
    outcomes: list[Outcome]  # that led to it, oldest first
    actor: str
    url: str  # of what it is about
    link: str  # to this moment

    @property
    def at(self) -> datetime:
        return self.place[0]

    @property
    def anchor(self) -> str:
        """Unique on the page."""
        return f"{'e' if self.place[1] == EVENT else 'r'}{self.place[2]}"


@dataclass(frozen=True)
class Timeline:
    """``later``: lines that came after the moment asked for, newest first too."""

    lines: list[Line]
    later: list[Line] = field(default_factory=list)
    moment: datetime | None = None
    newest: str = ""  # addresses of other pages
    newer: str = ""
    older: str = ""
    problem: str = ""

    @property
    def refreshed(self) -> bool:
        """Whether what happens next would appear on it."""
        return not (self.newest or self.problem)


@dataclass(frozen=True)
class Scope:
    """Whose events: everybody's, a provider's or a target's (with what its provider and its endpoint have in common).
    Publishes are everybody's."""

    path: str  # of the page that shows it
    provider: str = ""  # slug
    provider_id: UUID | None = None
    target_id: UUID | None = None
    target: TargetHealth | None = None  # None too of a target that is gone
    kind: str = ""
    live: frozenset[str] = frozenset()  # ids of the targets there are now

    def query(self, **more: str) -> str:
        given = {"provider": "" if self.target_id else self.provider, "kind": self.kind, **more}
        text = urlencode({name: value for name, value in given.items() if value})
        return f"{self.path}?{text}" if text else self.path

    def link_to(self, at: datetime) -> str:
        return f"{self.query(at=_stamp(at))}#moment"

    def sources(self) -> list[Source]:
        found = []
        if self.kind != PUBLISH:
            events = self._events()
            events = events.filter(kind=self.kind) if self.kind else events
            found.append(Source(events, "at", "id", EVENT, self._event))
        if not self.kind or self.kind == PUBLISH:
            revisions = ConfigRevision.objects.defer("document_text", "compiled_zlib")
            found.append(Source(revisions, "created_at", "number", REVISION, self._revision))
        return found

    def _events(self) -> QuerySet[HealthEvent]:
        if self.target:
            return of_target(self.target)
        if self.target_id:
            return HealthEvent.objects.filter(target_id=self.target_id)
        if self.provider_id:
            return HealthEvent.objects.filter(provider_id=self.provider_id)
        return HealthEvent.objects.filter(provider=self.provider) if self.provider else HealthEvent.objects.all()

    def _event(self, place: Place, row: HealthEvent) -> Line:
        return Line(
            place,
            row.kind,
            ICONS.get(row.kind, "activity"),
            TONES.get(row.after, TONES.get(row.kind, "quiet")),
            row.get_kind_display(),
            row.subject,
            words.event(row),
            _outcomes(row.detail),
            row.actor,
            "" if self.target_id else self._page_of(row),
            self.link_to(row.at),
        )

    def _page_of(self, row: HealthEvent) -> str:
        """Where there is more of it. Checks and heads speak for an endpoint, which is not a target of its own when its
        targets name models."""
        of_endpoint = row.kind in ENDPOINTS and str(row.target_id) not in self.live
        if row.target_id and not of_endpoint:
            return reverse("admin:health_target", args=[row.target_id])
        return f"{reverse('admin:health_board')}?{urlencode({'provider': row.provider})}" if row.provider else ""

    def _revision(self, place: Place, row: ConfigRevision) -> Line:
        back = f", back to revision {row.rolled_back_to}" if row.rolled_back_to else ""
        return Line(
            place,
            PUBLISH,
            ICONS[PUBLISH],
            "info",
            "Publish",
            f"Revision {row.number}",
            f"Published{back}{f': “{row.message}”' if row.message else '.'}",
            [],
            row.author,
            reverse("admin:routes_configrevision_change", args=[row.number]),
            self.link_to(row.created_at),
        )


@dataclass(frozen=True)
class Source:
    """Rows of one table as lines; ``when`` and ``number`` are its columns."""

    rows: QuerySet[Any]
    when: str
    number: str
    rank: int
    line: Callable[[Place, Any], Line]

    def before(self, place: Place | None, limit: int) -> Iterator[Line]:
        """Newest first, from what stands before ``place``."""
        rows = self.rows
        if place is not None:
            at, rank, number = place
            same = Q(**{self.when: at})
            if self.rank == rank:
                same &= Q(**{f"{self.number}__lt": number})
            earlier = Q(**{f"{self.when}__lt": at})
            rows = rows.filter(earlier | same if self.rank <= rank else earlier)
        return self._lines(rows.order_by(f"-{self.when}", f"-{self.number}")[:limit])

    def after(self, at: datetime, limit: int) -> Iterator[Line]:
        """Oldest first, what is later than ``at``."""
        return self._lines(self.rows.filter(**{f"{self.when}__gt": at}).order_by(self.when, self.number)[:limit])

    def _lines(self, rows: QuerySet[Any]) -> Iterator[Line]:
        for row in rows:
            yield self.line((getattr(row, self.when), self.rank, getattr(row, self.number)), row)


def read(scope: Scope, given: QueryDict | Mapping[str, str]) -> Timeline:
    """The page that ``before`` (a cursor) or ``at`` (a time) asks for; else the newest."""
    sources = scope.sources()
    cursor, at = str(given.get("before", "")), str(given.get("at", ""))
    moment = _time(at) if at else None
    start = _place(cursor) if cursor else None
    if (at and moment is None) or (cursor and start is None):
        return Timeline([], problem="The address names a moment that cannot be read.", newest=scope.query())
    if moment is not None and start is None:
        start = (moment, EVENT, 2**63 - 1)
    found = list(islice(_merged(sources, start), PAGE + 1))
    older = scope.query(before=_cursor(found[PAGE - 1].place)) if len(found) > PAGE else ""
    newest = scope.query() if cursor or at else ""
    if moment is None or cursor:
        return Timeline(found[:PAGE], older=older, newest=newest)
    later = list(islice(heapq.merge(*(source.after(moment, AFTER + 1) for source in sources)), AFTER + 1))
    newer = scope.link_to(later[AFTER - 1].at) if len(later) > AFTER else ""
    return Timeline(found[:PAGE], later[:AFTER][::-1], moment, newest, newer, older)


def _outcomes(detail: Mapping[str, Any]) -> list[Outcome]:
    return [
        Outcome(
            datetime.fromtimestamp(each["at"], UTC) if each.get("at") else None,
            outcome(each.get("error_class"), each.get("http_status")),
            str(each.get("source") or ""),
        )
        for each in detail.get("outcomes") or ()
    ]


def _merged(sources: list[Source], place: Place | None) -> Iterator[Line]:
    return heapq.merge(*(source.before(place, PAGE + 1) for source in sources), reverse=True)


def _cursor(place: Place) -> str:
    at, rank, number = place
    return f"{(at - EPOCH) // timedelta(microseconds=1)}.{rank}.{number}"


def _place(cursor: str) -> Place | None:
    """A cursor read back; None for anything else."""
    parts = cursor.split(".")
    if len(parts) != 3 or not all(part.isascii() and part.isdecimal() and len(part) < 19 for part in parts):
        return None
    microseconds, rank, number = map(int, parts)
    try:
        return EPOCH + timedelta(microseconds=microseconds), rank, number
    except OverflowError:
        return None


def _stamp(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _time(text: str) -> datetime | None:
    """A time with a zone; without one it is UTC, as the page's times are."""
    return moment_of(PLUS.sub("+", text))
