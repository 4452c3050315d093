"""Sessions: the requests that a client said belong together, by id or by the client's own name for it. Read only.

A session's id is derived from the access key and the client's name (``history.ids.session_id``), so two keys may have
sessions of the same name, and they are never mixed. The name has no index: it is looked for by the ids that it has
under the keys there are, and under one that is gone if that is named.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from django.db.models import Count, FloatField, Max, Min, Sum

from history.errors import BadQuery, RangeTooLarge, SessionAmbiguous, SessionNotFound
from history.filters import FIELDS, Filters, from_parameters
from history.ids import session_id
from history.models import RouteHistory, RouteStatus
from history.search import DEFAULT_LIMIT, Page, search, time_limit
from routes.models import AccessKey

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from datetime import datetime
    from uuid import UUID

ORDER: Final = "created_at"
#: Ids that one query asks for.
AT_ONCE: Final = 500


@dataclass(frozen=True, slots=True)
class Sighting:
    """A session that a name may mean."""

    id: UUID
    access_key: str
    first: datetime
    last: datetime
    count: int


class Target(NamedTuple):
    """Where requests of a session were answered, or tried last. Empty for those that reached nobody."""

    endpoint_id: UUID | None
    provider: str
    model: str


class Session:
    """A session in figures. ``cost_micro_usd`` is of the requests whose cost is known."""

    def __init__(self, identifier: UUID) -> None:
        self.id = identifier
        self.session_key = self.access_key = ""
        self.first: datetime | None = None
        self.last: datetime | None = None
        self.count = self.recovered = 0
        self.statuses: Counter[str] = Counter(dict.fromkeys(RouteStatus.values, 0))
        self.profiles: Counter[str] = Counter()
        self.targets: Counter[Target] = Counter()
        self.input_tokens = self.output_tokens = self.cached_tokens = 0
        self.cost_micro_usd = 0

    def add(self, row: dict[str, Any]) -> None:
        number = row["number"]
        self.session_key, self.access_key = row["session_key"] or "", row["access_key"]
        self.first = row["first"] if self.first is None else min(self.first, row["first"])
        self.last = row["last"] if self.last is None else max(self.last, row["last"])
        self.count += number
        self.recovered += number if row["recovered"] else 0
        self.statuses[row["status"]] += number
        self.profiles[row["profile"]] += number
        self.targets[Target(row["endpoint_id"], row["provider"], row["model"])] += number
        self.input_tokens += row["input_sum"] or 0
        self.output_tokens += row["output_sum"] or 0
        self.cached_tokens += row["cached_sum"] or 0
        self.cost_micro_usd += round(row["cost_sum"] or 0)

    @property
    def providers(self) -> Counter[str]:
        found: Counter[str] = Counter()
        for target, number in self.targets.items():
            found[target.provider] += number
        return found


class Told(NamedTuple):
    """``session`` is None when its figures take too long."""

    session: Session | None
    page: Page


def read(identifier: UUID, *, limit: int = DEFAULT_LIMIT, cursor: str | None = None, alias: str = "default") -> Told:
    """A session in figures, and a page of its requests, oldest first. Two queries. Raises SessionNotFound."""
    page = search(_of(identifier), order=ORDER, limit=limit, cursor=cursor, alias=alias)
    try:
        session: Session | None = figures(identifier, alias)
    except RangeTooLarge:
        session = None
    if session is not None and not session.count:
        raise SessionNotFound("there is no session with this id")
    return Told(session, page)


def figures(identifier: UUID, alias: str = "default") -> Session:
    """Of all requests of a session; one query over its rows. Raises RangeTooLarge."""
    session = Session(identifier)
    rows = RouteHistory.objects.using(alias).filter(_of(identifier).condition).order_by()
    names = ("session_key", "access_key", "status", "recovered", "profile", "endpoint_id", "provider", "model")
    sums = rows.values(*names).annotate(
        number=Count("id"),
        first=Min("created_at"),
        last=Max("created_at"),
        input_sum=Sum("input_tokens"),
        output_sum=Sum("output_tokens"),
        cached_sum=Sum("cached_tokens"),
        cost_sum=Sum("cost_micro_usd", output_field=FloatField()),
    )
    with time_limit(alias):
        for row in sums:
            session.add(row)
    return session


def find(name: str, access_key: str | None = None, alias: str = "default") -> UUID:
    """The id of the session that clients call ``name``; of one key's, if keys of several names have one.

    Raises SessionNotFound, SessionAmbiguous, BadQuery. A query for the keys and one for each 500 of them.
    """
    for parameter, value in (("session_key", name), ("access_key", access_key or "")):
        try:
            FIELDS[parameter].parse(value)
        except ValueError as error:
            raise BadQuery(parameter, str(error)) from None
    if not name:
        raise BadQuery("session_key", "must not be empty")
    wanted = [session_id(None if key is None else key.bytes, name) for key in _keys(access_key, alias)]
    found = [sighting for some in _some(wanted) for sighting in _sightings(some, alias)]
    if not found:
        if access_key is not None:
            raise SessionNotFound(f"the access key '{access_key}' has no session of this name")
        raise SessionNotFound("no access key that there is has a session of this name; one that is gone must be named")
    if len(found) > 1:
        raise SessionAmbiguous(sorted(found, key=lambda sighting: sighting.last, reverse=True))
    return found[0].id


def _of(identifier: UUID) -> Filters:
    return from_parameters({"session_id": str(identifier)})


def _keys(access_key: str | None, alias: str) -> set[UUID | None]:
    """Keys that may have given a session its id; None = decisions that nobody's key asked for."""
    keys = AccessKey.objects.using(alias)
    if access_key is None:
        return {None, *keys.values_list("id", flat=True)}
    rows = RouteHistory.objects.using(alias).filter(access_key=access_key).order_by("-id")
    return {
        *keys.filter(name=access_key).values_list("id", flat=True),
        *rows.values_list("access_key_id", flat=True)[:1],
    }


def _some(identifiers: list[UUID]) -> Iterator[list[UUID]]:
    for start in range(0, len(identifiers), AT_ONCE):
        yield identifiers[start : start + AT_ONCE]


def _sightings(identifiers: Iterable[UUID], alias: str) -> list[Sighting]:
    rows = RouteHistory.objects.using(alias).filter(session_id__in=identifiers).order_by()
    groups = rows.values_list("session_id").annotate(
        key=Max("access_key"), first=Min("created_at"), last=Max("created_at"), number=Count("id")
    )
    with time_limit(alias):
        return [Sighting(*group) for group in groups]
