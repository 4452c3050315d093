"""The Live page in a real browser: routes as they happen, pauses, gaps, lost connections, and a bounded page."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import pytest

from history.ids import new_id
from tests.admin.browsing import CHROMIUM, browser, wait_in
from tests.gateways import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser, BrowserContext, Page

    from tests.live_feed.clients import Console

__all__ = ["browser"]
pytestmark = [pytest.mark.browser, pytest.mark.skipif(CHROMIUM is None, reason="NO CHROMIUM FOUND")]

LIVE = "/admin/live/"
ROWS = "document.querySelectorAll('.live-table tbody tr').length"
STATE = "document.querySelector('.live-states').innerText"


def route(**fields: Any) -> dict[str, Any]:
    """An event as the shipper tells it."""
    return {
        "id": str(new_id()),
        "created_at": "2026-11-30T08:00:00.123Z",
        "profile": "default",
        "status": "routed",
        "session_key": None,
        "error_code": None,
        "message": "",
        "latency_ms": 1240,
        "ttfb_ms": 300,
        "provider": "acme",
        "model": "m-1",
        "requested_model": "m",
        "strategy": "weighted",
        "source": "affinity",
        "rule": None,
        "attempt_count": 1,
        "recovered": False,
        "degraded": False,
        "access_key": "app",
        "input_tokens": 1250,
        "output_tokens": 16,
        **fields,
    }


class Reader:
    """The administrator in front of a page."""

    def __init__(self, console: Console, browser: Browser, cookie: str = "", **options: Any) -> None:
        self.console = console
        self.context: BrowserContext = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **options})
        self.problems: list[str] = []
        for pair in (cookie or console.cookie).split("; "):
            name, _, value = pair.partition("=")
            self.context.add_cookies([{"name": name, "value": value, "url": console.url}])
        self.page: Page = self.context.new_page()
        self.page.on("console", lambda said: self.problems.append(said.text) if said.type == "error" else None)
        self.page.on("pageerror", lambda error: self.problems.append(str(error)))

    def go(self, path: str = LIVE) -> Page:
        self.page.goto(self.console.url + path)
        wait_in(self.page, f"{STATE} === 'Live'")
        return self.page

    def rows(self) -> list[str]:
        return [re.sub(r"\s+", " ", each) for each in self.page.locator(".live-table tbody tr").all_inner_texts()]

    def expect(self, count: int) -> list[str]:
        wait_in(self.page, f"{ROWS} === {count}")
        return self.rows()


@pytest.fixture
def reader(console: Console, browser: Browser) -> Iterator[Reader]:
    found = Reader(console, browser)
    yield found
    found.context.close()


def test_a_request_appears_when_it_ends_and_leads_to_all_that_is_known_of_it(reader: Reader, console: Console) -> None:
    page = reader.go()
    assert "Waiting for the next request" in page.inner_text(".live")
    answered = console.chat().headers["x-route-id"]
    (row,) = reader.expect(1)
    assert re.match(r"\d\d:\d\d:\d\d UTC Routed gpt-4o → sent to acme", row)
    assert "Waiting" not in page.inner_text(".live")
    console.publisher().publish([route(id="not-there", requested_model="<b>bold</b>", message="<i>said</i>")])
    assert "<b>bold</b> → sent to acme / m-1 <i>said</i> default · app" in reader.expect(2)[0]
    page.locator(f'a[href*="{answered}"]').focus()
    page.keyboard.press("Enter")
    page.wait_for_url(f"**/{answered}/change/")
    if page.locator("text=Not stored yet").count():
        console.route(answered)
        page.click("text=Try again")
    assert "What happened" in page.inner_text("main")
    assert [each for each in reader.problems if "404" not in each] == []


def test_what_a_row_says_and_that_an_outcome_changes_it(reader: Reader, console: Console) -> None:
    page = reader.go("/admin/live/?status__in=failed,decided,routed&provider=acme")
    decided = route(status="decided", latency_ms=None, ttfb_ms=None, input_tokens=None, output_tokens=None)
    failed = route(status="failed", error_code="upstream_5xx", message="it said 503", rule="long", attempt_count=3)
    console.publisher().publish([decided, failed, route(provider="other"), route(status="cancelled")])
    first, second = reader.expect(2)
    assert first == (
        "08:00:00 UTC Failed m → sent to acme / m-1 acme failed with a server error: it said 503 "
        "default · app · strategy weighted · rule long 1.24 s first 300 ms 3 1 250 16 out"
    )
    assert second.startswith("08:00:00 UTC Decided m → sent to acme / m-1 default · app · strategy weighted · its ")
    console.publisher().publish([{**decided, "status": "routed", "latency_ms": 5}])
    wait_until(lambda: "Routed" in reader.rows()[1], 20, "its outcome is shown")
    assert len(reader.rows()) == 2
    wait_in(page, "document.querySelector('[data-figure=routes]').innerText === '2'")
    assert page.inner_text("[data-figure=failures]") == "1"
    assert reader.problems == []


def test_a_pause_counts_what_comes_and_ends_with_a_line_that_leads_to_the_history(
    reader: Reader, console: Console
) -> None:
    page = reader.go("/admin/live/?profile=default")
    console.publisher().publish([route()])
    reader.expect(1)
    page.locator("[data-pause]").focus()
    page.keyboard.press("Enter")
    wait_in(page, f"{STATE} === 'Paused'")
    console.publisher().publish([route(), route(), route(profile="other")])
    wait_in(page, "document.querySelector('.live-aside').innerText === '2 routes came meanwhile'")
    assert page.evaluate(ROWS) == 1
    page.keyboard.press("Enter")
    gap, _ = reader.expect(2)
    said = re.fullmatch(
        r"Between (\S+) and (\S+) UTC 2 routes came while this page was paused\. See that time in History", gap
    )
    assert said
    assert page.inner_text(".live-states") == "Live"
    asked = parse_qs(urlsplit(page.get_attribute(".live-gap a", "href") or "").query)
    assert asked["profile"] == ["default"]
    assert asked["from"][0] < asked["to"][0]
    assert asked["to"][0][11:19] >= said[2]
    page.click(".live-gap a")
    page.wait_for_url("**/admin/history/routehistory/**")
    assert page.locator(".filter-problems").count() == 0
    assert reader.problems == []


def test_it_comes_back_by_itself_and_is_told_what_came_meanwhile(reader: Reader, console: Console) -> None:
    page = reader.go()
    console.publisher().publish([route()])
    reader.expect(1)
    pid = console.kill("console")
    wait_in(page, f"{STATE} === 'Connection lost, trying again'")
    assert re.match(r"in \d+ s", page.inner_text(".live-aside"))
    assert page.is_disabled("[data-pause]")
    console.publisher().publish([route(requested_model="meanwhile")])
    console.wait_replaced(console=pid)
    wait_until(lambda: page.evaluate(f"{STATE} === 'Live'"), 90, "it is back")  # the console takes its time
    assert "meanwhile" in reader.expect(2)[0]


def test_who_is_signed_out_is_told_and_led_to_the_login(console: Console, browser: Browser) -> None:
    cookie = console.sign_in()
    found = Reader(console, browser, cookie)
    page = found.go("/admin/live/?status=failures")
    console.sign_out(cookie)
    wait_in(page, f"{STATE} === 'Signed out'")
    page.click("text=Sign in to go on")
    page.wait_for_url("**/admin/login/**")
    assert page.input_value("[name=next]") == "/admin/live/?status=failures"
    found.context.close()


def test_the_page_keeps_so_many_rows_and_fits_a_telephone(console: Console, browser: Browser) -> None:
    found = Reader(console, browser, viewport={"width": 390, "height": 800}, color_scheme="dark")
    page = found.go()
    long = "a-model-with-a-name-that-is-as-long-as-somebody-could-make-it-without-a-space-" * 2
    failed = route(requested_model=long, session_key="x" * 200, status="failed", error_code="dns", message="y" * 300)
    console.publisher().publish([*(route(latency_ms=number) for number in range(620)), failed])
    rows = found.expect(500)
    assert long in rows[0]
    assert "619 ms" in rows[1]
    assert page.is_visible("text=The page keeps 500 rows")
    assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
    # Heard by a screen reader are changes of the state, not every route.
    assert page.locator(".live [role=status], .live [aria-live]").count() == 1
    assert page.locator(".live-states[role=status]").inner_text() == "Live"
    assert page.get_by_role("table", name="Routes, the latest first").get_by_role("row").count() == 501
    assert found.problems == []
    found.context.close()
