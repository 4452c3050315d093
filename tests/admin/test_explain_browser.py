"""Explaining on the real product: what a gateway recorded is reproduced, and the page works in a browser."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.admin.test_browser import SCREENS, browser, desk
from tests.simulators import Simulator
from tests.stack import Stack, document

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.admin.test_browser import Desk

__all__ = ["browser", "desk"]
pytestmark = [pytest.mark.browser, pytest.mark.slow]

RULES: list[dict[str, Any]] = [
    {
        "name": "please",
        "when": {"fact": "user_text", "op": "contains", "value": "please"},
        "targets": [{"provider": "gamma"}],
        "strategy": "failover",
    }
]
STRATEGIES = ("weighted", "round-robin", "least-latency", "peak-ewma", "failover")


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Three providers, a profile per strategy, a rule on text in each."""
    with Simulator() as simulator:
        providers = [simulator.add(slug, models=["gpt-4o"]) for slug in ("alpha", "beta", "gamma")]
        with Stack(tmp_path_factory.mktemp("stack"), workers=2) as running:
            targets = [{"provider": "alpha", "weight": 2}, {"provider": "beta"}, {"provider": "gamma", "tier": 1}]
            tree = document(*providers, targets=targets)
            tree["profiles"] += [
                {
                    "slug": name,
                    "name": name,
                    "strategy": name,
                    "targets": targets,
                    "rules": RULES,
                    "affinity": {"enabled": True},
                }
                for name in STRATEGIES
            ]
            running.import_config(tree)
            yield running


def ask(stack: Stack, profile: str, content: str, session: str = "") -> str:
    """The id of one request that was answered."""
    place = f"/s/{session}" if session else ""
    body = {"model": "gpt-4o", "messages": [{"role": "user", "content": content}]}
    answer = stack.request("POST", f"/p/{profile}{place}/v1/chat/completions", body)
    assert answer.status == 200, answer.body
    return str(answer.headers["x-route-id"])


def test_twenty_requests_a_gateway_recorded_are_reproduced_and_every_other_target_is_told(stack: Stack) -> None:
    routes = [
        (ask(stack, name, content, session), content)
        for name in STRATEGIES
        for content, session in (("Hello", ""), ("Hello", "s1"), ("Hello", "s1"), ("say please", ""))
    ]
    for route, content in routes:
        stack.route(route)  # until it has been shipped
        told = json.loads(stack.request("POST", "/api/v1/explain/", {"id": route}).body)
        assert told["recorded"]["same"], told["sentences"]
        assert told["undecidable"] == 0
        assert told["matched_rule"] == ("please" if "please" in content else None)
        lost = {line["provider"] for line in (*told["ranking"][1:], *told["excluded"])}
        story = " ".join(told["sentences"])
        assert all(slug in story for slug in lost)
        assert len(lost) == 2
    assert "the same choice" in stack.manage("explain_route", "--id", routes[0][0])


def test_explaining_on_the_running_product_moves_no_counter(stack: Stack) -> None:
    question = {"request": {"path": "/p/round-robin/v1/chat/completions", "body": {"model": "gpt-4o", "messages": []}}}

    def next_one() -> str:
        answer = stack.request("POST", "/api/v1/explain/", question)
        assert answer.status == 200, answer.body
        return str(json.loads(answer.body)["provider"])

    for _ in range(4):
        expected = {next_one() for _ in range(3)}
        assert expected == {stack.route(ask(stack, "round-robin", "Hello"))["provider"]}


@pytest.mark.parametrize("desk", SCREENS, indirect=True)
def test_the_page_fits_the_screen_with_and_without_an_answer(desk: Desk) -> None:
    page = desk.go("/admin/explain/?profile=weighted")
    assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
    page.locator("summary", has_text="What if").focus()
    page.keyboard.press("Enter")
    page.locator("#id_trouble-alpha_0").focus()
    page.keyboard.press("ArrowRight")
    assert page.evaluate("document.activeElement.value") == "down"
    assert page.evaluate("getComputedStyle(document.activeElement.nextElementSibling).boxShadow") != "none"
    page.locator(".save-bar button").focus()
    page.keyboard.press("Enter")
    page.wait_for_selector("#answer")
    page.wait_for_load_state("networkidle")
    assert "As if alpha were down." in page.inner_text(".story")
    assert page.locator(".bars li").count() == 3
    assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
    assert desk.problems == []


def test_a_request_of_the_history_is_explained_again_by_a_click(stack: Stack, desk: Desk) -> None:
    route = ask(stack, "weighted", "say please")
    stack.route(route)
    page = desk.go(f"/admin/history/routehistory/{route}/change/")
    assert "Rule “please” matched" in page.inner_text(".story")
    page.click("text=Explain now")
    page.wait_for_selector("text=As recorded")
    assert desk.problems == []
