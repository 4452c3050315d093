"""Access keys in the console: the value is shown once, and what is saved acts at once."""

from __future__ import annotations

import re
from hashlib import sha256
from typing import TYPE_CHECKING

from routes import actions, draft
from routes.models import AccessKey, AuditEntry
from tests.admin.conftest import ADA, filled, list_of, page_of, text

if TYPE_CHECKING:
    from django.test import Client

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
    assert "100 000 tokens/min" in text(listed)


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
    assert "cannot be undone" in text(admin.get(page_of(site.key, "delete")))
    admin.post(page_of(site.key, "delete"))
    assert not AccessKey.objects.exists()
