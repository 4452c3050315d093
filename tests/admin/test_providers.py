"""Providers in the console: what is saved, what acts at once, what is refused, what is never shown."""

from __future__ import annotations

from typing import TYPE_CHECKING

from routes import actions, crypto
from routes.models import AuditEntry, ConfigRevision, Profile, Provider
from tests.admin.conftest import ADA, filled, list_of, page_of, text
from tests.control.samples import CREDENTIAL, provider

if TYPE_CHECKING:
    from django.test import Client

    from tests.admin.conftest import Site

ADD = "/admin/routes/provider/add/"


def test_a_provider_typed_into_the_form_is_stored_as_typed(admin: Client) -> None:
    data = filled(
        admin.get(ADD),
        slug="acme-eu",
        name="Acme EU",
        wire="openai",
        base_url="https://acme.example/v1",
        region="eu-west",
        tags="cheap, eu",
        weight="2.5",
        capacity="7.5",
        max_concurrency="12",
        credential=CREDENTIAL,
        auth_kind="custom",
        auth_header="api-key",
        auth_prefix="Key ",
        **{
            "models-asked": ["gpt-4o", "gpt-*", ""],
            "models-upstream": ["acme-4o", "", ""],
            "prices-model": ["gpt-4o"],
            "prices-input": ["2.5"],
            "prices-output": ["10"],
            "prices-cached": [""],
            "headers-name": ["x-team"],
            "headers-value": ["search"],
            "circuit.failure_threshold": "7",
        },
    )
    response = admin.post(ADD, data)
    assert response.status_code == 302, response.context["form"].errors
    row = Provider.objects.get()
    assert (row.slug, row.region, row.tags, row.weight) == ("acme-eu", "eu-west", ["cheap", "eu"], 2.5)
    assert (row.capacity, row.max_concurrency) == (7.5, 12)
    assert row.auth == {"header": "api-key", "prefix": "Key "}
    assert row.model_map == {"gpt-*": "gpt-*", "gpt-4o": "acme-4o"}
    assert row.prices == {"gpt-4o": {"input": 2.5, "output": 10, "cached": None}}
    assert row.headers == {"x-team": "search"}
    assert row.circuit["failure_threshold"] == 7
    assert row.circuit["window"] == 30
    assert crypto.unseal(bytes(row.credential or b""), row.credential_context).decode() == CREDENTIAL


def test_context_windows_and_usage_are_typed_into_the_form_too(admin: Client, site: Site) -> None:
    page = page_of(site.alpha)
    rows = {"context-model": ["gpt-4o", "claude", ""], "context-tokens": ["128000", "200000", ""]}
    response = admin.post(page, filled(admin.get(page), **rows, stream_usage=None))
    assert response.status_code == 302, response.context["form"].errors
    row = Provider.objects.get(pk=site.alpha.pk)
    assert (row.context, row.stream_usage) == ({"claude": 200_000, "gpt-4o": 128_000}, False)
    assert filled(admin.get(page))["context-model"] == ["claude", "gpt-4o"]


def test_a_window_that_is_no_number_of_tokens_is_told_at_the_windows(admin: Client, site: Site) -> None:
    page = page_of(site.alpha)
    for tokens in ("128k", "0", "-1", ""):
        data = filled(admin.get(page), **{"context-model": ["gpt-4o"], "context-tokens": [tokens]})
        assert list(admin.post(page, data).context["form"].errors) == ["context"], tokens
    assert Provider.objects.get(pk=site.alpha.pk).context == {}


def test_a_generic_provider_needs_no_models_and_authenticates_with_bearer(admin: Client) -> None:
    data = filled(
        admin.get(ADD),
        slug="speech",
        name="Speech",
        wire="generic",
        base_url="https://speech.example/api",
        auth_kind="",
    )
    assert admin.post(ADD, data).status_code == 302
    row = Provider.objects.get()
    assert (row.wire, row.auth, row.model_map, row.stream_usage) == ("generic", "bearer", None, True)
    assert "Generic" in text(admin.get(list_of(Provider)))


def test_probes_and_heads_are_typed_into_the_form_and_back(admin: Client, site: Site) -> None:
    page = page_of(site.alpha)
    typed = {
        "probe.kind": "http",
        "probe.interval": "7.5",
        "probe.fall": "5",
        "probe.path": "/healthz",
        "probe.expect": "204",
        "head_networks": "10.20.0.0/16, fd00::/8",
        "fallback_to_base_url": "on",
    }
    response = admin.post(page, filled(admin.get(page), **typed))
    assert response.status_code == 302, response.context["form"].errors
    row = Provider.objects.get(pk=site.alpha.pk)
    assert row.probe == {
        "kind": "http", "interval": 7.5, "timeout": 10, "rise": 2, "fall": 5, "path": "/healthz", "expect": 204,
        "daily_requests": 0, "daily_usd": 0,
    }  # fmt: skip
    assert (row.head_networks, row.fallback_to_base_url) == (["10.20.0.0/16", "fd00::/8"], True)
    shown = filled(admin.get(page))
    assert {name: str(shown[name]) for name in typed} == {**typed, "fallback_to_base_url": "True"}
    admin.post(page, filled(admin.get(page), **{"probe.kind": "", "probe.path": "", "fallback_to_base_url": None}))
    row.refresh_from_db()
    assert (row.probe["kind"], row.probe["path"], row.fallback_to_base_url) == ("models", None, False)


def test_a_probe_that_cannot_be_is_told_at_its_field(admin: Client, site: Site) -> None:
    page = page_of(site.alpha)
    wrong = {"probe.interval": "0.5", "probe.path": "healthz", "head_networks": "10.20.0.1/16"}
    response = admin.post(page, filled(admin.get(page), **wrong))
    assert set(response.context["form"].errors) == {"probe.interval", "probe.path", "head_networks"}
    groups = response.context["open_groups"]
    assert (groups["probe"], groups["heads"], groups["circuit"]) == (True, True, False)


def test_a_new_generic_provider_is_asked_for_a_connection(admin: Client) -> None:
    data = filled(admin.get(ADD), slug="speech", name="Speech", wire="generic", base_url="https://speech.example")
    assert admin.post(ADD, data).status_code == 302
    assert Provider.objects.get().probe["kind"] == "tcp"


def test_saving_a_form_as_it_was_shown_changes_nothing(admin: Client, site: Site) -> None:
    page = page_of(site.alpha)
    before = Provider.objects.filter(pk=site.alpha.pk).values().get()
    assert admin.post(page, filled(admin.get(page))).status_code == 302
    assert Provider.objects.filter(pk=site.alpha.pk).values().get() == before


def test_save_and_publish_makes_a_revision_that_holds_the_change(admin: Client, site: Site) -> None:
    page = page_of(site.alpha)
    response = admin.post(page, filled(admin.get(page), weight="9", _publish=""), follow=True)
    newest = ConfigRevision.objects.first()
    assert newest is not None
    assert newest.number == 2
    assert newest.author == "admin"
    assert newest.document["providers"][0]["weight"] == 9
    assert "published as revision 2" in text(response)


def test_save_as_draft_publishes_nothing_and_the_banner_counts_it(admin: Client, site: Site) -> None:
    page = page_of(site.alpha)
    response = admin.post(page, filled(admin.get(page), weight="9", _save=""), follow=True)
    assert ConfigRevision.objects.count() == 1
    assert "1 unpublished change." in text(response)


def test_a_stored_credential_is_never_shown_only_its_last_four(admin: Client, viewer: Client, site: Site) -> None:
    for client in (admin, viewer):
        for address in (page_of(site.alpha), list_of(Provider), list_of(AuditEntry), "/admin/"):
            assert CREDENTIAL not in text(client.get(address))
    assert "…lpha" in text(admin.get(page_of(site.alpha)))


def test_an_empty_credential_keeps_the_stored_one(admin: Client, site: Site) -> None:
    page = page_of(site.alpha)
    admin.post(page, filled(admin.get(page), name="Renamed"))
    site.alpha.refresh_from_db()
    assert site.alpha.name == "Renamed"
    assert site.alpha.has_credential
    assert site.alpha.credential_generation == 1


def test_a_new_credential_is_a_new_generation_and_can_be_removed(admin: Client, site: Site) -> None:
    page = page_of(site.alpha)
    admin.post(page, filled(admin.get(page), credential="sk-another-secret-9876"))
    site.alpha.refresh_from_db()
    assert (site.alpha.credential_last4, site.alpha.credential_generation) == ("9876", 2)
    admin.post(page, filled(admin.get(page), remove_credential="on"))
    site.alpha.refresh_from_db()
    assert not site.alpha.has_credential


def test_a_refused_value_is_told_at_its_field_and_nothing_typed_is_lost(admin: Client, site: Site) -> None:
    page = page_of(site.alpha)
    data = filled(admin.get(page), name="Renamed", base_url="ftp://nowhere", **{"circuit.window": "0"})
    response = admin.post(page, data)
    form = response.context["form"]
    assert set(form.errors) == {"base_url", "circuit.window"}
    assert 'value="Renamed"' in text(response)
    assert response.context["open_groups"]["circuit"]
    site.alpha.refresh_from_db()
    assert site.alpha.name == "Alpha"


def test_a_slug_that_is_taken_is_told_at_the_slug(admin: Client, site: Site) -> None:
    data = filled(admin.get(ADD), slug="alpha", name="A", wire="openai", base_url="https://a.example/v1")
    assert "slug" in admin.post(ADD, data).context["form"].errors


def test_draining_acts_at_once_and_waits_for_no_publish(operator: Client, site: Site) -> None:
    answer = operator.post(page_of(site.alpha, "state"), {"state": "draining", "reason": "new disks"}, follow=True)
    site.alpha.refresh_from_db()
    assert (site.alpha.admin_state, site.alpha.admin_by, site.alpha.admin_reason) == (
        "draining",
        "operator",
        "new disks",
    )
    assert "In force now" in text(answer)
    assert actions.pending_changes() == []


def test_an_unknown_state_is_refused(operator: Client, site: Site) -> None:
    answer = operator.post(page_of(site.alpha, "state"), {"state": "asleep"}, follow=True)
    site.alpha.refresh_from_db()
    assert site.alpha.admin_state == "active"
    assert "state: must be" in text(answer)


def test_deleting_a_provider_in_use_is_refused_with_the_profiles_that_use_it(admin: Client, site: Site) -> None:
    page = page_of(site.alpha, "delete")
    response = admin.post(page, {"version": site.alpha.version})
    assert response.status_code == 409
    for profile in (site.default, site.spare):
        assert page_of(profile) in text(response)
    assert Provider.objects.filter(slug="alpha").exists()
    assert Profile.objects.get(slug="spare").targets.count() == 1


def test_a_provider_without_use_is_deleted_after_a_question(admin: Client, site: Site) -> None:
    delta = actions.create_provider(provider("delta"), actor=ADA)
    page = page_of(delta, "delete")
    assert "Delete delta" in text(admin.get(page))
    assert Provider.objects.filter(slug="delta").exists()
    admin.post(page, {"version": delta.version})
    assert not Provider.objects.filter(slug="delta").exists()


def test_the_list_says_who_uses_a_provider_and_in_which_state_it_is(viewer: Client, site: Site) -> None:
    actions.set_admin_state(site.beta, "disabled", actor=ADA)
    rows = {row.provider.slug: row for row in viewer.get(list_of(Provider)).context["rows"]}
    assert [profile.slug for profile in rows["alpha"].profiles] == ["default", "spare"]
    assert [profile.slug for profile in rows["beta"].profiles] == ["default"]
    assert rows["beta"].provider.admin_state == "disabled"
