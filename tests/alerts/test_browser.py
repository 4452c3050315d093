"""Alerts in a real browser on the real product: Celery's worker sends, a receiver in this process gets."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.admin.browsing import SCREENS, browser, desk, stack
from tests.alerts.receivers import HttpReceiver
from tests.gateways import wait_until

if TYPE_CHECKING:
    from tests.admin.browsing import Desk

pytestmark = [pytest.mark.browser, pytest.mark.slow]
__all__ = ["browser", "desk", "stack"]  # fixtures, found by their names


@pytest.mark.parametrize("desk", [SCREENS[0], SCREENS[-1]], indirect=True)
def test_a_channel_and_a_rule_are_made_tested_and_told_of_a_publish(desk: Desk, request: pytest.FixtureRequest) -> None:
    name = f"hook {request.node.callspec.id}"
    with HttpReceiver() as receiver:
        page = desk.go("/admin/health/alertchannel/add/")
        page.fill("#id_name", name)
        assert page.is_visible("#id_secret")
        assert not page.is_visible("#id_recipients")
        page.select_option("#id_kind", "email")
        assert not page.is_visible("#id_url")
        page.select_option("#id_kind", "webhook")
        page.fill("#id_url", receiver.url)
        page.fill("#id_secret", "a secret that signs")
        page.select_option("#id_network", "loopback")
        page.click("[name=_save]")
        page.click("text=Send test")
        page.wait_for_selector("text=The last test arrived")
        (got,) = receiver.requests
        assert got.json["test"] is True
        assert narrow_enough(desk)

        page = desk.go("/admin/health/alertrule/add/")
        page.fill("#id_name", f"rule {name}")
        page.check('[name=events][value="config_published"]')
        page.check(f'[name=channels][value="{name}"]')
        assert narrow_enough(desk)
        page.click("[name=_save]")
        page.wait_for_selector("text=In force now, nothing to publish")

        page = desk.go("/admin/routes/policy/")
        page.click("[name=_publish]")
        page.wait_for_selector("text=/published as revision/i")
        wait_until(lambda: len(receiver.requests) > 1, 30, "the publish was told")
        assert receiver.requests[1].json["event"] == "config_published"
        for address in ("/admin/health/alertrule/", "/admin/health/alertdelivery/"):
            page = desk.go(address)
            assert "Configuration published" in page.inner_text("main")
            assert narrow_enough(desk), address
    assert desk.problems == []


def narrow_enough(desk: Desk) -> bool:
    """Nothing makes the page scroll sideways."""
    return bool(desk.page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth"))
