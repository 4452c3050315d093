"""A page of ours in a real browser: its session opens streams and sockets, whatever headers browsers send with them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.admin.browsing import CHROMIUM, browser, wait_in

if TYPE_CHECKING:
    from playwright.sync_api import Browser

    from tests.live_feed.clients import Console

__all__ = ["browser"]
pytestmark = pytest.mark.browser

LISTEN = """() => {
    window.heard = [];
    const stream = new EventSource("/events/routing-decisions");
    stream.addEventListener("route", (event) => window.heard.push(["stream", JSON.parse(event.data)]));
    const socket = new WebSocket(`ws://${location.host}/ws/live`);
    socket.onmessage = (event) => window.heard.push(["socket", JSON.parse(event.data)]);
    const open = new Promise((done) => stream.addEventListener("open", done));
    return open.then(() => new Promise((done) => {
        const subscribe = () => { socket.send(JSON.stringify({type: "subscribe"})); done(); };
        if (socket.readyState === WebSocket.OPEN) subscribe(); else socket.onopen = subscribe;
    }));
}"""


@pytest.mark.skipif(CHROMIUM is None, reason="NO CHROMIUM FOUND")
def test_a_signed_in_browser_hears_of_routes_over_stream_and_socket(console: Console, browser: Browser) -> None:
    context = browser.new_context()
    name, _, value = console.cookie.partition(";")[0].partition("=")
    context.add_cookies([{"name": name, "value": value, "url": console.url}])
    page = context.new_page()
    page.goto(f"{console.url}/admin/")
    page.evaluate(LISTEN)
    wait_in(page, "window.heard.some(([from, message]) => message.type === 'subscribe_response')")
    console.publisher().publish([{"id": "from the feed"}])
    wait_in(page, "window.heard.length === 3")
    heard: Any = page.evaluate("window.heard")
    context.close()
    assert ["stream", {"id": "from the feed"}] in heard
    [routes] = [message for source, message in heard if source == "socket" and message["type"] == "routes"]
    assert routes["payload"]["events"] == [{"id": "from the feed"}]
