"""Providers: edits with versions, credentials that are sealed, deletion that respects what needs it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from routes import actions, crypto, draft
from routes.actions.errors import Conflict, Forbidden, InUse, Invalid, Missing, StaleVersion
from routes.models import AuditEntry, Installation, Profile, Provider
from tests.control.conftest import actor
from tests.control.samples import CREDENTIAL, document, profile, provider

if TYPE_CHECKING:
    from routes.actions import Actor

pytestmark = pytest.mark.django_db


def test_a_change_of_one_field_keeps_the_others_and_counts_one_version(admin: Actor) -> None:
    row = actions.create_provider(provider(circuit={"failure_threshold": 3}, weight=4), actor=admin)
    row = actions.update_provider(row, {"circuit": {"slow_start": 0}, "name": "New"}, actor=admin, version=1)
    tree = draft.provider_tree(row)
    assert (tree["name"], tree["weight"]) == ("New", 4)
    assert (tree["circuit"]["failure_threshold"], tree["circuit"]["slow_start"]) == (3, 0)
    assert row.version == 2


def test_a_change_that_changes_nothing_counts_no_version_and_leaves_no_entry(admin: Actor) -> None:
    row = actions.create_provider(provider(), actor=admin)
    row = actions.update_provider(row, {"weight": 1.0}, actor=admin)
    assert row.version == 1
    assert AuditEntry.objects.count() == 1


@pytest.mark.django_db(databases=["default", "pg"])
@pytest.mark.usefixtures("both_databases")
def test_a_stale_write_is_refused_and_loses_nothing(admin: Actor) -> None:
    row = actions.create_provider(provider(), actor=admin)
    actions.update_provider(row, {"name": "First"}, actor=admin, version=1)
    with pytest.raises(StaleVersion) as caught:
        actions.update_provider(row, {"name": "Second"}, actor=admin, version=1)
    assert (caught.value.given, caught.value.current) == (1, 2)
    assert Provider.objects.get().name == "First"


def test_a_slug_cannot_be_changed_or_taken_twice(admin: Actor) -> None:
    row = actions.create_provider(provider(), actor=admin)
    with pytest.raises(Invalid) as caught:
        actions.update_provider(row, {"slug": "other"}, actor=admin)
    assert "slug" in caught.value.fields
    with pytest.raises(Conflict):
        actions.create_provider(provider(), actor=admin)


def test_a_credential_is_sealed_to_its_row_and_every_edit_raises_its_generation(admin: Actor) -> None:
    row = actions.create_provider(provider(credential={"value": CREDENTIAL}), actor=admin)
    sealed = bytes(row.credential or b"")
    assert CREDENTIAL.encode() not in sealed
    assert crypto.unseal(sealed, row.credential_context).decode() == CREDENTIAL
    with pytest.raises(crypto.SealError):
        crypto.unseal(sealed, "provider:another row")
    assert (row.credential_generation, row.credential_last4) == (1, CREDENTIAL[-4:])
    row = actions.update_provider(row, {"name": "Kept"}, actor=admin)
    assert (row.credential_generation, bytes(row.credential or b"")) == (1, sealed)
    row = actions.set_credential(row, CREDENTIAL, actor=admin)
    assert row.credential_generation == 2
    row = actions.update_provider(row, {"credential": None}, actor=admin)
    assert (row.has_credential, row.credential_generation, row.credential_last4) == (False, 3, "")


def test_a_short_credential_shows_no_part_of_itself(admin: Actor) -> None:
    row = actions.create_provider(provider(credential={"value": "tiny-secret"}), actor=admin)
    assert row.credential_last4 == ""


@pytest.mark.parametrize("form", [{"env": "HOME"}, {"file": "/etc/hostname"}])
def test_variables_and_files_of_the_machine_are_not_read_for_single_edits(admin: Actor, form: dict[str, str]) -> None:
    with pytest.raises(Invalid) as caught:
        actions.create_provider(provider(credential=form), actor=admin)
    assert "credential" in caught.value.fields


def test_a_provider_in_use_is_refused_with_the_profiles_that_need_it(admin: Actor) -> None:
    actions.import_configuration(document(), actor=admin)
    row = Provider.objects.get(slug="beta")
    with pytest.raises(InUse) as caught:
        actions.delete_provider(row, actor=admin)
    assert caught.value.used_by == ["profile default", "profile fast"]
    assert Provider.objects.count() == 2
    actions.delete_provider(row, actor=admin, remove_from_profiles=True)
    assert list(Profile.objects.get(slug="default").targets.values_list("provider__slug", flat=True)) == ["alpha"]
    assert not Profile.objects.get(slug="fast").targets.exists()


def test_a_provider_that_was_never_published_is_deleted_for_good(admin: Actor) -> None:
    actions.delete_provider(actions.create_provider(provider(), actor=admin), actor=admin)
    assert not Provider.with_deleted.exists()


def test_a_published_provider_is_deleted_softly_and_comes_back_under_its_id_without_its_credential(
    admin: Actor,
) -> None:
    row = actions.create_provider(provider(credential={"value": CREDENTIAL}), actor=admin)
    actions.publish(actor=admin)
    actions.delete_provider(row, actor=admin)
    assert not Provider.objects.exists()
    with pytest.raises(Missing):
        actions.update_provider(row, {"name": "x"}, actor=admin)
    with pytest.raises(Invalid):
        actions.create_provider(provider(credential={"keep": True}), actor=admin)
    again = actions.create_provider(provider(name="Again"), actor=admin)
    assert again.pk == row.pk
    assert not again.has_credential
    assert again.credential_generation == 2


def test_what_acts_at_once_raises_the_overlay_version_and_what_is_draft_does_not(admin: Actor) -> None:
    def version() -> int:
        return Installation.get().overlay_version

    row = actions.create_provider(provider(), actor=admin)
    actions.update_provider(row, {"name": "x"}, actor=admin)
    actions.create_profile(profile("p", "alpha"), actor=admin)
    assert version() == 0
    actions.set_credential(row, CREDENTIAL, actor=admin)
    assert version() == 1
    actions.set_admin_state(row, "draining", actor=actor("operate"))
    assert version() == 2
    key = actions.create_access_key({"name": "k", "scopes": ["read"]}, actor=admin).key
    assert version() == 3
    actions.revoke_access_key(key, actor=admin)
    assert version() == 4


@pytest.mark.parametrize("scope", ["route", "read", "operate"])
def test_changing_configuration_needs_the_scope_admin(scope: str) -> None:
    with pytest.raises(Forbidden):
        actions.create_provider(provider(), actor=actor(scope))


def test_the_draft_costs_the_same_queries_however_large_it_is(admin: Actor) -> None:
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    actions.import_configuration(document(), actor=admin)
    with CaptureQueriesContext(connection) as small:
        draft.configuration()
    many = [provider(f"p{index}") for index in range(30)]
    profiles = [profile(f"q{index}", *[entry["slug"] for entry in many[:10]]) for index in range(20)]
    actions.import_configuration({"providers": many, "profiles": profiles}, actor=admin)
    with CaptureQueriesContext(connection) as large:
        draft.configuration()
    assert len(large) == len(small) <= 6
