"""A running product and a real browser in front of it, for the tests that need both.

Import the fixtures by name: ``from tests.admin.browsing import browser, desk, stack``.
"""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import pytest

from tests.gateways import wait_until
from tests.simulators import Simulator
from tests.stack import ADMIN_PASSWORD, Stack, document

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser, BrowserContext, Page, Request, StorageState

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-headless-shell", "google-chrome"))), None)

#: Each width and each scheme once: what fits does not hang on colours.
SCREENS = [
    pytest.param({"viewport": {"width": width, "height": 900}, "color_scheme": scheme}, id=f"{width}-{scheme}")
    for width, scheme in ((1280, "light"), (390, "dark"))
]
#: Cookies of an admin of each installation; the first desk signs in.
_sessions: WeakKeyDictionary[Stack, StorageState] = WeakKeyDictionary()


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A running product: profile ``default`` sends everything to alpha and nothing to beta."""
    if CHROMIUM is None:
        pytest.skip("NO CHROMIUM FOUND, THE CONSOLE WAS NOT TRIED IN A BROWSER: install chromium or google-chrome")
    with Simulator() as simulator:
        providers = [simulator.add("alpha", models=["gpt-4o"]), simulator.add("beta", models=["gpt-4o"])]
        with Stack(tmp_path_factory.mktemp("stack"), workers=1) as running:
            targets = [{"provider": "alpha", "weight": 1}, {"provider": "beta", "weight": 0}]
            running.import_config(document(*providers, strategy="weighted", targets=targets))
            yield running


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        arguments = ["--no-sandbox", "--disable-background-networking"]
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        yield chromium
        chromium.close()


def wait_in(page: Page, expression: str, argument: Any = None) -> None:
    """Until JavaScript is true on the page. Asked from here: Playwright's own waiting evaluates text inside the page,
    which our content security policy forbids."""
    wait_until(lambda: page.evaluate(expression, argument), 20, expression)


class Desk:
    """A page at one screen; ``problems`` is what the browser complained about."""

    def __init__(self, context: BrowserContext, url: str) -> None:
        self.url = url
        self.problems: list[str] = []
        self.page: Page = context.new_page()
        self._open: set[Request] = set()
        self.page.on("console", lambda said: self.problems.append(said.text) if said.type == "error" else None)
        self.page.on("pageerror", lambda error: self.problems.append(str(error)))
        self.page.on("request", lambda asked: None if asked.resource_type == "eventsource" else self._open.add(asked))
        self.page.on("requestfinished", lambda asked: self._open.discard(asked))
        self.page.on("requestfailed", lambda asked: self._open.discard(asked))

    def go(self, path: str) -> Page:
        """Until everything is there that the page asked for by itself."""
        self._open.clear()
        self.page.goto(self.url + path)
        wait_until(lambda: self.page.evaluate("document.readyState") == "complete" and not self._open, 20, path)
        return self.page

    def sign_in(self) -> None:
        self.go("/admin/")
        self.page.fill("#id_username", "admin")
        self.page.fill("#id_password", ADMIN_PASSWORD)
        self.page.click("button[type=submit]")
        self.page.wait_for_url("**/admin/")


@pytest.fixture
def desk(stack: Stack, browser: Browser, request: pytest.FixtureRequest) -> Iterator[Desk]:
    """Of an admin who is signed in."""
    options: dict[str, Any] = getattr(request, "param", {})
    context = browser.new_context(**options, storage_state=_sessions.get(stack))
    desk = Desk(context, stack.url)
    if stack not in _sessions:
        desk.sign_in()
        _sessions[stack] = context.storage_state()
    yield desk
    context.close()
