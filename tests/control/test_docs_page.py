"""The API's documentation page in a real browser, under the content security policy it is served with."""

from __future__ import annotations

import shutil
from typing import Any

import pytest
from django.contrib.auth.models import User

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-headless-shell", "google-chrome"))), None)
pytestmark = [
    pytest.mark.browser,
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(not CHROMIUM, reason="no Chromium here"),
]


def test_the_docs_page_shows_every_operation_without_a_console_error(
    live_server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from django.test import Client
    from playwright.sync_api import sync_playwright

    # Playwright keeps an event loop in this thread, which is not async code.
    monkeypatch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "1")
    client = Client()
    client.force_login(User.objects.create_superuser("root"))
    problems: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        context = browser.new_context()
        context.add_cookies([{"name": "sessionid", "value": client.cookies["sessionid"].value, "url": live_server.url}])
        page = context.new_page()
        page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.goto(f"{live_server.url}/api/docs/")
        page.wait_for_selector("#operations-providers-providers_list")
        page.click("#operations-providers-providers_list .opblock-summary-control")
        page.click("#operations-providers-providers_list .try-out__btn")
        page.click("#operations-providers-providers_list .execute")
        page.wait_for_selector("#operations-providers-providers_list .live-responses-table")
        answered = page.inner_text(
            "#operations-providers-providers_list .live-responses-table tbody .response-col_status"
        )
        browser.close()
    assert "200" in answered
    assert problems == []
