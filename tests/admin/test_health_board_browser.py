"""The health board in a browser on the running product: it keeps itself fresh and leaves alone what people do on it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.admin.browsing import SCREENS, browser, desk, wait_in
from tests.simulators import Simulator
from tests.stack import Stack, document

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.admin.browsing import Desk

__all__ = ["browser", "desk"]
pytestmark = [pytest.mark.browser, pytest.mark.slow]

BOARD = "/admin/health/"
FITS = "document.documentElement.scrollWidth - innerWidth"


@pytest.fixture(scope="module")
def simulator() -> Iterator[Simulator]:
    with Simulator() as running:
        yield running


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, simulator: Simulator) -> Iterator[Stack]:
    """Alpha leads and fails; beta stands in for it."""
    alpha, beta = (simulator.add(slug, models=["gpt-4o"]) for slug in ("alpha", "beta"))
    alpha.fail("status", status=500)
    with Stack(tmp_path_factory.mktemp("stack"), workers=1) as running:
        circuit = {"circuit": {"failure_threshold": 3, "recovery_timeout": 600}, "probe": {"kind": "off"}}
        tree = document(alpha, beta)
        for provider in tree["providers"]:
            provider.update(circuit)
        running.import_config(tree)
        for _ in range(3):
            running.chat()
        yield running


def mark_page(page: Any) -> None:
    """Something that only a page that was not loaded anew still has."""
    page.evaluate("window.kept = true")


def test_it_shows_what_happens_without_being_loaded_anew(stack: Stack, desk: Desk) -> None:
    page = desk.go(BOARD)
    assert page.locator(".board-group h2").all_inner_texts() == ["Alpha", "Beta"]
    assert "Open" in page.inner_text(".board-needs")
    assert "consecutive failures" in page.inner_text(".board-why")
    mark_page(page)
    assert stack.request("POST", "/api/v1/health/beta/state/", {"state": "draining"}).status == 200
    page.locator(".board-group:has-text('Beta') >> text=Draining").first.wait_for()
    page.locator("#events li:has-text('Drained')").first.wait_for()
    assert page.evaluate("window.kept")
    assert desk.problems == []


def test_what_people_do_on_it_stays_while_it_refreshes(stack: Stack, desk: Desk) -> None:
    page = desk.go(BOARD)
    panel = page.locator(".board-why .acts").first
    panel.locator("summary").focus()
    page.keyboard.press("Enter")
    field = panel.locator("[name=reason]")
    field.focus()
    page.keyboard.type("wrong an")
    folded = page.locator(".board-group:has-text('Beta')")
    folded.locator("> summary").first.click()
    field.focus()
    before = page.inner_text(".board-sum time")
    wait_in(page, "before => document.querySelector('.board-sum time').innerText !== before", before)
    page.keyboard.type("swers")
    assert field.input_value() == "wrong answers"
    assert page.evaluate("document.activeElement.name") == "reason"
    assert panel.get_attribute("open") is not None
    assert folded.get_attribute("open") is None
    assert desk.problems == []


def test_refreshing_can_be_paused(desk: Desk) -> None:
    page = desk.go(BOARD)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.locator(".refresh button").focus()
    page.keyboard.press("Enter")
    assert page.get_attribute(".refresh button", "aria-pressed") == "true"
    assert page.inner_text(".refresh [role=status]") == "Paused"
    page.clock.install()
    page.clock.fast_forward(20_000)
    assert asked == []
    page.keyboard.press("Enter")
    wait_in(page, "document.querySelector('.refresh [role=status]').textContent === ''")
    assert asked != []


def test_an_operator_acts_by_keyboard_alone(stack: Stack, desk: Desk) -> None:
    page = desk.go(BOARD)
    panel = page.locator(".board-needs:has-text('every model') .acts").first
    panel.locator("summary").focus()
    page.keyboard.press("Enter")
    assert not panel.locator(".act-until").is_visible()
    panel.locator("select").focus()
    page.keyboard.press("End")
    assert panel.locator(".act-until").is_visible()
    page.keyboard.press("Home")
    panel.locator("[value=open]").focus()
    page.keyboard.press("Enter")
    page.wait_for_selector("text=is held open until it is reset")
    assert "Held open" in page.inner_text(".board-needs >> nth=0")
    page.locator(".board-needs .cell-title").first.focus()
    page.keyboard.press("Enter")
    page.wait_for_selector("#act")
    page.click("#act [value=reset]")
    page.wait_for_selector("text=was reset")
    assert "Circuit" in page.inner_text("#events li >> nth=0")
    assert desk.problems == []


@pytest.mark.parametrize("desk", SCREENS, indirect=True)
def test_the_pages_fit_the_screen_with_everything_unfolded(stack: Stack, desk: Desk) -> None:
    page = desk.go(BOARD)
    target = page.get_attribute(".board .cell-title", "href")
    for address in (BOARD, f"{BOARD}?provider=alpha&at=2026-11-30T03:12:00Z", str(target)):
        desk.go(address)
        page.evaluate("document.querySelectorAll('details').forEach(part => { part.open = true })")
        assert page.evaluate(FITS) <= 0, address
        assert page.inner_text("h1") != ""
    assert desk.problems == []


def test_without_scripts_everything_is_there(stack: Stack, browser: Any, desk: Desk) -> None:
    context = browser.new_context(java_script_enabled=False, storage_state=desk.page.context.storage_state())
    page = context.new_page()
    page.goto(stack.url + BOARD)
    assert page.is_visible(".page-actions a:has-text('Refresh')")
    assert not page.is_visible("text=Pause refreshing")
    page.locator(".board-bar summary").first.click()
    page.locator(".board-bar [value=drain]").first.click()
    assert "drains" in page.inner_text(".messagelist")
    page.locator(".board-bar summary").first.click()
    page.locator(".board-bar [value=enable]").first.click()
    assert "takes requests again" in page.inner_text(".messagelist")
    context.close()
