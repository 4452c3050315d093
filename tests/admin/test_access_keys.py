"""Access keys in the console: the value is shown once, and what is saved acts at once."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime
from hashlib import sha256
from typing import TYPE_CHECKING

import pytest

from routes import actions, draft, live
from routes.admin.usage import used
from routes.engine.limits import KeyLimits, KeyUsage, ends
from routes.engine.tables.keys import Permit
from routes.models import AccessKey, AuditEntry
from routing_project.console.templatetags.console import utc_words
from routing_project.env import get_env
from tests.admin.conftest import ADA, filled, list_of, page_of, text
from tests.control.conftest import host_state

if TYPE_CHECKING:
    from collections.abc import Iterator

    from django.test import Client

    from routes.live import SharedLiveState
    from tests.admin.conftest import Site

ADD = "/admin/routes/accesskey/add/"
NO_LIMITS = {"rpm": 0, "tpm": 0, "concurrency": 0, "usd_day": 0, "usd_week": 0, "usd_month": 0}


def test_the_value_is_shown_exactly_once(admin: Client, site: Site) -> None:
    response = admin.post(ADD, filled(admin.get(ADD), name="search", profile="default"))
    assert response.status_code == 200
    value = re.search(r'<code id="key-value">(sbx_[A-Za-z0-9_-]{32,})</code>', text(response))
    assert value is not None
    key = AccessKey.objects.get(name="search")
    assert key.digest == sha256(value[1].encode()).hexdigest()
    assert "no-store" in response["Cache-Control"]
    for address in (list_of(AccessKey), page_of(key), list_of(AuditEntry), "/admin/"):
        assert value[1] not in text(admin.get(address))


def test_the_page_after_creation_holds_a_command_with_the_key_and_the_real_address(admin: Client, site: Site) -> None:
    response = admin.post(ADD, filled(admin.get(ADD), name="search", profile="default"))
    value = response.context["value"]
    assert f"Bearer {value}" in response.context["snippets"].curl
    assert "http://testserver/p/default/v1/chat/completions" in response.context["snippets"].curl
    assert response.context["published"]


def test_everything_of_the_form_is_stored(admin: Client, site: Site) -> None:
    data = filled(
        admin.get(ADD),
        name="search",
        profile="default",
        scopes=["route", "read"],
        allow=["debug"],
        expires="2030-01-31T08:00",
        region="eu",
        tags="internal, batch",
        models="gpt-4o*, claude-*",
        profiles="default, spare",
    )
    admin.post(ADD, data)
    key = AccessKey.objects.get(name="search")
    assert (key.scopes, key.allow, key.region) == (["route", "read"], ["debug"], "eu")
    assert key.tags == ["internal", "batch"]
    assert (key.allowed_models, key.allowed_profiles) == (["gpt-4o*", "claude-*"], ["default", "spare"])
    assert key.expires is not None
    assert key.expires.isoformat() == "2030-01-31T08:00:00+00:00"


def test_limits_typed_into_the_form_are_stored_and_listed(admin: Client, site: Site) -> None:
    page = page_of(site.key)
    limits = {"limits.rpm": "600", "limits.tpm": "100000", "limits.usd_day": "2.5", "limits.concurrency": ""}
    answer = admin.post(page, filled(admin.get(page), **limits), follow=True)
    assert "In force now, nothing to publish" in text(answer)
    assert answer.context["open_groups"] == {"restrictions": False, "limits": True}
    site.key.refresh_from_db()
    assert draft.limits_of(site.key) == {**NO_LIMITS, "rpm": 600, "tpm": 100_000, "usd_day": 2.5}
    assert actions.pending_changes() == []
    listed = admin.get(list_of(AccessKey))
    assert [row.limits for row in listed.context["rows"]] == [
        ["600 requests/min", "100\u202f000 tokens/min", "2.5 USD/day"]
    ]
    assert "0 of 100 000 tokens in the last minute" in text(listed)


def test_an_emptied_limit_is_no_limit(admin: Client, site: Site) -> None:
    actions.update_access_key(site.key, {"limits": {"rpm": 5, "usd_month": 9}}, actor=ADA)
    page = page_of(site.key)
    admin.post(page, filled(admin.get(page), **{"limits.rpm": ""}))
    site.key.refresh_from_db()
    assert draft.limits_of(site.key) == {**NO_LIMITS, "usd_month": 9}


def test_a_limit_that_makes_no_sense_is_told_at_its_field_which_is_unfolded(admin: Client, site: Site) -> None:
    data = filled(admin.get(ADD), name="search", profile="default", **{"limits.usd_week": "-1", "limits.rpm": "x"})
    response = admin.post(ADD, data)
    assert set(response.context["form"].errors) == {"limits.rpm"}
    response = admin.post(ADD, {**data, "limits.rpm": "1"})
    assert set(response.context["form"].errors) == {"limits.usd_week"}
    assert response.context["open_groups"]["limits"]
    assert AccessKey.objects.count() == 1


def test_saving_a_form_as_it_was_shown_changes_nothing(admin: Client, site: Site) -> None:
    page = page_of(site.key)
    assert admin.post(page, filled(admin.get(page))).status_code == 302
    site.key.refresh_from_db()
    assert site.key.version == 1


def test_revoking_acts_at_once_and_can_be_undone(admin: Client, site: Site) -> None:
    answer = admin.post(page_of(site.key, "revoke"), {"enabled": "0"}, follow=True)
    site.key.refresh_from_db()
    assert not site.key.enabled
    assert "Revoked" in text(answer)
    assert actions.pending_changes() == []
    admin.post(page_of(site.key, "revoke"), {"enabled": "1"})
    site.key.refresh_from_db()
    assert site.key.enabled


def test_a_name_that_is_taken_is_told_at_the_name(admin: Client, site: Site) -> None:
    response = admin.post(ADD, filled(admin.get(ADD), name="app", profile="default"))
    assert "name" in response.context["form"].errors
    assert AccessKey.objects.count() == 1


def test_deleting_asks_first(admin: Client, site: Site) -> None:
    asked = admin.get(page_of(site.key, "delete"))
    assert "cannot be undone" in text(asked)
    admin.post(page_of(site.key, "delete"), {"version": asked.context["version"]})
    assert not AccessKey.objects.exists()


def test_a_key_that_somebody_has_changed_meanwhile_is_not_deleted(admin: Client, site: Site) -> None:
    seen = admin.get(page_of(site.key, "delete")).context["version"]
    actions.update_access_key(site.key, {"enabled": False}, actor=ADA)
    for version in (seen, ""):
        answer = admin.post(page_of(site.key, "delete"), {"version": version}, follow=True)
        assert "was changed by somebody else" in text(answer)
    assert AccessKey.objects.exists()


# -- what is used --------------------------------------------------------------------------------------------

LIMITS = KeyLimits(rpm=60, tpm=100_000, day=5e6, month=50e6)
WALL = datetime(2026, 11, 18, 12, tzinfo=UTC).timestamp()


@pytest.fixture
def gateway(data_folder: None) -> Iterator[SharedLiveState]:
    with host_state(get_env().live_path) as state:
        yield state


def use(gateway: SharedLiveState, key: AccessKey, micro_usd: int) -> None:
    """A request that cost so much and one that is under way."""
    for ended in (True, False):
        permit = gateway.enter_key(str(key.pk), LIMITS, time.monotonic())
        assert isinstance(permit, Permit)
        if ended:
            gateway.leave_key(permit, 8100, micro_usd, time.monotonic(), time.time())


def limited(key: AccessKey) -> None:
    limits = {"rpm": 60, "tpm": 100_000, "usd_day": 5, "usd_month": 50}
    actions.update_access_key(key, {"limits": limits}, actor=ADA)


def test_the_page_and_the_list_tell_what_a_key_has_used_of_its_limits(
    viewer: Client, site: Site, gateway: SharedLiveState
) -> None:
    limited(site.key)
    use(gateway, site.key, 1_209_999)
    for address in (page_of(site.key), list_of(AccessKey)):
        shown = text(viewer.get(address))
        for part in (
            "2 of 60 requests in the last minute",
            "8 100 of 100 000 tokens in the last minute",
            "1 under way",
            "$1.20 of $5.00 today (UTC)",
            "$1.20 of $50.00 this month (UTC)",
        ):
            assert part in shown, (address, part)
        assert "this week" not in shown
        assert "used up" not in shown


def test_a_budget_that_is_used_up_says_so_and_when_the_key_works_again(
    admin: Client, site: Site, gateway: SharedLiveState
) -> None:
    limited(site.key)
    use(gateway, site.key, 5_000_000)
    page, listed = admin.get(page_of(site.key)), admin.get(list_of(AccessKey))
    again = utc_words(datetime.fromtimestamp(ends("day", time.time()), UTC))
    assert "The budget of today is used up: requests are refused until" in text(page)
    for answer in (page, listed):
        assert "Budget used up" in text(answer)
        assert again in text(answer)
    admin.post(page_of(site.key, "revoke"), {"enabled": "0"})
    assert "Budget used up" not in text(admin.get(list_of(AccessKey))), "it would not work again by itself"


def test_a_key_without_limits_shows_no_use(admin: Client, site: Site, gateway: SharedLiveState) -> None:
    use(gateway, site.key, 5_000_000)
    assert "Used now" not in text(admin.get(page_of(site.key)))
    assert "under way" not in text(admin.get(list_of(AccessKey)))


def test_where_the_live_state_cannot_be_read_the_pages_still_work_and_say_it(
    admin: Client, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    limited(site.key)
    monkeypatch.setattr(live, "_opened", None)
    get_env().live_path.mkdir(parents=True)
    assert "cannot read the live state" in text(admin.get(page_of(site.key)))
    assert "60 requests/min" in text(admin.get(list_of(AccessKey)))


@pytest.mark.parametrize(
    ("limits", "usage", "parts"),
    [
        ({"rpm": 1}, KeyUsage(1, 0, 0, (0, 0, 0)), ["1 of 1 request in the last minute", "0 under way"]),
        ({"concurrency": 20}, KeyUsage(7, 9, 3, (0, 0, 0)), ["3 of 20 under way"]),
        (
            {"usd_week": 1200},
            KeyUsage(0, 0, 0, (0, 31, 0)),
            ["0 under way", "$0.000031 of $1\u202f200.00 this week (UTC)"],
        ),
        ({"usd_day": 0.005}, KeyUsage(0, 0, 0, (0, 0, 0)), ["0 under way", "$0.00 of $0.005 today (UTC)"]),
        ({"usd_day": 5}, KeyUsage(0, 0, 0, (4_999_999, 0, 0)), ["0 under way", "$4.99 of $5.00 today (UTC)"]),
    ],
)
def test_use_is_told_in_words_of_what_is_limited(limits: dict[str, float], usage: KeyUsage, parts: list[str]) -> None:
    told = used(limits, usage, WALL)
    assert told == (parts, [], None)


@pytest.mark.parametrize(
    ("money", "budgets", "again"),
    [
        ((10_000_000, 9, 9), ["today"], (2026, 11, 19)),
        ((10_000_000, 20_000_000, 9), ["today", "this week"], (2026, 11, 23)),
        ((9, 20_000_000, 30_000_001), ["this week", "this month"], (2026, 12, 1)),
    ],
)
def test_a_key_works_again_when_the_last_of_its_used_up_budgets_is_new(
    money: tuple[int, int, int], budgets: list[str], again: tuple[int, int, int]
) -> None:
    told = used({"usd_day": 10, "usd_week": 20, "usd_month": 30}, KeyUsage(0, 0, 0, money), WALL)
    assert told is not None
    assert (told.budgets, told.again) == (budgets, datetime(*again, tzinfo=UTC))
