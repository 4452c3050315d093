"""What an access key has used, over REST: read from the live state of the host, in dollars, and never written."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest

from routes import actions, live
from routes.engine.limits import KeyLimits
from routes.engine.tables.keys import Permit
from tests.control.api import Api
from tests.control.conftest import actor
from tests.control.samples import access_key

if TYPE_CHECKING:
    from routes.live import SharedLiveState
    from routes.models import AccessKey
    from routing_project.env import Env

pytestmark = pytest.mark.django_db
ALL = {"rpm": 60, "tpm": 1000, "usd_day": 5, "usd_month": 50}
NOTHING = dict.fromkeys(
    ("requests_last_minute", "tokens_last_minute", "in_flight", "usd_day", "usd_week", "usd_month"), 0
)


@pytest.fixture
def api() -> Api:
    return Api("admin")


@pytest.fixture
def key() -> AccessKey:
    return actions.create_access_key(access_key(limits=ALL), actor=actor("admin")).key


def use(gateway: SharedLiveState, key: AccessKey) -> None:
    """Two requests: one that has ended, of 30 tokens and 1.25 dollars, and one under way that reserved 100."""
    limits = KeyLimits.from_document(ALL)
    assert limits is not None
    for ended in (True, False):
        now, wall = time.monotonic(), time.time()
        permit = gateway.enter_key(str(key.pk), limits, now)
        assert isinstance(permit, Permit)
        assert gateway.reserve(permit, 100, now, wall) == (None, [])
        if ended:
            gateway.leave_key(permit, 30, 1_250_000, now, wall)


def test_a_key_tells_what_it_has_used_in_the_minute_now_and_of_its_budgets(
    api: Api, key: AccessKey, gateway: SharedLiveState
) -> None:
    use(gateway, key)
    used = {
        "requests_last_minute": 2,
        "tokens_last_minute": 130,
        "in_flight": 1,
        "usd_day": 1.25,
        "usd_week": 1.25,
        "usd_month": 1.25,
    }
    assert api.get("access-keys/app/").body["usage"] == used
    listed = {row["name"]: row["usage"] for row in api.get("access-keys/").body["results"]}
    assert listed == {"app": used, "key with admin": NOTHING}
    assert api.patch("access-keys/app/", {"region": "eu"}).body["usage"] == used


def test_what_a_limit_that_is_gone_has_counted_is_not_told(api: Api, key: AccessKey, gateway: SharedLiveState) -> None:
    use(gateway, key)
    api.patch("access-keys/app/", {"limits": {"usd_day": 0, "usd_month": 0}})
    usage = api.get("access-keys/app/").body["usage"]
    assert usage == {**NOTHING, "requests_last_minute": 2, "tokens_last_minute": 130, "in_flight": 1}
    api.patch("access-keys/app/", {"limits": {"rpm": 0, "tpm": 0}})
    assert api.get("access-keys/app/").body["usage"] == NOTHING


def test_where_no_gateway_has_ever_run_nothing_is_used_and_no_state_is_made(api: Api, key: AccessKey, env: Env) -> None:
    assert api.get("access-keys/app/").body["usage"] == NOTHING
    assert not env.live_path.exists()


def test_usage_is_null_where_the_live_state_cannot_be_opened(
    api: Api, key: AccessKey, env: Env, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "_opened", None)
    env.live_path.mkdir(parents=True)
    answer = api.get("access-keys/app/")
    assert (answer.status, answer.body["usage"]) == (200, None)
    assert api.get("access-keys/key with admin/").body["usage"] == NOTHING, "of it nothing is counted anywhere"


def test_usage_is_never_written_and_what_was_read_can_be_sent_back_whole(
    api: Api, key: AccessKey, gateway: SharedLiveState
) -> None:
    read: dict[str, Any] = api.get("access-keys/app/").body
    use(gateway, key)
    answer = api.patch("access-keys/app/", {**read, "region": "eu"})
    assert (answer.status, answer.body["region"], answer.body["usage"]["in_flight"]) == (200, "eu", 1)
    refused = api.post("access-keys/", {"name": "new", "usage": read["usage"]})
    assert (refused.status, set(refused.error["fields"])) == (400, {"usage"})
