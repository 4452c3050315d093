"""Profiles in the console: targets in order, effective shares, snippets, deletion."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest

from routes import actions, draft
from routes.actions.rules import create_rule
from routes.admin import preview
from routes.admin.shares import effective_shares
from routes.engine.local_live import LocalLiveState
from routes.engine.types import Outcome
from routes.models import AccessKey, ConfigRevision, Profile
from tests.admin.conftest import ADA, filled, list_of, page_of, target_rows, text
from tests.control.samples import profile as profile_entry
from tests.control.samples import provider as provider_entry
from tests.control.samples import rule as rule_entry

if TYPE_CHECKING:
    from django.test import Client

    from tests.admin.conftest import Site

ADD = "/admin/routes/profile/add/"
SHARES = "/admin/routes/profile/shares/"


@pytest.fixture(autouse=True)
def draws() -> None:
    """As many as there are: shares are what many of these tests are about."""


def targets_of(profile: Profile) -> list[tuple[Any, ...]]:
    tree = draft.profile_tree(Profile.objects.get(pk=profile.pk))
    return [(target["provider"], target["weight"], target["tier"]) for target in tree["targets"]]


def test_the_targets_are_saved_in_the_order_they_were_given(admin: Client, site: Site) -> None:
    page = page_of(site.default)
    data = filled(admin.get(page), **target_rows({"provider": "gamma"}, {"provider": "alpha", "weight": 7, "tier": 1}))
    data["targets-0-ORDER"], data["targets-1-ORDER"] = 2, 1
    assert admin.post(page, data).status_code == 302
    assert targets_of(site.default) == [("alpha", 7, 1), ("gamma", None, 0)]


def test_a_removed_row_is_gone(admin: Client, site: Site) -> None:
    page = page_of(site.default)
    admin.post(page, filled(admin.get(page), **{"targets-1-DELETE": "on"}))
    assert [slug for slug, *_ in targets_of(site.default)] == ["alpha", "gamma"]


def test_saving_a_form_as_it_was_shown_changes_nothing(admin: Client, site: Site) -> None:
    page = page_of(site.default)
    assert admin.post(page, filled(admin.get(page))).status_code == 302
    site.default.refresh_from_db()
    assert site.default.version == 1


def test_limits_accounting_and_resending_are_saved_as_typed(admin: Client, site: Site) -> None:
    page = page_of(site.default)
    typed = {"limits.concurrency": "200", "limits.queue_ms": "500", "failover.non_idempotent": "on"}
    response = admin.post(page, filled(admin.get(page), accounting="always", **typed))
    assert response.status_code == 302, response.context["form"].errors
    tree = draft.profile_tree(Profile.objects.get(pk=site.default.pk))
    assert tree["limits"] == {"concurrency": 200, "queue_ms": 500}
    assert (tree["accounting"], tree["failover"]["non_idempotent"]) == ("always", True)
    shown = admin.get(page)
    assert [choice.name for choice in shown.context["form"].accounting_choices if choice.checked] == ["always"]
    admin.post(
        page, filled(shown, **{"limits.concurrency": "", "limits.queue_ms": "", "failover.non_idempotent": None})
    )
    tree = draft.profile_tree(Profile.objects.get(pk=site.default.pk))
    assert tree["limits"] == {"concurrency": 0, "queue_ms": 0}
    assert tree["failover"]["non_idempotent"] is False


@pytest.mark.parametrize(
    ("field", "value", "group"), [("limits.queue_ms", "60001", "limits"), ("accounting", "sometimes", "accounting")]
)
def test_what_a_limit_or_accounting_cannot_be_is_told_where_it_stands(
    admin: Client, site: Site, field: str, value: str, group: str
) -> None:
    page = page_of(site.default)
    response = admin.post(page, filled(admin.get(page), **{field: value}))
    assert list(response.context["form"].errors) == [field]
    assert [name for name, unfolded in response.context["open_groups"].items() if unfolded] == [group]


def test_a_weight_saved_and_published_is_in_the_live_revision(admin: Client, site: Site) -> None:
    page = page_of(site.default)
    admin.post(page, filled(admin.get(page), _publish="", **{"targets-0-weight": "5"}))
    newest = ConfigRevision.objects.first()
    assert newest is not None
    assert newest.number == 2
    assert newest.document["profiles"][0]["targets"][0]["weight"] == 5


def test_a_new_profile_with_params_of_its_strategy(admin: Client, site: Site) -> None:
    data = filled(
        admin.get(ADD),
        slug="fast",
        name="Fast",
        strategy="least_latency",
        **{"params.least_latency.min_samples": "3", "failover.max_attempts": "2", "failover.timeouts.idle": "7.5"},
        **target_rows({"provider": "alpha", "model": "gpt-4o"}),
    )
    response = admin.post(ADD, data)
    assert response.status_code == 302, response.context["form"].errors
    row = Profile.objects.get(slug="fast")
    assert row.params["min_samples"] == 3
    assert row.failover["max_attempts"] == 2
    assert row.failover["timeouts"]["idle"] == 7.5


def test_sessions_failover_mode_scenarios_and_tags_are_stored_as_typed(admin: Client, site: Site) -> None:
    page = page_of(site.default)
    data = filled(
        admin.get(page),
        mode="success_rate",
        require_tags="on",
        **{
            "affinity.enabled": None,
            "affinity.ttl": "60.5",
            "affinity.scope": "profile",
            "affinity.sliding": "on",
            "affinity.promotion_hold": "0",
            "affinity.client_ip": "on",
            "mode.success_rate.min": "72.5",
            "mode.latency.ms": "1",
            "scenario.order": "webSearch, long-context, default",
            "scenario.long_context_threshold": "16000",
            "scenario.background_models": "",
        },
    )
    response = admin.post(page, data)
    assert response.status_code == 302, response.context["form"].errors
    tree = draft.profile_tree(Profile.objects.get(slug="default"))
    assert tree["affinity"] == {
        "enabled": False,
        "ttl": 60.5,
        "scope": "profile",
        "sliding": True,
        "promotion_hold": 0,
        "client_ip": True,
    }
    assert tree["failover"]["mode"] == {"success_rate": {"min": 0.725}}
    assert tree["scenario"] == {
        "order": ["web_search", "long_context", "default"],
        "long_context_threshold": 16000,
        "background_models": [],
    }
    assert tree["require_tags"] is True


@pytest.mark.parametrize(
    "mode",
    [
        "cost",
        {"threshold": {"failures": 7}},
        {"latency": {"ms": 12.5, "percentile": "p99"}},
        {"success_rate": {"min": 0.29}},
    ],
    ids=str,
)
def test_every_failover_mode_survives_the_form(admin: Client, site: Site, mode: Any) -> None:
    actions.update_profile(site.default, {"failover": {"mode": mode}}, actor=ADA)
    page = page_of(site.default)
    assert admin.post(page, filled(admin.get(page))).status_code == 302
    row = Profile.objects.get(slug="default")
    assert (row.failover["mode"], row.version) == (mode, 2)


def test_errors_of_folded_fields_unfold_them(admin: Client, site: Site) -> None:
    page = page_of(site.default)
    wrong = {"affinity.ttl": "0", "mode": "latency", "mode.latency.ms": "0", "scenario.order": "code, nonsense"}
    response = admin.post(page, filled(admin.get(page), **wrong))
    opened = response.context["open_groups"]
    assert {group for group, is_open in opened.items() if is_open} == {"affinity", "failover", "scenario"}
    assert "no. 2: must be one of" in text(response)


def test_rules_stay_when_their_profile_is_saved(admin: Client, site: Site) -> None:
    create_rule(site.default, rule_entry("long", "beta"), actor=ADA)
    page = page_of(site.default)
    admin.post(page, filled(admin.get(page), name="Renamed"))
    tree = draft.profile_tree(Profile.objects.get(slug="default"))
    assert (tree["name"], [entry["name"] for entry in tree["rules"]]) == ("Renamed", ["long"])


def test_errors_of_a_target_stand_at_its_row_and_the_order_stays(admin: Client, site: Site) -> None:
    page = page_of(site.default)
    rows = target_rows({"provider": "beta"}, {"provider": "alpha"}, {"provider": "beta"})
    response = admin.post(page, filled(admin.get(page), **rows))
    assert response.status_code == 200
    assert "Nothing was saved" in text(response)
    assert "the same provider and model as targets[0]" in text(response)
    assert [row.form["provider"].value() for row in response.context["target_rows"]] == ["beta", "alpha", "beta"]


def test_every_strategy_is_explained_in_a_sentence_and_brings_only_its_params(viewer: Client, site: Site) -> None:
    from routes.engine import strategies

    page = text(viewer.get(page_of(site.default)))
    for name, strategy in strategies.REGISTRY.items():
        assert f'value="{name}"' in page
        assert strategy.description.replace("'", "&#x27;") in page
        assert (f'data-choice-value="{name}"' in page) == bool(strategy.params_model.model_fields)


def test_the_snippets_hold_the_real_address(viewer: Client, site: Site) -> None:
    snippets = viewer.get(page_of(site.default), headers={"host": "localhost:8123"}).context["snippets"]
    assert "http://localhost:8123/p/default/v1/chat/completions" in snippets.curl
    assert '"model": "gpt-4o"' in snippets.curl
    assert 'base_url="http://localhost:8123/p/default/v1"' in snippets.python
    compile(snippets.python, "snippet", "exec")


def test_a_profile_of_generic_providers_alone_shows_a_service_request(admin: Client, site: Site) -> None:
    actions.create_provider(provider_entry("speech", wire="generic"), actor=ADA)
    voices = actions.create_profile(profile_entry("voices", "speech"), actor=ADA)
    page = admin.get(page_of(voices), headers={"host": "localhost:8123"})
    snippets = page.context["snippets"]
    assert snippets.curl.splitlines() == [
        "curl http://localhost:8123/svc/voices/path \\",
        '  -H "Authorization: Bearer $SIGNALBOX_KEY"',
    ]
    assert "http://localhost:8123/svc/voices/path" in snippets.python
    compile(snippets.python, "snippet", "exec")
    assert "in place of <code>path</code>" in text(page)
    actions.update_profile(voices, {"targets": [{"provider": "speech"}, {"provider": "alpha"}]}, actor=ADA)
    assert "/p/voices/v1/chat/completions" in admin.get(page_of(voices)).context["snippets"].curl


def test_a_profile_that_keys_use_is_not_deleted(admin: Client, site: Site) -> None:
    response = admin.post(page_of(site.default, "delete"), {"version": site.default.version})
    assert response.status_code == 409
    assert "Access key app" in text(response)
    AccessKey.objects.all().delete()
    admin.post(page_of(site.default, "delete"), {"version": site.default.version})
    assert not Profile.objects.filter(slug="default").exists()


# -- effective shares -----------------------------------------------------------------------------------------
def shown(response: Any) -> list[str]:
    return [row.share.text.replace("\u202f", " ") for row in response.context["target_rows"]]


def test_weighted_shares_are_the_weights(viewer: Client, site: Site) -> None:
    assert shown(viewer.get(page_of(site.default))) == ["50 %", "30 %", "20 %"]


def test_a_drained_provider_leaves_its_share_to_the_others(viewer: Client, site: Site) -> None:
    actions.set_admin_state(site.beta, "draining", actor=ADA)
    response = viewer.get(page_of(site.default))
    assert shown(response) == ["71.4 %", "no traffic", "28.6 %"]
    assert "draining" in response.context["target_rows"][1].share.note


@pytest.mark.parametrize(
    ("strategy", "expected"),
    [
        ("failover", [1, 0, 0]),
        ("single", [1, 0, 0]),
        ("round_robin", [1 / 3, 1 / 3, 1 / 3]),
        ("smooth_weighted", [0.5, 0.3, 0.2]),
        ("weighted", [0.5, 0.3, 0.2]),
    ],
)
def test_the_shares_follow_the_unsaved_form(admin: Client, site: Site, strategy: str, expected: list[float]) -> None:
    data = filled(admin.get(page_of(site.spare)), strategy=strategy, probe="chat:gpt-4o")
    rows = [
        {"provider": "alpha", "weight": 50},
        {"provider": "beta", "weight": 30},
        {"provider": "gamma", "weight": 20},
    ]
    answer = admin.post(SHARES, {**data, **target_rows(*rows)}).json()
    assert [answer["rows"][f"targets-{n}"]["share"] for n in range(3)] == pytest.approx(expected, abs=0.002)
    assert targets_of(site.spare) == [("alpha", None, 0)]


def test_what_the_host_has_measured_counts_and_nothing_of_it_is_touched(
    viewer: Client, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Circuits and samples are the host's own; a preview works on a copy of them."""
    actions.update_profile(site.default, {"strategy": "least_latency", "params": {"min_samples": 1}}, actor=ADA)
    first = viewer.get(page_of(site.default)).context["shares"]
    assert "Nothing is measured yet" in first.note
    host = LocalLiveState()
    providers = [site.alpha, site.beta, site.gamma]
    compiled = preview.configuration([draft.profile_tree(site.default)], providers, preview.sections())
    profile = preview.snapshot(compiled, providers).profile_list[0]
    now = time.monotonic()
    for target, latency in zip(profile.targets, (3.0, 1.0, 2.0), strict=True):
        claim = host.claim(target, now)
        assert claim is not None
        host.settle(claim, target, Outcome("success", latency_s=latency), now)
        host.release(claim, now)
    monkeypatch.setattr("routes.host._fork", host.fork)
    shares = viewer.get(page_of(site.default)).context["shares"]
    assert "measured" not in shares.note
    assert [row.share for row in shares.rows] == [0, 1, 0]
    assert [stats.requests_in(60, now) for stats in host.stats_of([t.id for t in profile.targets])] == [1, 1, 1]


def test_the_shares_of_every_strategy_sum_to_one(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    from routes.engine import strategies

    monkeypatch.setattr(preview, "DRAWS", 50)
    tree, providers = draft.profile_tree(site.default), [site.alpha, site.beta, site.gamma]
    for name in strategies.NAMES:
        shares = effective_shares({**tree, "strategy": name, "params": {}}, providers, preview.sections())
        assert sum(row.share or 0 for row in shares.rows) == pytest.approx(1), name


def test_shares_are_asked_for_a_model_that_can_be_chosen(admin: Client, site: Site) -> None:
    actions.update_provider(site.beta, {"models": {"other": "x"}}, actor=ADA)
    data = filled(admin.get(page_of(site.default)))
    first = admin.post(SHARES, {**data, "probe": "chat:gpt-4o"}).json()["rows"]
    assert first["targets-1"]["share"] == 0
    assert "does not serve this model" in first["targets-1"]["note"]
    assert admin.post(SHARES, {**data, "probe": "chat:other"}).json()["rows"]["targets-1"]["share"] == 1


def test_a_viewer_asks_for_the_shares_of_another_model_by_address(viewer: Client, site: Site) -> None:
    actions.update_provider(site.beta, {"models": {"other": "x"}}, actor=ADA)
    assert shown(viewer.get(page_of(site.default) + "?probe=chat:other")) == ["no traffic", "100 %", "no traffic"]


def test_a_form_that_cannot_be_compiled_has_no_shares_and_says_why(admin: Client, site: Site) -> None:
    data = filled(admin.get(page_of(site.default)))
    answer = admin.post(SHARES, {**data, "targets-0-weight": "-1"}).json()
    assert {row["share"] for row in answer["rows"].values()} == {None}
    rows = target_rows({"provider": "alpha"}, {"provider": "alpha"})
    answer = admin.post(SHARES, {**data, **rows}).json()
    assert "the same provider and model" in answer["note"]


def test_conversations_are_shared_by_providers_of_both_formats_and_service_requests_by_generic_ones(
    admin: Client, site: Site
) -> None:
    for slug, wire in (("claude", "anthropic"), ("tiles", "generic")):
        actions.create_provider({"slug": slug, "name": slug, "wire": wire, "base_url": "https://c.example"}, actor=ADA)
    entry = profile_entry("mixed", "alpha", {"provider": "claude", "model": "sonnet"}, "tiles")
    mixed = actions.create_profile({**entry, "strategy": "round_robin"}, actor=ADA)
    data = filled(admin.get(page_of(mixed)))

    def shares(probe: str) -> list[float]:
        rows = admin.post(SHARES, {**data, "probe": probe}).json()["rows"]
        return [rows[f"targets-{index}"]["share"] for index in range(3)]

    assert shares("chat:") == [0.5, 0.5, 0]
    assert shares("service:") == [0, 0, 1]


def test_the_list_names_profiles_that_can_serve_nothing(viewer: Client, site: Site) -> None:
    actions.set_admin_state(site.alpha, "disabled", actor=ADA)
    page = text(viewer.get(list_of(Profile)))
    assert page.count("Every target is out") == 1
