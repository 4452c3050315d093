"""Profiles with their targets, access keys, policy, prices, admin states."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from hashlib import sha256
from importlib import import_module
from typing import TYPE_CHECKING

import pytest
from django.apps import apps
from django.utils import timezone

from routes import actions, draft, overlay
from routes.actions.errors import Conflict, Forbidden, InUse, Invalid, StaleVersion
from routes.models import AccessKey, AuditEntry, Policy, PriceTable, Profile, Provider
from tests.control.conftest import actor
from tests.control.samples import KEY_VALUE, access_key, document, profile, provider

if TYPE_CHECKING:
    from routes.actions import Actor

pytestmark = pytest.mark.django_db

NO_LIMITS = {"rpm": 0, "tpm": 0, "concurrency": 0, "usd_day": 0, "usd_week": 0, "usd_month": 0}


@pytest.fixture(autouse=True)
def providers(admin: Actor) -> None:
    for slug in ("alpha", "beta"):
        actions.create_provider(provider(slug), actor=admin)


def test_targets_are_replaced_as_a_whole_in_the_order_given(admin: Actor) -> None:
    row = actions.create_profile(profile("p", ("alpha", 70), ("beta", 30)), actor=admin)
    actions.update_profile(row, {"targets": [{"provider": "beta"}]}, actor=admin, version=1)
    row = actions.update_profile(
        row, {"targets": [{"provider": "beta", "tier": 3}, {"provider": "alpha", "model": "m"}]}, actor=admin, version=2
    )
    assert draft.profile_tree(row)["targets"] == [
        {"provider": "beta", "model": None, "weight": None, "tier": 1},
        {"provider": "alpha", "model": "m", "weight": None, "tier": 0},
    ]
    assert row.version == 3


def test_a_change_of_targets_makes_an_editor_of_the_profile_stale(admin: Actor) -> None:
    row = actions.create_profile(profile("p", "alpha"), actor=admin)
    actions.update_profile(row, {"targets": [{"provider": "beta"}]}, actor=admin, version=1)
    with pytest.raises(StaleVersion):
        actions.update_profile(row, {"name": "mine"}, actor=admin, version=1)


def test_timeouts_are_merged_and_the_rest_of_failover_stays(admin: Actor) -> None:
    row = actions.create_profile(profile("p", failover={"max_attempts": 7, "timeouts": {"idle": 9}}), actor=admin)
    row = actions.update_profile(row, {"failover": {"timeouts": {"connect": 1}}}, actor=admin)
    failover = draft.profile_tree(row)["failover"]
    assert (failover["max_attempts"], failover["timeouts"]["idle"], failover["timeouts"]["connect"]) == (7, 9, 1)


def test_another_strategy_starts_with_its_own_params(admin: Actor) -> None:
    row = actions.create_profile(profile("p", strategy="least_latency", params={"min_samples": 3}), actor=admin)
    row = actions.update_profile(row, {"strategy": "Least-Latency"}, actor=admin)
    assert row.params["min_samples"] == 3
    row = actions.update_profile(row, {"strategy": "weighted"}, actor=admin)
    assert row.params == {}


def test_a_new_profile_takes_the_policys_strategy_and_an_imported_one_the_contracts(admin: Actor) -> None:
    actions.update_policy({"default_strategy": "peak_ewma"}, actor=admin)
    assert actions.create_profile(profile("p", "alpha"), actor=admin).strategy == "peak_ewma"
    assert actions.create_profile(profile("q", "alpha", strategy=""), actor=admin).strategy == "failover"
    actions.import_configuration({"profiles": [profile("r", "alpha")]}, actor=admin, merge=True)
    assert Profile.objects.get(slug="r").strategy == "failover"


def test_profiles_from_before_affinity_keep_sessions_unpinned_and_new_ones_pin_them(admin: Actor) -> None:
    old = actions.create_profile(profile("old", "alpha"), actor=admin)
    assert draft.profile_tree(old)["affinity"]["enabled"] is True
    import_module("routes.migrations.0002_rules_affinity_policy").keep_sessions_unpinned(apps, None)
    tree = draft.profile_tree(Profile.objects.get(slug="old"))["affinity"]
    assert (tree["enabled"], tree["ttl"], tree["scope"]) == (False, 1800, "rule")
    before = actions.export_configuration(actor=admin)
    actions.import_configuration(before, actor=admin)
    assert actions.export_configuration(actor=admin) == before


def test_a_target_must_name_a_provider_that_exists_now(admin: Actor) -> None:
    with pytest.raises(Invalid) as caught:
        actions.create_profile(profile("p", "alpha", "gone"), actor=admin)
    assert list(caught.value.fields) == ["targets[1].provider"]
    assert not Profile.objects.exists()


def test_a_profile_that_a_key_names_is_not_deleted(admin: Actor) -> None:
    row = actions.create_profile(profile("p", "alpha"), actor=admin)
    key = actions.create_access_key(access_key(profile="p"), actor=admin).key
    with pytest.raises(InUse) as caught:
        actions.delete_profile(row, actor=admin)
    assert caught.value.used_by == ["access key app"]
    actions.revoke_access_key(key, actor=admin)
    actions.delete_profile(row, actor=admin)
    assert not Profile.objects.exists()


def test_a_new_key_is_answered_once_and_stored_as_its_hash(admin: Actor) -> None:
    created = actions.create_access_key({"name": "app"}, actor=admin)
    assert created.value.startswith("sbx_")
    assert len(created.value) == 47
    row = AccessKey.objects.get()
    assert row.digest == sha256(created.value.encode()).hexdigest()
    assert created.value.startswith(row.prefix)
    assert len(row.prefix) == 12
    assert created.value not in str(AccessKey.objects.values().get())
    assert created.value not in repr(created)


def test_two_keys_have_neither_name_nor_value_in_common(admin: Actor) -> None:
    actions.create_access_key(access_key("one"), actor=admin)
    with pytest.raises(Conflict) as caught:
        actions.create_access_key(access_key("two"), actor=admin)
    assert KEY_VALUE not in str(caught.value.fields)
    with pytest.raises(Conflict):
        actions.create_access_key({"name": "one"}, actor=admin)


def test_a_key_names_profiles_that_exist_but_for_the_default_one(admin: Actor) -> None:
    actions.create_access_key({"name": "early"}, actor=admin)
    actions.create_access_key({"name": "reader", "scopes": ["read"], "profile": "nowhere"}, actor=admin)
    for data in ({"profile": "nowhere"}, {"profiles": ["nowhere"]}):
        with pytest.raises(Invalid):
            actions.create_access_key({"name": "late", **data}, actor=admin)


def test_a_key_may_be_edited_while_its_profile_is_rolled_away(admin: Actor) -> None:
    row = actions.create_profile(profile("p", "alpha"), actor=admin)
    key = actions.create_access_key(access_key(profile="p"), actor=admin).key
    row.delete()
    key = actions.update_access_key(key, {"enabled": False}, actor=admin, version=1)
    assert not key.enabled


def test_times_without_an_offset_are_utc(admin: Actor) -> None:
    key = actions.create_access_key({"name": "k", "expires": "2031-02-03"}, actor=admin).key
    assert key.expires == datetime(2031, 2, 3, tzinfo=UTC)
    assert draft.key_tree(key)["expires"] == "2031-02-03T00:00:00Z"
    with pytest.raises(Invalid):
        actions.update_access_key(key, {"expires": "tomorrow"}, actor=admin)


def test_scopes_and_allowances_have_one_order_and_no_strangers(admin: Actor) -> None:
    key = actions.create_access_key(
        {"name": "k", "scopes": ["admin", "route"], "allow": ["overrides"]}, actor=admin
    ).key
    assert key.scopes == ["route", "admin"]
    for wrong in ({"scopes": []}, {"scopes": ["root"]}, {"allow": ["all"]}):
        with pytest.raises(Invalid):
            actions.update_access_key(key, wrong, actor=admin)


def test_limits_of_a_key_are_merged_and_each_change_is_in_the_audit_log(admin: Actor) -> None:
    key = actions.create_access_key({"name": "k", "limits": {"rpm": 60, "usd_day": 5}}, actor=admin).key
    key = actions.update_access_key(key, {"limits": {"usd_day": 2.5, "tpm": 9000}}, actor=admin, version=1)
    assert draft.key_tree(key)["limits"] == {**NO_LIMITS, "rpm": 60, "tpm": 9000, "usd_day": 2.5}
    entry = AuditEntry.objects.get(action="access_key.updated")
    assert entry.changes == {"limits.tpm": [0, 9000], "limits.usd_day": [5, 2.5]}
    with pytest.raises(Invalid) as caught:
        actions.update_access_key(key, {"limits": {"rpm": -1}}, actor=admin)
    assert list(caught.value.fields) == ["limits.rpm"]


def test_limits_of_a_profile_are_merged_and_each_change_is_in_the_audit_log(admin: Actor) -> None:
    row = actions.create_profile(profile("p", "alpha", limits={"concurrency": 20}), actor=admin)
    row = actions.update_profile(row, {"limits": {"queue_ms": 250}, "accounting": "always"}, actor=admin, version=1)
    assert draft.profile_tree(row)["limits"] == {"concurrency": 20, "queue_ms": 250}
    entry = AuditEntry.objects.get(action="profile.updated")
    assert entry.changes == {"limits.queue_ms": [0, 250], "accounting": ["when_asked", "always"]}


def test_rows_from_before_limits_have_none(admin: Actor) -> None:
    """What the migration leaves behind: empty objects."""
    row = actions.create_profile(profile("p", "alpha"), actor=admin)
    Profile.objects.update(limits={})
    key = actions.create_access_key(access_key(), actor=admin).key
    AccessKey.objects.update(limits={})
    row.refresh_from_db()
    key.refresh_from_db()
    assert draft.profile_tree(row)["limits"] == {"concurrency": 0, "queue_ms": 0}
    assert draft.key_tree(key)["limits"] == overlay.key_document(key)["limits"] == NO_LIMITS
    assert actions.update_access_key(key, {"limits": {"rpm": 1}}, actor=admin).limits == {**NO_LIMITS, "rpm": 1}


def test_policy_and_prices_have_versions_too(admin: Actor) -> None:
    actions.update_policy({"default_strategy": "weighted"}, actor=admin, version=1)
    with pytest.raises(StaleVersion):
        actions.update_policy({"default_strategy": "failover"}, actor=admin, version=1)
    assert Policy.get().default_strategy == "weighted"
    actions.replace_prices({"prices": {"m": {"input": 1, "output": 2}}}, actor=admin, version=1)
    with pytest.raises(Invalid) as caught:
        actions.replace_prices({"prices": {"m": {"input": -1}}}, actor=admin)
    assert list(caught.value.fields) == ["prices.m.input"]
    assert PriceTable.get().prices == {"m": {"input": 1, "output": 2, "cached": None}}


def test_an_operator_drains_a_provider_without_making_editors_stale(admin: Actor) -> None:
    row = Provider.objects.get(slug="alpha")
    until = timezone.now() + timedelta(hours=1)
    row = actions.set_admin_state(row, "draining", actor=actor("operate"), until=until, reason="maintenance")
    assert (row.admin_state, row.admin_until, row.admin_reason, row.admin_by) == (
        "draining",
        until,
        "maintenance",
        "ada",
    )
    actions.update_provider(row, {"name": "x"}, actor=admin, version=1)
    entry = AuditEntry.objects.get(action="provider.admin_state")
    assert entry.changes["admin_state"] == ["active", "draining"]
    assert entry.reason == "maintenance"


def test_an_admin_state_ends_by_itself_and_says_so(admin: Actor) -> None:
    row = Provider.objects.get(slug="alpha")
    until = timezone.now() + timedelta(seconds=60)
    actions.set_admin_state(row, "disabled", actor=admin, until=until)
    actions.set_admin_state(Provider.objects.get(slug="beta"), "disabled", actor=admin)
    assert actions.expire_admin_states(actor=actor("operate"), now=until - timedelta(seconds=1)) == 0
    assert actions.expire_admin_states(actor=actor("operate"), now=until) == 1
    assert Provider.objects.get(slug="alpha").admin_state == "active"
    assert Provider.objects.get(slug="beta").admin_state == "disabled"
    assert AuditEntry.objects.filter(action="provider.admin_state").count() == 3


@pytest.mark.parametrize(
    ("state", "until", "field"),
    [("asleep", None, "state"), ("active", 60, "until"), ("disabled", -1, "until")],
)
def test_an_admin_state_that_makes_no_sense_is_refused(admin: Actor, state: str, until: int | None, field: str) -> None:
    end = None if until is None else timezone.now() + timedelta(seconds=until)
    with pytest.raises(Invalid) as caught:
        actions.set_admin_state(Provider.objects.get(slug="alpha"), state, actor=admin, until=end)
    assert list(caught.value.fields) == [field]


def test_a_reader_sets_no_admin_state_and_an_operator_no_key() -> None:
    with pytest.raises(Forbidden):
        actions.set_admin_state(Provider.objects.get(slug="alpha"), "disabled", actor=actor("read"))
    with pytest.raises(Forbidden):
        actions.create_access_key({"name": "k"}, actor=actor("operate"))


def test_rollback_and_publish_of_the_whole_document_leave_keys_alone(admin: Actor) -> None:
    actions.import_configuration(document(), actor=admin, publish_now=True)
    digest = AccessKey.objects.get().digest
    actions.rollback(1, actor=admin)
    assert AccessKey.objects.get().digest == digest
