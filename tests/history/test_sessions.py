"""Sessions over HTTP: figures and requests by id or by name, and a clear answer when a name means several."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from history import sessions
from history.ids import session_id
from history.render import moment
from routes.models import AccessKey
from tests.history import rows, samples
from tests.history.rows import NOON, at, minutes
from tests.history.test_api import get, key

if TYPE_CHECKING:
    from collections.abc import Callable
    from uuid import UUID

__all__ = ["get"]
pytestmark = [
    pytest.mark.django_db(databases=["default", "pg"]),
    pytest.mark.usefixtures("as_default"),
]
SESSIONS = "/api/v1/history/sessions/"
NOBODYS = "01a22ba7-0243-772a-9c70-d0c5b6d18d02"  # the same in every process of a run


def keyed(name: str) -> UUID:
    """A stored access key's id."""
    key(name)
    row = AccessKey.objects.latest("created_at")
    AccessKey.objects.filter(pk=row.pk).update(name=name)
    return row.pk


def a_chat(owner: UUID, name: str = "app", number: int = 0) -> list[UUID]:
    """``number`` tells chats of the same minutes apart."""
    values = {"key_id": owner.bytes, "key_name": name, "session_key": "chat"}
    saved = [samples.attempt(http_status=500, error_class="upstream_5xx"), samples.attempt()]
    return rows.store(
        samples.finished(at(NOON, number), **values, cached_tokens=5),
        samples.finished(at(NOON + minutes(1), number), **values, recovered=True, attempts=saved, attempt_count=2),
        samples.failed(at(NOON + minutes(2), number), **values, cost_micro_usd=None),
        samples.finished(at(NOON + minutes(3), number), **values, profile="batch"),
    )


def test_a_session_in_figures_and_its_requests_oldest_first(get: Callable[..., Any]) -> None:
    owner = keyed("app")
    routes = a_chat(owner)
    rows.store(samples.finished(session_key="other"), samples.finished())
    session = session_id(owner.bytes, "chat")
    told = get(f"{SESSIONS}{session}/")
    assert [row["id"] for row in told["results"]] == [str(route) for route in routes]
    assert (told["next"], told["previous"]) == (None, None)
    figures = told["session"]
    assert {name: figures[name] for name in ("session_id", "session_key", "access_key", "count", "recovered")} == {
        "session_id": str(session),
        "session_key": "chat",
        "access_key": "app",
        "count": 4,
        "recovered": 1,
    }
    assert (figures["first_at"], figures["last_at"]) == (moment(NOON), moment(NOON + minutes(3)))
    assert {status: count for status, count in figures["statuses"].items() if count} == {"routed": 3, "failed": 1}
    assert figures["profiles"] == [{"profile": "default", "count": 3}, {"profile": "batch", "count": 1}]
    assert figures["providers"] == [{"provider": "acme-eu", "count": 3}, {"provider": "acme-us", "count": 1}]
    assert [(target["provider"], target["count"]) for target in figures["targets"]] == [("acme-eu", 3), ("acme-us", 1)]
    assert (figures["input_tokens"], figures["output_tokens"], figures["cached_tokens"]) == (48, 102, 5)
    assert figures["cost_usd"] == pytest.approx(3 * 370 / 1e6)


def test_the_pages_of_a_session_lead_on_and_back_with_the_same_figures(get: Callable[..., Any]) -> None:
    routes = a_chat(keyed("app"))
    first = get(SESSIONS, session_key="chat", limit="3")
    second = get(first["next"])
    assert [row["id"] for page in (first, second) for row in page["results"]] == [str(route) for route in routes]
    assert first["session"] == second["session"]
    assert second["next"] is None
    assert get(second["previous"])["results"] == first["results"]


def test_a_session_by_name_is_the_session_by_id(get: Callable[..., Any]) -> None:
    owner = keyed("app")
    a_chat(owner)
    assert get(SESSIONS, session_key="chat") == get(f"{SESSIONS}{session_id(owner.bytes, 'chat')}")
    assert get(SESSIONS, session_key="chat", access_key="app") == get(SESSIONS, session_key="chat")


def test_a_name_that_several_keys_use_is_answered_with_whose_sessions_there_are(get: Callable[..., Any]) -> None:
    app, batch = keyed("app"), keyed("batch")
    a_chat(app)
    (late,) = rows.store(
        samples.finished(at(NOON + minutes(9)), key_id=batch.bytes, key_name="batch", session_key="chat")
    )
    error = get(SESSIONS, 409, session_key="chat")["error"]
    assert error["code"] == "session_ambiguous"
    assert [(each["access_key"], each["count"], each["last_at"]) for each in error["sessions"]] == [
        ("batch", 1, moment(NOON + minutes(9))),
        ("app", 4, moment(NOON + minutes(3))),
    ]
    told = get(SESSIONS, session_key="chat", access_key="batch")
    assert [row["id"] for row in told["results"]] == [str(late)]
    for each in error["sessions"]:
        assert get(f"{SESSIONS}{each['session_id']}/")["session"]["access_key"] == each["access_key"]


def test_the_session_of_a_key_that_is_gone_is_found_by_the_keys_name_or_by_its_id(get: Callable[..., Any]) -> None:
    owner = keyed("app")
    a_chat(owner)
    AccessKey.objects.filter(pk=owner).delete()
    assert get(SESSIONS, 404, session_key="chat")["error"]["code"] == "session_not_found"
    assert get(SESSIONS, session_key="chat", access_key="app")["session"]["count"] == 4
    assert get(f"{SESSIONS}{session_id(owner.bytes, 'chat')}")["session"]["count"] == 4


def test_the_session_of_decisions_that_nobodys_key_asked_for_is_found_too(get: Callable[..., Any]) -> None:
    rows.store(samples.decided(key_id=None, key_name="", session_key="by-socket"))
    told = get(SESSIONS, session_key="by-socket")
    assert (told["session"]["access_key"], told["session"]["statuses"]["decided"]) == ("", 1)


def test_there_may_be_more_keys_than_one_query_asks_for(
    get: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sessions, "AT_ONCE", 2)
    owners = [keyed(f"app-{n}") for n in range(5)]
    a_chat(owners[4], "app-4")
    assert get(SESSIONS, session_key="chat")["session"]["access_key"] == "app-4"


@pytest.mark.parametrize(
    ("path", "parameters", "status", "code"),
    [
        (SESSIONS, {}, 400, "invalid"),
        (SESSIONS, {"session_key": ""}, 400, "invalid"),
        (SESSIONS, {"session_key": "a\x00b"}, 400, "invalid"),
        (SESSIONS, {"session_key": "x", "colour": "blue"}, 400, "invalid"),
        (SESSIONS, {"session_key": "x", "access_key": "a\x00b"}, 400, "invalid"),
        (SESSIONS, {"session_key": "x", "limit": "0"}, 400, "invalid"),
        (SESSIONS, {"session_key": "nobody's"}, 404, "session_not_found"),
        (f"{SESSIONS}{NOBODYS}/", {}, 404, "session_not_found"),
        (f"{SESSIONS}{'-' * 36}/", {}, 404, "session_not_found"),
        (f"{SESSIONS}{NOBODYS}/", {"profile": "default"}, 400, "invalid"),
    ],
)
def test_what_is_not_there_or_not_understood_is_refused(
    get: Callable[..., Any], path: str, parameters: dict[str, str], status: int, code: str
) -> None:
    assert get(path, status, **parameters)["error"]["code"] == code
