"""Rules in a real browser: the condition editor loses nothing, works by keyboard, and shows errors where they are."""

from __future__ import annotations

import json
from random import Random
from typing import TYPE_CHECKING, Any

import pytest

from routes.engine import conditions
from routes.engine.facts import CATALOGUE
from tests.admin.browsing import SCREENS, browser, desk, stack
from tests.gateways import wait_until

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

    from tests.admin.browsing import Desk
    from tests.stack import Stack

pytestmark = [pytest.mark.browser, pytest.mark.slow]
__all__ = ["browser", "desk", "stack"]  # fixtures, found by their names

LOADS, TREES = 8, 10
LONG = {"fact": "tokens", "op": "gte", "value": 32000}
BOTH = {"all": [LONG, {"fact": "model", "op": "prefix", "value": "gpt-4"}]}


def clause(rng: Random) -> dict[str, Any]:
    """One clause with any fact, operator and a value of their kind."""
    fact = rng.choice(CATALOGUE)
    op = rng.choice(fact.ops)
    name = f"{fact.prefix}x-{rng.choice('abc')}" if fact.parameter else fact.name
    value: Any = fact.sample(op)
    if op == "exists" or fact.kind == "flag":
        value = rng.random() < 0.5
    elif isinstance(value, (int, float)):
        value = rng.choice([0, 1, 0.5, 99.99, 50])
    elif isinstance(value, str) and not fact.choices and fact.kind != "network":
        value = rng.choice([value, "ünïcode ✓", 'quotes " and \\d', "<b>&amp;", " blanks at the ends "])
    elif op in ("in", "not_in") and not fact.choices:
        value = rng.choice([["a"], ["a", "b, c"], [" a ", "b"]])
    elif op == "in_cidr":
        value = rng.choice(["10.0.0.0/8", ["10.0.0.0/8"], ["10.0.0.0/8", "2001:db8::/32"]])
    elif op == "within":
        value = rng.choice(
            [value, {"start": "00:00", "end": "24:00"}, {"start": "22:00", "end": "06:00", "outside": True}]
        )
    return {"fact": name, "op": op, "value": value}


def tree(rng: Random, depth: int) -> Any:
    kind = rng.random()
    if depth == 0 or kind < 0.4:
        return clause(rng)
    if kind < 0.6:
        return {"not": tree(rng, depth - 1)}
    return {rng.choice(["all", "any"]): [tree(rng, depth - 1) for _ in range(rng.randint(1, 4))]}


def add_page(desk: Desk) -> Page:
    page = desk.go("/admin/routes/profile/")
    page.click("text=Default")
    page.wait_for_selector("#rules")
    page.click("#rules >> text=Add rule")
    page.wait_for_selector("[data-editor] .clause")
    return page


def condition(page: Page) -> Any:
    """What the form would send."""
    return json.loads(page.input_value('textarea[name="when"]'))


def load(page: Page, wanted: Any) -> None:
    """Through the JSON view into the editor, as a person does it."""
    page.click('[data-view="json"]')
    page.fill('textarea[name="when"]', json.dumps(wanted))
    page.click('[data-view="editor"]')


def nth(page: Page, number: int) -> Locator:
    return page.locator("[data-editor] .clause").nth(number)


#: Every clause takes its value from its inputs, as if somebody had edited each.
READ_INPUTS = """() => {
  for (const element of document.querySelectorAll("[data-editor] [data-part=value]")) {
    element.dispatchEvent(new Event("input", { bubbles: true }));
  }
}"""


def test_json_through_the_editor_and_back_is_the_same(desk: Desk) -> None:
    page = add_page(desk)
    rng = Random(20260520)
    shown_as_json = 0
    for _ in range(LOADS):
        wanted = conditions.parse({"any": [tree(rng, 4) for _ in range(TREES)]}, "when").tree
        load(page, wanted)
        shown_as_json += page.locator("[data-editor] [data-part=json]").count()
        page.evaluate(READ_INPUTS)
        assert condition(page) == wanted
    # Only entries with blanks at their ends cannot be lines of a list; everything else has inputs of its own.
    assert shown_as_json < LOADS * TREES / 4
    assert desk.problems == []


def test_what_the_editor_does_not_know_stays_as_it_is(desk: Desk) -> None:
    page = add_page(desk)
    for odd in (
        {"all": [{"fact": "of a later release", "op": "eq", "value": {"deep": [1, None]}}, LONG]},
        {"any": [], "all": []},
        {"not": {"not": {"not": LONG}}},
        {"all": "nothing", "note": "kept"},
        ["a list"],
        None,
    ):
        load(page, odd)
        page.evaluate(READ_INPUTS)
        page.click('[data-view="json"]')
        assert condition(page) == odd
    page.fill('textarea[name="when"]', "{ no JSON")
    page.click('[data-view="editor"]')
    assert page.is_visible('textarea[name="when"]')
    assert "This is not JSON" in page.inner_text("[data-problems]")


def test_a_condition_is_built_by_keyboard_and_put_into_words(desk: Desk) -> None:
    page = add_page(desk)
    page.focus('[data-add="clause"]')
    page.keyboard.press("Enter")
    # The new clause has the focus; its first control is the switch to negate it.
    assert page.evaluate("document.activeElement.closest('.clause') !== null")
    fact = nth(page, 1).locator("[data-part=fact]")
    fact.focus()
    page.keyboard.type("model")
    nth(page, 1).locator("[data-part=op]").focus()
    page.keyboard.type("starts")
    page.keyboard.press("Tab")
    page.keyboard.press("Control+A")
    page.keyboard.type("gpt-4")
    page.locator("[data-sentence]", has_text="tokens ≥ 32").wait_for()
    assert condition(page) == BOTH
    nth(page, 1).locator("[data-part=not]").focus()
    page.keyboard.press("Space")
    page.locator("[data-sentence]", has_text="not").wait_for()
    assert condition(page) == {"all": [LONG, {"not": BOTH["all"][1]}]}
    nth(page, 0).locator("[data-part=remove]").focus()
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.closest('.clause') !== null")
    assert condition(page) == {"all": [{"not": BOTH["all"][1]}]}
    page.locator("[data-editor] [data-part=add-group]").focus()
    page.keyboard.press("Enter")
    assert condition(page) == {"all": [{"not": BOTH["all"][1]}, {"any": [LONG]}]}
    assert desk.problems == []


def test_another_fact_or_operator_brings_its_own_input_and_keeps_what_still_fits(desk: Desk) -> None:
    page = add_page(desk)
    load(page, {"fact": "model", "op": "eq", "value": "gpt-4o"})
    op, fact = nth(page, 0).locator("[data-part=op]"), nth(page, 0).locator("[data-part=fact]")
    op.select_option("in")
    assert condition(page) == {"fact": "model", "op": "in", "value": ["gpt-4o"]}
    fact.select_option("header.<name>")
    nth(page, 0).locator("[data-part=name]").fill("x-team")
    assert condition(page) == {"fact": "header.x-team", "op": "in", "value": ["gpt-4o"]}
    fact.select_option("scenario")
    nth(page, 0).locator("label", has_text="image").click()
    assert condition(page) == {"fact": "scenario", "op": "in", "value": ["image", "long_context"]}
    fact.select_option("time")
    assert nth(page, 0).locator("input[type=checkbox]").count() == 8
    fact.select_option("tokens")
    op.select_option("between")
    assert condition(page) == {"fact": "tokens", "op": "between", "value": [0, 32000]}


def test_errors_are_shown_at_the_clause_that_has_them(desk: Desk) -> None:
    page = add_page(desk)
    networks = {"fact": "client_ip", "op": "in_cidr", "value": ["10.0.0.0/8", "10.1.1.1/8"]}
    load(page, {"all": [LONG, {"not": {"any": [LONG, networks]}}]})
    wrong = nth(page, 2)
    wrong.locator(".errorlist li").wait_for()
    assert wrong.locator(".errorlist").inner_text().startswith("No. 2 must be a network")
    assert wrong.locator("textarea").get_attribute("aria-invalid") == "true"
    assert page.locator("[data-editor] [aria-invalid=true]").count() == 1
    wrong.locator("textarea").fill("10.0.0.0/8")
    page.locator("[data-sentence]", has_text="10.0.0.0/8").wait_for()
    assert page.locator("[data-editor] [aria-invalid=true]").count() == 0


def test_a_rule_is_added_ordered_and_switched_and_takes_its_requests(stack: Stack, desk: Desk) -> None:
    page = desk.page
    for number, name in enumerate(("first", "second")):
        page = add_page(desk)
        page.fill('[name="name"]', name)
        nth(page, 0).locator("[data-part=fact]").select_option("stream")
        nth(page, 0).locator("[data-part=value] select").select_option("false")
        page.click("#add-target")
        page.locator('[name="targets-0-provider"]').select_option(("beta", "alpha")[number])
        page.locator('[data-row="targets-0"] output', has_text="100").wait_for()
        page.click("text=Save as draft")
        page.wait_for_selector(f"text=Rule {name} of profile default was added")
    cards = page.locator("[data-rule]")
    assert cards.locator(".rule-name").all_inner_texts() == ["first", "second"]
    assert "Shadowed" in cards.nth(1).inner_text()
    cards.nth(0).locator("output", has_text="100").wait_for()
    # What is typed in the profile's form survives a move, and its save is no conflict.
    page.fill('[name="name"]', "Renamed")
    page.locator("[data-rule]", has_text="second").locator('[data-move="up"]').focus()
    page.keyboard.press("Enter")
    page.locator("#rules-status", has_text="second is now rule 1 of 2").wait_for(state="attached")
    assert cards.locator(".rule-name").all_inner_texts() == ["second", "first"]
    page.locator("[data-rule]", has_text="second").locator("[data-switch]").focus()
    page.keyboard.press("Space")
    page.locator('[data-rule] [aria-checked="false"]').wait_for()
    before = stack.revision()
    page.click("text=Save and publish")
    page.wait_for_selector(f"text=published as revision {before + 1}")
    assert page.input_value('[name="name"]') == "Renamed"
    wait_until(lambda: stack.revision() == before + 1, 10, "the gateway took the revision")
    answer = stack.chat()
    assert answer.headers["x-route-provider"] == "beta"
    stack.route(answer.headers["x-route-id"])  # until it has been shipped
    page.fill('[name="name"]', "Default")
    page.click("text=Save and publish")
    page.wait_for_selector(f"text=published as revision {before + 2}")
    assert "matched 1 in 24 h" in page.locator("[data-rule]", has_text="first").inner_text()
    assert desk.problems == []


@pytest.mark.parametrize("desk", SCREENS, indirect=True)
def test_the_pages_of_rules_fit_the_screen_and_the_browser_has_no_complaint(desk: Desk) -> None:
    page = add_page(desk)
    rng = Random(7)
    load(page, {"all": [{"not": {"any": [clause(rng) for _ in range(12)]}}, {"any": [{"all": [LONG]}]}]})
    page.click("summary:has-text('Every fact')")
    page.click(".picker > summary")
    assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
    page.click("[data-view=json]")
    assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
    unnamed = """() => [...document.querySelectorAll("main input, main select, main textarea, main button")]
      .filter((field) => field.type !== "hidden" && field.checkVisibility() && !field.labels?.length
        && !field.getAttribute("aria-label") && !field.textContent.trim())
      .map((field) => field.outerHTML)"""
    assert page.evaluate(unnamed) == []
    page = desk.go("/admin/routes/policy/")
    assert page.evaluate(unnamed) == []
    page = desk.go("/admin/routes/profile/")
    page.click("tbody a >> nth=0")
    page.wait_for_selector("#rules")
    for summary in page.locator("details > summary").all():
        summary.click()
    assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
    assert page.evaluate(unnamed) == []
    assert desk.problems == []
