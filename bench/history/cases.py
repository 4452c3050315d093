"""What people ask of the history, by name: every kind of page, each with values from common to never seen.

A case is a kind of page and the calls that make it up; measuring goes round its calls, explaining shows the first.
Needs Django set up, and a database that ``fill`` has filled.
"""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from uuid import UUID

from bench.history import world
from bench.history.database import query
from history import failures
from history.errors import RangeTooLarge
from history.filters import from_parameters
from history.ids import time_of
from history.models import FAILURE_STATUSES, RouteHistory
from history.repository import RouteHistoryRepository
from history.search import Cursor, count, estimate, search
from history.timerange import TimeRange

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

#: Milliseconds that nine in ten and five more pages may take, by database and kind; None = answers as far as it got.
LIMITS: Final = {"postgresql": 300, "sqlite": 500}
NOTHING: Final = "nobody-has-this"


class Case(NamedTuple):
    """``limited``: whether the promise of ``LIMITS`` is for it. Else it may scan for two seconds."""

    name: str
    calls: list[Callable[[], Any]]
    limited: bool = True


class Data(NamedTuple):
    """What there is in the database to ask for."""

    newest: UUID
    day: TimeRange
    month: TimeRange
    sessions: list[UUID]
    deep: list[UUID]  # ids far behind the newest

    @classmethod
    def read(cls) -> Data:
        newest = RouteHistory.objects.order_by("-id").values_list("id", flat=True)[0]
        end = time_of(newest) + timedelta(milliseconds=1)
        oldest = time_of(RouteHistory.objects.order_by("id").values_list("id", flat=True)[0])
        sample = list(
            RouteHistory.objects.filter(session_id__isnull=False, id__gte=_id(end - timedelta(hours=30)))
            .order_by("id")
            .values_list("session_id", flat=True)[:3000]
        )
        common = [session for session, _ in Counter(sample).most_common(3)]
        deep = [_id(end - (end - oldest) * share) for share in (0.01, 0.1, 0.5, 0.9)]
        return cls(
            newest,
            TimeRange(end - timedelta(hours=24), end),
            TimeRange(oldest, end),
            [*common, *sample[:: max(1, len(sample) // 17)], UUID(int=5 << 76)],
            deep,
        )


def _id(moment: Any) -> UUID:
    from history.ids import first_id

    return first_id(moment)


def every(data: Data) -> list[Case]:
    """All of them, in the order of the report."""
    profiles = [*world.TEAMS, world.GIVEN_UP, NOTHING]
    providers = [slug for slug, _ in world.PROVIDERS] + [NOTHING]
    keys = [
        f"{slug}-{purpose}" for slug in (*world.TEAMS[::3], world.GIVEN_UP) for purpose in ("production", "notebooks")
    ]
    codes = [code for (code,) in query("SELECT DISTINCT error_code FROM route_history WHERE error_code IS NOT NULL")]
    common, rare = world.TEAMS[0], world.TEAMS[-1]

    def asking(*parameters: dict[str, str], span: TimeRange = TimeRange(), **more: Any) -> list[Callable[[], Any]]:  # noqa: B008
        return [lambda each=each: search(from_parameters(each), span, **more) for each in parameters]

    def of(name: str, values: Iterable[str]) -> list[dict[str, str]]:
        return [{name: value} for value in values]

    def after(identifier: UUID, forward: bool = True) -> str:
        return Cursor("-created_at", forward, identifier).encode()

    common_deep = [lambda at=at: search(from_parameters({"profile": common}), cursor=after(at)) for at in data.deep]
    return [
        Case("list, newest", asking({})),
        Case("list, oldest first", asking({}, order="created_at")),
        Case("list, newest, over HTTP", _over_http()),
        Case("list, of 30 days", asking({}, span=data.month)),
        Case("list, pages far behind", [lambda at=at: search(cursor=after(at)) for at in data.deep]),
        Case("list, back from pages far behind", [lambda at=at: search(cursor=after(at, False)) for at in data.deep]),
        Case("list, 1,000 rows", asking({}, limit=1000)),
        Case(
            "status",
            asking(*of("status", [*FAILURE_STATUSES, "cancelled", "decided"]), {"status__in": "failed,timeout"}),
        ),
        Case("status routed", asking({"status": "routed"})),
        Case("recovered", asking({"recovered": "true"})),
        Case("profile", asking(*of("profile", profiles))),
        Case("profile, of 30 days", asking(*of("profile", profiles), span=data.month)),
        Case("profile, pages far behind", common_deep),
        Case(
            "profiles, several",
            asking({"profile__in": f"{rare},{world.TEAMS[-2]}"}, {"profile__in": f"{common},{rare}"}),
        ),
        Case("provider", asking(*of("provider", providers))),
        Case("access_key", asking(*of("access_key", [*keys, NOTHING]))),
        Case("error_code", asking(*of("error_code", [*codes, NOTHING]))),
        Case("session_id", asking(*of("session_id", map(str, data.sessions)))),
        Case("id", asking(*of("id", map(str, (data.newest, *data.deep))))),
        Case("session page", [lambda each=each: _session(each) for each in data.sessions]),
        Case(
            "profile and status",
            asking(*({"profile": each, "status": status} for each in profiles for status in ("failed", "interrupted"))),
        ),
        Case(
            "provider and error_code",
            asking(*({"provider": each, "error_code": code} for each in providers[::4] for code in codes[::3])),
        ),
        Case(
            "profile and provider",
            asking(*({"profile": each, "provider": other} for each in profiles[::3] for other in providers[::4])),
        ),
        Case(
            "access_key and status",
            asking(
                *({"access_key": each, "status": status} for each in keys[::3] for status in ("timeout", "decided"))
            ),
        ),
        Case(
            "failures, 24 h",
            [lambda: failures.report(data.day), lambda: failures.report(data.day, include_recovered=True)],
        ),
        Case("failures, 30 days", [lambda: failures.report(data.month)]),
        Case("failures, 30 days, with recovered ones", [lambda: failures.report(data.month, include_recovered=True)]),
        Case("slowest first, 24 h", asking({}, span=data.day, order="-latency_ms")),
        Case("count=estimate", [lambda: estimate(from_parameters({}), TimeRange())]),
        Case("count=exact, 24 h", [lambda: count(from_parameters({}), data.day)]),
        Case(
            "profile and model",
            asking(*({"profile": each, "model": "nothing"} for each in (common, rare))),
            limited=False,
        ),
        Case("model, 24 h", asking(*of("model", ["gpt-4o", "o4-preview", NOTHING]), span=data.day), limited=False),
        Case("model, 30 days", asking(*of("model", ["gpt-4o", "o4-preview", NOTHING]), span=data.month), limited=False),
        Case(
            "message contains, 30 days",
            asking({"message__contains": "queue was full"}, {"message__contains": NOTHING}, span=data.month),
            limited=False,
        ),
        Case("http_status, 30 days", asking(*of("http_status", ["429", "418"]), span=data.month), limited=False),
        Case("slowest first, 30 days", [lambda: _or_refused(data.month)], limited=False),
    ]


def _over_http() -> list[Callable[[], Any]]:
    """Through Django's whole stack in this process, signed in: what middleware, permissions and JSON add."""
    from django.contrib.auth import get_user_model
    from django.test import Client

    users = get_user_model().objects
    user = users.filter(username="bench").first() or users.create_superuser("bench")
    client = Client(headers={"host": "127.0.0.1"})
    client.force_login(user)

    def get(path: str) -> None:
        answer = client.get(path)
        assert answer.status_code == 200, answer.content

    return [lambda: get("/api/v1/history/"), lambda: get(f"/api/v1/history/?profile={world.TEAMS[0]}")]


def _session(session: UUID) -> Any:
    from asgiref.sync import async_to_sync

    return async_to_sync(RouteHistoryRepository().get_route_history)(session)


def _or_refused(span: TimeRange) -> Any:
    try:
        return search(span=span, order="-latency_ms")
    except RangeTooLarge as refused:
        return refused
