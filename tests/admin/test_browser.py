"""The console in a real browser on the real product: ``manage.py serve`` with simulated providers behind it."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from tests.admin.browsing import SCREENS, browser, desk, stack
from tests.gateways import wait_until

if TYPE_CHECKING:
    from tests.admin.browsing import Desk
    from tests.stack import Stack

pytestmark = [pytest.mark.browser, pytest.mark.slow]
__all__ = ["browser", "desk", "stack"]  # fixtures, found by their names
REQUESTS = 12
HISTORY = "/admin/history/routehistory/"


def served_by(stack: Stack) -> Counter[str]:
    answers = [stack.chat() for _ in range(REQUESTS)]
    assert {answer.status for answer in answers} == {200}
    return Counter(answer.headers["x-route-provider"] for answer in answers)


def test_an_edited_weight_moves_traffic_after_save_and_publish(stack: Stack, desk: Desk) -> None:
    assert served_by(stack) == {"alpha": REQUESTS}
    before = stack.revision()
    page = desk.go("/admin/routes/profile/")
    page.click("text=Default")
    page.wait_for_selector("#targets")
    page.fill('[name="targets-0-weight"]', "0")
    page.fill('[name="targets-1-weight"]', "4")
    # The engine's answer to the unsaved form, before anything is saved.
    page.locator('[data-row="targets-1"] output', has_text="100").wait_for()
    assert page.inner_text('[data-row="targets-0"] output') == "no traffic"
    assert stack.revision() == before
    page.click("text=Save and publish")
    page.wait_for_selector(f"text=published as revision {before + 1}")
    wait_until(lambda: stack.revision() == before + 1, 10, "the gateway took the revision")
    assert served_by(stack) == {"beta": REQUESTS}
    stack.route(stack.chat().headers["x-route-id"])  # until it has been shipped
    page = desk.go("/admin/history/routehistory/?provider=beta")
    page.click("tbody a >> nth=0")
    assert "strategy weighted chose beta" in page.inner_text(".story")
    assert desk.problems == []


def test_targets_are_ordered_by_keyboard_and_added_and_removed(stack: Stack, desk: Desk) -> None:
    page = desk.go("/admin/routes/profile/")
    page.click("text=Default")
    page.wait_for_selector("#targets")
    first, second = (page.locator(f'[data-row="targets-{number}"]') for number in (0, 1))
    first.locator('[data-move="down"]').focus()
    page.keyboard.press("Enter")
    assert page.evaluate("[...document.querySelectorAll('.target[data-row]')].map((row) => row.dataset.row)") == [
        "targets-1",
        "targets-0",
    ]
    assert (first.locator("[data-order]").input_value(), second.locator("[data-order]").input_value()) == ("2", "1")
    # At the end of the list the focus goes to the direction that is left.
    assert page.evaluate("document.activeElement.dataset.move") == "up"
    assert page.evaluate("getComputedStyle(document.activeElement).boxShadow") != "none"
    page.click("#add-target")
    assert page.evaluate("document.activeElement.name") == "targets-2-provider"
    page.click('[data-row="targets-2"] [data-remove]')
    assert page.locator(".target[data-row]:visible").count() == 2
    assert desk.problems == []


@pytest.mark.parametrize("desk", [{"viewport": {"width": 390, "height": 900}}], indirect=True)
def test_limits_and_windows_are_typed_in_on_a_narrow_screen_and_shown_again(stack: Stack, desk: Desk) -> None:
    page = desk.go("/admin/routes/accesskey/")
    page.click("tbody >> text=tests")
    page.click("summary:has-text('Limits')")
    page.fill('[name="limits.rpm"]', "100000")
    page.fill('[name="limits.usd_month"]', "2500.5")
    page.click("[name=_save]")
    page.wait_for_selector("text=In force now, nothing to publish")
    # What is limited is unfolded.
    assert page.input_value('[name="limits.usd_month"]') == "2500.5"
    assert page.is_visible('[name="limits.rpm"]')
    page = desk.go("/admin/routes/accesskey/")
    assert "0 of 100\u202f000 requests in the last minute" in page.inner_text('td[data-label="Limits"]')
    page = desk.go("/admin/routes/provider/")
    page.click("tbody >> text=Alpha")
    page.click("text=Add a window")
    assert page.evaluate("document.activeElement.name") == "context-model"
    for place, (model, tokens) in enumerate([("gpt-4o", "128000"), ("claude", "200000")]):
        page.locator('[name="context-model"]').nth(place).fill(model)
        page.locator('[name="context-tokens"]').nth(place).fill(tokens)
    page.click("text=Save as draft")
    page.wait_for_selector("text=was saved")
    page = desk.go("/admin/routes/provider/")
    page.click("tbody >> text=Alpha")
    shown = page.locator('[name="context-tokens"]').evaluate_all("inputs => inputs.map(input => input.value)")
    assert shown == ["200000", "128000", ""]
    page = desk.go("/admin/routes/profile/")
    page.click("text=Default")
    page.wait_for_selector("#targets")
    page.evaluate("document.querySelectorAll('details.card').forEach(part => { part.open = true })")
    assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
    page.click(".choice:has-text('Every stream is asked')")
    assert page.locator('[name="accounting"]:checked').input_value() == "always"
    assert desk.problems == []


@pytest.mark.parametrize("desk", [{"viewport": {"width": 390, "height": 900}}], indirect=True)
def test_the_history_is_filtered_by_keyboard_and_its_address_says_only_what_was_chosen(
    stack: Stack, desk: Desk
) -> None:
    stack.route(stack.chat(model="no-such-model").headers["x-route-id"])
    page = desk.go(HISTORY)
    page.locator(".filters-more > summary").focus()
    page.keyboard.press("Enter")
    page.fill('[name="requested_model"]', "no-such-model")
    page.keyboard.press("Enter")
    page.wait_for_url("**/?range=24h&requested_model=no-such-model")
    assert "rejected the request: HTTP 404" in page.inner_text("tbody tr")
    chip = page.locator(".chip", has_text="Model asked for is no-such-model")
    # Moments are asked for before anything is sent.
    page.select_option("#id_range", "between")
    page.fill("#id_from", "2020-01-01 00:00 +01:00")
    page.keyboard.press("Enter")
    page.wait_for_url("**/?from=2020-01-01+00%3A00+%2B01%3A00&requested_model=no-such-model")
    assert page.inner_text(".chip >> nth=0") == "From 2019-12-31 23:00:00 UTC"
    chip.locator("a").focus()
    page.keyboard.press("Enter")
    page.wait_for_url("**/?from=2019-12-31T23%3A00%3A00.000Z")
    assert chip.count() == 0
    assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
    assert desk.problems == []


def test_a_route_is_exported_downloaded_and_its_id_copied(stack: Stack, desk: Desk) -> None:
    route = stack.route(stack.chat().headers["x-route-id"])["id"]
    page = desk.go(f"{HISTORY}?id={route}")
    export = page.locator("details.menu")
    export.locator("summary").click()
    export.locator("text=About 1 request").wait_for()
    assert f"id={route}" in str(export.locator("text=CSV").get_attribute("href"))
    page.keyboard.press("Escape")
    assert not export.locator("text=CSV").is_visible()
    assert page.evaluate("document.activeElement.tagName") == "SUMMARY"
    page.click("tbody a >> nth=0")
    page.click("text=Copy id")
    page.locator("text=Copied").wait_for()
    with page.expect_download() as download:
        page.click("text=JSON")
    assert download.value.suggested_filename == f"route-{route}.json"
    assert json.loads(download.value.path().read_text())["id"] == route
    assert desk.problems == []


PAGES = (
    "/admin/",
    "/admin/health/",
    *(
        f"/admin/routes/{name}/"
        for name in ("provider", "profile", "policy", "accesskey", "configrevision", "auditentry")
    ),
    *(f"/admin/routes/{name}/add/" for name in ("provider", "profile", "accesskey")),
    *(f"{HISTORY}{page}" for page in ("", "?status=failures&colour=red", "failures/", "statistics/?group_by=day")),
    "/admin/auth/user/",
    "/admin/auth/user/1/change/",
    "/admin/auth/group/1/change/",
    "/admin/password_change/",
)


@pytest.mark.parametrize("desk", SCREENS, indirect=True)
def test_every_page_fits_the_screen_and_the_browser_has_no_complaint(desk: Desk) -> None:
    for address in PAGES:
        page = desk.go(address)
        assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0, address
        assert page.inner_text("h1") != "", address
        assert desk.problems == [], address


@pytest.mark.parametrize("desk", [{"viewport": {"width": 390, "height": 800}}], indirect=True)
def test_on_a_narrow_screen_the_navigation_opens_as_a_drawer(desk: Desk) -> None:
    page = desk.go("/admin/")
    assert not page.is_visible(".rail")
    page.click(".rail-toggle")
    assert page.is_visible(".rail")
    page.keyboard.press("Escape")
    assert not page.is_visible(".rail")
    page.click(".rail-toggle")
    page.click(".rail >> text=Providers")
    assert page.inner_text("h1") == "Providers"


def test_the_chosen_theme_is_there_from_the_first_paint(desk: Desk) -> None:
    page = desk.go("/admin/")
    light = page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.click('[data-theme-choice="dark"]')
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert dark != light
    # Nothing after <head> has run yet when its blocking script has already set the theme.
    page.goto(desk.url + "/admin/routes/provider/", wait_until="commit")
    page.locator("body").wait_for()
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    assert page.evaluate("getComputedStyle(document.documentElement).colorScheme") == "dark"
