"""Which sessions are pinned where, over REST, and letting go of them."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

import pytest

from routes import actions, live
from routes.engine.local_live import LocalLiveState
from routes.engine.snapshot import target_id
from routes.models import AuditEntry, Profile, Provider
from tests.control.api import Answer, Api
from tests.control.conftest import actor
from tests.control.samples import profile, provider

pytestmark = pytest.mark.django_db


@pytest.fixture
def state(monkeypatch: pytest.MonkeyPatch) -> LocalLiveState:
    """The live state of this host, in the memory of the test."""
    state = LocalLiveState()
    monkeypatch.setattr(live, "current", lambda: state)
    tree = {
        "providers": [provider("alpha"), provider("beta")],
        "profiles": [profile("default", "alpha", {"provider": "beta", "model": "m"}), profile("other", "alpha")],
    }
    actions.import_configuration(tree, actor=actor("admin"), publish_now=True)
    return state


def target(slug: str, model: str | None = None) -> str:
    return target_id(str(Provider.objects.get(slug=slug).pk), model)


def pin(state: LocalLiveState, session: str, to: str, slug: str = "default", ago: float = 0, ttl: float = 60) -> None:
    now = time.monotonic()
    state.set_pin(
        f"{slug}/{session}".encode().ljust(16)[:16],
        to,
        now,
        ttl,
        profile_id=str(Profile.objects.get(slug=slug).pk),
        session=session,
        pinned_at=now - ago,
    )


def sessions(answer: Answer) -> list[str]:
    assert answer.status == 200
    return [entry["session"] for entry in answer.body["results"]]


def test_a_pin_is_told_with_the_names_and_times_that_people_know(state: LocalLiveState) -> None:
    pin(state, "s1", target("beta", "m"), ago=30, ttl=90)
    pin(state, "gone", target("beta", "old"), slug="other")
    gone, found = Api("read").get("affinity/").body["results"]
    pinned, expires = (datetime.fromisoformat(found.pop(name)) for name in ("pinned_at", "expires_at"))
    assert found == {
        "profile": "default",
        "target": target("beta", "m"),
        "provider": "beta",
        "model": "m",
        "session": "s1",
        "kind": "session",
    }
    assert expires - pinned == pytest.approx(timedelta(seconds=120), abs=timedelta(milliseconds=2))
    assert abs(pinned - datetime.now(UTC)) < timedelta(minutes=5)
    assert (gone["profile"], gone["provider"], gone["model"]) == ("other", "", None), "a target nobody has any more"


def test_pins_come_newest_first_page_by_page_and_back(state: LocalLiveState) -> None:
    for number in range(7):
        pin(state, f"s{number}", target("alpha"), ago=number)
    pin(state, "expired", target("alpha"), ttl=-1)
    api = Api("read")
    seen, pages, path = [], [], "affinity/?limit=3"
    while path:
        page = api.get(path)
        assert set(page.body) == {"results", "next", "previous"}
        seen += sessions(page)
        pages.append(page.body)
        path = (page.body["next"] or "").partition("/api/v1/")[2]
    assert seen == [f"s{number}" for number in range(7)]
    for page, before in zip(pages[1:], pages, strict=False):
        back = api.get(page["previous"].partition("/api/v1/")[2])
        assert sessions(back) == [entry["session"] for entry in before["results"]]
    assert pages[0]["previous"] is None


def test_pins_are_filtered_by_profile_and_target(state: LocalLiveState) -> None:
    pin(state, "a", target("alpha"), ago=1)
    pin(state, "b", target("beta", "m"))
    pin(state, "c", target("alpha"), slug="other", ago=2)
    api = Api("read")
    assert sessions(api.get("affinity?profile=default")) == ["b", "a"]
    assert sessions(api.get(f"affinity/?profile={Profile.objects.get(slug='other').pk}")) == ["c"]
    assert sessions(api.get(f"affinity/?target={target('alpha')}")) == ["a", "c"]
    assert sessions(api.get(f"affinity/?target={target('alpha')}&profile=default")) == ["a"]


def test_an_operator_lets_go_of_what_the_filters_name_and_it_is_on_record(state: LocalLiveState) -> None:
    for slug, session, to in (("default", "a", "alpha"), ("default", "b", "beta"), ("other", "c", "alpha")):
        pin(state, session, target(to, "m" if to == "beta" else None), slug=slug)
    operator = Api("operate")
    assert operator.delete(f"affinity/?profile=default&target={target('alpha')}").body == {"deleted": 1}
    entry = AuditEntry.objects.latest("pk")
    assert (entry.action, entry.object_name, entry.actor_name) == ("affinity.dropped", "default", "key with operate")
    assert entry.changes == {"dropped": 1, "target": target("alpha")}
    assert sorted(sessions(operator.get("affinity/"))) == ["b", "c"]
    assert operator.delete("affinity").body == {"deleted": 2}
    assert Api("read").delete("affinity/").status == 403


@pytest.mark.parametrize("query", ["profile=nowhere", "profile=%00", "target=alpha", "profile=", "target="])
def test_a_filter_that_names_nothing_never_lets_go_of_everything(state: LocalLiveState, query: str) -> None:
    pin(state, "a", target("alpha"))
    answer = Api("operate").delete(f"affinity/?{query}")
    assert (answer.status, list(answer.error["fields"])) == (400, [query.partition("=")[0]])
    assert Api("read").get(f"affinity/?{query}").status == 400
    assert len(list(state.pins(time.monotonic()))) == 1


@pytest.mark.parametrize("cursor", ["x", "%00", "W10=", "WzEsMiwzXQ==", "bnVsbA=="])
def test_a_cursor_that_is_not_ours_is_400(state: LocalLiveState, cursor: str) -> None:
    assert Api("read").get(f"affinity/?cursor={cursor}").status == 400
