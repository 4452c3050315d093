"""Smart rules in the console: the cards of a profile, the page of a rule, and the words for a condition."""

from __future__ import annotations

import json
import re
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from django.utils import timezone

from routes import actions, draft, ports
from routes.actions import rules
from routes.admin.conditions import FIRST, check, fact_groups, reference
from routes.engine.facts import CATALOGUE
from routes.models import Profile, Rule
from tests.admin.conftest import ADA, filled, page_of, target_rows, text
from tests.control.samples import LONG, rule

if TYPE_CHECKING:
    from django.test import Client

    from tests.admin.conftest import Site

ADD = "/admin/routes/rule/add/"
CONDITION = "/admin/routes/rule/condition/"
BOTH = {"all": [LONG, {"fact": "model", "op": "prefix", "value": "gpt-4"}]}


def add_page(profile: Profile) -> str:
    return f"{ADD}?profile={profile.pk}"


def stored(profile: Profile) -> list[dict[str, Any]]:
    tree = draft.profile_tree(Profile.objects.get(pk=profile.pk))
    found: list[dict[str, Any]] = tree["rules"]
    return found


@pytest.fixture
def long(site: Site) -> Rule:
    return rules.create_rule(site.default, rule("long", "alpha", "beta", when=BOTH), actor=ADA)


# -- the page of a rule -----------------------------------------------------------------------------------------
def test_a_rule_typed_into_the_form_is_stored_as_typed(admin: Client, site: Site) -> None:
    page = add_page(site.default)
    data = filled(
        admin.get(page),
        name="long context",
        description="Documents go where they fit.\r\nSecond line",
        when=json.dumps(BOTH),
        strategy="token_budget",
        **{"params.token_budget.budget": "500"},
        **target_rows({"provider": "beta", "model": "gpt-4o", "weight": 3}, {"provider": "alpha", "tier": 1}),
    )
    response = admin.post(page, data)
    assert response.status_code == 302, response.context["form"].errors
    assert response["Location"] == page_of(site.default) + "#rules"
    (found,) = stored(site.default)
    assert found["description"] == "Documents go where they fit.\nSecond line"
    assert (found["when"], found["enabled"], found["fallback_to_profile"]) == (BOTH, True, True)
    assert (found["strategy"], found["params"]) == ("token_budget", {"budget": 500, "window": 60})
    assert [(t["provider"], t["model"], t["weight"], t["tier"]) for t in found["targets"]] == [
        ("beta", "gpt-4o", 3, 0),
        ("alpha", None, None, 1),
    ]


def test_saving_a_rule_as_it_was_shown_changes_nothing(admin: Client, site: Site) -> None:
    for number, more in enumerate(
        (
            {"when": BOTH, "fallback_to_profile": False, "enabled": False},
            {"strategy": "ab_test", "params": {"variants": [{"name": "A", "share": 3, "targets": ["alpha"]}]}},
            {"strategy": "consistent_hash", "params": {"fact": "key.name"}},
        )
    ):
        row = rules.create_rule(site.default, rule(f"r{number}", "alpha", **more), actor=ADA)
        page = page_of(row)
        response = admin.post(page, filled(admin.get(page)))
        assert response.status_code == 302, response.context["form"].errors
        row.refresh_from_db()
        assert row.version == 1, more


def test_a_rule_may_change_params_of_the_profiles_strategy_and_go_back_to_them(admin: Client, site: Site) -> None:
    actions.update_profile(site.default, {"strategy": "token_budget", "params": {"budget": 900}}, actor=ADA)
    row = rules.create_rule(site.default, rule("long", "alpha"), actor=ADA)
    page = page_of(row)
    assert admin.post(page, filled(admin.get(page), **{"params.profile.budget": "7"})).status_code == 302
    assert stored(site.default)[0]["params"] == {"budget": 7, "window": 60}
    empty = {"params.profile.budget": "", "params.profile.window": ""}
    admin.post(page, filled(admin.get(page), **empty))
    assert stored(site.default)[0]["params"] is None


def test_variants_are_typed_into_rows_and_errors_say_which_row(admin: Client, site: Site) -> None:
    page = add_page(site.default)
    rows = {
        "params.ab_test.variants-name": ["A", "B", ""],
        "params.ab_test.variants-share": ["3", "1.5", ""],
        "params.ab_test.variants-targets": ["alpha", "beta", ""],
    }
    data = filled(admin.get(page), name="test", strategy="ab_test", **target_rows({"provider": "alpha"}), **rows)
    response = admin.post(page, data)
    assert "no. 2:" in text(response)  # beta is no target of this rule
    data.update(target_rows({"provider": "alpha"}, {"provider": "beta"}))
    assert admin.post(page, data).status_code == 302
    assert stored(site.default)[0]["params"]["variants"] == [
        {"name": "A", "share": 3, "targets": ["alpha"]},
        {"name": "B", "share": 1.5, "targets": ["beta"]},
    ]
    data["params.ab_test.variants-share"] = ["many", "1", ""]
    assert "“many” is not a number" in text(admin.post(page, {**data, "name": "other"}))


def test_errors_keep_their_place_in_the_condition_and_nothing_typed_is_lost(admin: Client, site: Site) -> None:
    page = add_page(site.default)
    wrong = {"any": [LONG, {"fact": "tokens", "op": "gte", "value": "many"}]}
    response = admin.post(page, filled(admin.get(page), name="long", when=json.dumps(wrong)))
    assert response.status_code == 200
    assert "any[1].value: must be a number" in text(response)
    assert json.loads(response.context["form"]["when"].value()) == wrong
    broken = admin.post(page, filled(admin.get(page), name="long", when="{"))
    assert "This is not JSON" in text(broken)
    assert stored(site.default) == []


def test_a_new_rule_begins_with_a_condition_that_works_and_a_copy_with_all_of_its_original(
    admin: Client, site: Site, long: Rule
) -> None:
    first = admin.get(add_page(site.default))
    assert json.loads(first.context["form"]["when"].value()) == FIRST
    page = f"{add_page(site.default)}&copy={long.pk}"
    assert admin.post(page, filled(admin.get(page))).status_code == 302
    original, copy = stored(site.default)
    assert copy == {**original, "name": "long copy"}
    assert admin.get(f"{add_page(site.spare)}&copy={long.pk}").status_code == 404
    assert admin.get(f"{ADD}?profile=nonsense").status_code == 404


def test_a_stale_save_of_a_rule_shows_both_in_words(admin: Client, long: Rule) -> None:
    page = page_of(long)
    mine = filled(admin.get(page), name="Mine", when=json.dumps(LONG), **{"targets-0-weight": "5"})
    rules.update_rule(long, {"description": "theirs"}, actor=ADA)
    response = admin.post(page, mine)
    assert response.status_code == 409
    shown = {item.label: (item.theirs, item.mine) for item in response.context["differences"]}
    assert shown == {
        "name": ("long", "Mine"),
        "description": ("theirs", ""),
        "when": ("tokens ≥ 32 000 and model starts with gpt-4", "tokens ≥ 32 000"),
        "targets": ("alpha, beta", "alpha (weight 5), beta"),
    }
    long.refresh_from_db()
    assert long.name == "long"


def test_a_rule_is_deleted_from_the_draft(admin: Client, site: Site, long: Rule) -> None:
    page = page_of(long, "delete")
    assert "go to the next rule that matches" in text(admin.get(page))
    assert admin.post(page, {"version": long.version + 1}).status_code == 302
    assert len(stored(site.default)) == 1
    assert admin.post(page, {"version": long.version}).status_code == 302
    assert stored(site.default) == []


# -- the cards of a profile -------------------------------------------------------------------------------------
def card_of(page: str, name: str) -> str:
    found = re.search(rf'<li class="rule.*?{name}</a></h3>.*?</li>\s*(?=<li class="rule|</ol>)', page, re.S)
    assert found is not None
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", found[0]))


def test_a_card_says_the_rule_in_a_sentence_and_how_often_it_matched(
    viewer: Client, site: Site, long: Rule, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "matched nothing in the last 24 h" in text(viewer.get(page_of(site.default)))
    found = {("default", "long"): ports.RuleTraffic(1234, timezone.now() - timedelta(minutes=3))}
    monkeypatch.setattr(ports, "_rule_traffic", lambda: found)
    card = card_of(text(viewer.get(page_of(site.default))), "long")
    assert "tokens ≥ 32 000 and model starts with gpt-4 goes to alpha, beta" in card
    assert "then the profile’s" in card
    assert "matched 1 234 in 24 h, last" in card
    assert "3 min ago" in card


def test_a_rule_that_no_request_reaches_is_marked_as_shadowed(viewer: Client, site: Site, long: Rule) -> None:
    rules.create_rule(site.default, rule("longer", "gamma", when=BOTH), actor=ADA)
    page = text(viewer.get(page_of(site.default)))
    assert "Shadowed: it is never reached: rule long" in page
    assert page.count("Shadowed") == 1
    rules.update_rule(long, {"enabled": False}, actor=ADA)
    assert "Shadowed" not in text(viewer.get(page_of(site.default)))


def test_switches_and_order_act_on_the_draft_with_and_without_scripts(admin: Client, site: Site, long: Rule) -> None:
    other = rules.create_rule(site.default, rule("other", "gamma"), actor=ADA)
    answer = admin.post(page_of(long, "switch"), {"enabled": "0"}, follow=True)
    assert "was switched off in the draft" in text(answer)
    answer = admin.post(page_of(other, "move"), {"position": "0"}, headers={"accept": "application/json"})
    site.default.refresh_from_db()
    assert answer.json()["version"] == site.default.version
    assert [(entry["name"], entry["enabled"]) for entry in stored(site.default)] == [("other", True), ("long", False)]
    assert admin.post(page_of(other, "move"), {"position": "1"}).status_code == 302
    assert [entry["name"] for entry in stored(site.default)] == ["long", "other"]


def test_the_profile_form_is_not_stale_after_its_page_moved_a_rule(admin: Client, site: Site, long: Rule) -> None:
    page = page_of(site.default)
    data = filled(admin.get(page), name="Renamed")
    moved = admin.post(page_of(long, "switch"), {"enabled": "0"}, headers={"accept": "application/json"})
    assert admin.post(page, {**data, "version": moved.json()["version"]}).status_code == 302
    assert (Profile.objects.get(slug="default").name, len(stored(site.default))) == ("Renamed", 1)


# -- shares -----------------------------------------------------------------------------------------------------
def test_the_shares_of_a_rule_are_those_of_the_requests_it_takes(viewer: Client, site: Site) -> None:
    weights = [{"provider": "alpha", "weight": 3}, {"provider": "beta", "weight": 1}]
    heavy = rules.create_rule(site.default, rule("heavy", *weights, when=LONG), actor=ADA)
    lone = rules.create_rule(site.default, rule("lone", "gamma", enabled=False), actor=ADA)
    actions.set_admin_state(site.gamma, "disabled", actor=ADA)
    answer = viewer.get(page_of(site.default, "rule-shares")).json()
    assert [row["share"] for row in answer[str(heavy.pk)]["rows"]] == [0.75, 0.25]
    assert answer[str(lone.pk)]["rows"] == [{"share": 0, "text": "no traffic", "note": "disabled by an operator"}]
    page = viewer.get(page_of(lone))
    assert "100 % goes on to the profile’s own targets" in text(page)


def test_the_shares_of_a_rule_follow_its_unsaved_form(admin: Client, site: Site, long: Rule) -> None:
    page = admin.get(page_of(long))
    rows = target_rows({"provider": "alpha", "weight": 1}, {"provider": "gamma", "weight": 1})
    answer = admin.post(page.context["shares_url"], {**filled(page), **rows}).json()
    assert [answer["rows"][f"targets-{n}"]["share"] for n in range(2)] == [0.5, 0.5]
    answer = admin.post(page.context["shares_url"], {**filled(page), **rows, "targets-0-weight": "-1"}).json()
    assert {row["share"] for row in answer["rows"].values()} == {None}
    assert [target["provider"] for target in stored(site.default)[0]["targets"]] == ["alpha", "beta"]


# -- the words for a condition --------------------------------------------------------------------------------------
def test_a_condition_being_edited_is_put_into_words_or_its_errors_into_places(viewer: Client) -> None:
    told = viewer.post(CONDITION, {"when": json.dumps(BOTH)}).json()
    assert told == {"sentence": "tokens ≥ 32 000 and model starts with gpt-4", "errors": []}
    wrong = {"not": {"any": [LONG, {"fact": "client_ip", "op": "in_cidr", "value": ["10.0.0.0/8", "x"]}]}}
    told = viewer.post(CONDITION, {"when": json.dumps(wrong)}).json()
    assert told["sentence"] == ""
    assert [error["path"] for error in told["errors"]] == ["when.not.any[1].value[1]"]


@pytest.mark.parametrize("text", ["", "{", "[" * 5000, '"\\ud800"', '{"a": 1, "b": NaN}', "null"])
def test_what_is_no_condition_at_all_is_an_error_and_no_failure(text: str) -> None:
    checked = check(text)
    assert checked.sentence == ""
    assert checked.errors


def test_the_editor_knows_every_fact_and_its_examples_are_conditions() -> None:
    assert sorted(name for group in fact_groups() for name, _ in group.facts) == sorted(s.name for s in CATALOGUE)
    for line in reference():
        assert check(line.example).errors == [], line
