"""Scenarios: which one a request is, in the order that a profile asks for."""

from __future__ import annotations

from typing import Any

import pytest

from routes.engine.facts import ScenarioSettings
from routes.engine.facts.scenario import normalise
from tests.engine.facts_of import PICTURE, facts_of, said, user

SEARCH = {"type": "web_search_20250305", "name": "web_search"}
BASH = {"type": "bash_20250124", "name": "bash"}
#: Everything at once but a text above the threshold.
ALL: dict[str, Any] = said(user([PICTURE]), tools=[SEARCH, BASH], thinking={"type": "enabled"})
LONG = "x" * 4 * 33_000


def words(tokens: int) -> dict[str, Any]:
    """A body of exactly so many tokens."""
    return said("x" * 4 * tokens)


def test_the_first_scenario_of_the_order_that_fits_is_the_one() -> None:
    body = said(user([PICTURE, {"type": "text", "text": LONG}]), tools=[SEARCH, BASH], thinking={"type": "enabled"})
    seen = []
    order = ["web_search", "thinking", "image", "long_context", "code", "background", "default"]
    while order:
        facts = facts_of(body, "messages", model="claude-haiku", scenario={"order": order})
        seen.append(facts.scenario)
        order = order[1:]
    assert seen == ["web_search", "thinking", "image", "long_context", "code", "background", "default"]


def test_the_order_can_be_changed_and_what_is_left_out_is_never_seen() -> None:
    assert facts_of(ALL, scenario={"order": ["image", "webSearch", "default"]}).scenario == "image"
    assert facts_of(ALL, scenario={"order": ["background"]}).scenario == "default"


def test_a_name_that_is_no_scenario_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown scenario 'vision'; there are web_search"):
        ScenarioSettings.from_document({"order": ["vision"]})


@pytest.mark.parametrize("alias", ["web_search", "web-search", "webSearch", "WebSearch", " Web search ", "WEB_SEARCH"])
def test_aliases_are_one_scenario(alias: str) -> None:
    assert normalise(alias) == "web_search"
    assert normalise(alias + "es") is None


@pytest.mark.parametrize(("tokens", "long"), [(25_600, False), (25_601, True), (26_000, True)])
def test_without_history_four_fifths_of_the_threshold_are_long(tokens: int, long: bool) -> None:
    facts = facts_of(words(tokens))
    assert facts.tokens == tokens
    assert (facts.scenario == "long_context") is long
    forgotten = facts_of(words(tokens), session="s", last_input=lambda: None)
    assert (forgotten.scenario == "long_context") is long


@pytest.mark.parametrize(
    ("last", "tokens", "long"),
    [
        (10, 32_000, False),
        (10, 32_001, True),
        (32_000, 26_000, False),  # the last one was not above it
        (32_001, 26_000, True),
        (40_000, 8_000, True),  # a fifth
        (40_000, 7_999, False),
        (33_000, 6_600, True),
        (32_500, 5_000, False),
        (25_000, 5_001, False),
        (25_004, 5_001, False),
    ],
)
def test_a_continuing_session_stays_long_unless_this_request_is_small(last: int, tokens: int, long: bool) -> None:
    facts = facts_of(words(tokens), session="s", last_input=lambda: last)
    assert (facts.scenario == "long_context") is long


def test_more_than_5000_tokens_are_needed_even_where_a_fifth_is_less() -> None:
    settings = {"long_context_threshold": 10_000}
    assert facts_of(words(5_000), last_input=lambda: 10_001, scenario=settings).scenario == "default"
    assert facts_of(words(5_001), last_input=lambda: 10_001, scenario=settings).scenario == "long_context"


@pytest.mark.parametrize(
    ("model", "background"),
    [("claude-3-5-haiku-latest", True), ("gpt-4o-mini", True), ("gemini-flash", True), ("gpt-4o", False)],
)
def test_a_small_model_is_background(model: str, background: bool) -> None:
    assert (facts_of(said("hi"), model=model).scenario == "background") is background


def test_which_models_are_small_is_the_profiles_to_say() -> None:
    assert facts_of(said("hi"), model="gpt-4o", scenario={"background_models": ["gpt-*"]}).scenario == "background"
    assert facts_of(said("hi"), model="x-mini", scenario={"background_models": []}).scenario == "default"


@pytest.mark.parametrize(
    ("tools", "code"),
    [
        ([BASH], True),
        ([{"type": "text_editor_20250728", "name": "str_replace_based_edit_tool"}], True),
        ([{"type": "local_shell"}], True),
        ([{"name": "Read"}, {"name": "Edit"}], True),
        ([{"type": "function", "function": {"name": "read_file"}}, {"type": "function", "name": "apply-patch"}], True),
        ([{"name": "Read"}], False),
        ([{"name": "Read"}, {"name": "read"}], False),
        ([{"name": "weather"}, {"name": 5}, "bash", {"function": "bash"}], False),
    ],
)
def test_code_is_told_by_an_api_tool_for_code_or_by_two_of_an_agent(tools: list[Any], code: bool) -> None:
    assert (facts_of(said("hi", tools=tools)).scenario == "code") is code


def test_code_is_told_by_a_coding_agents_prompt_but_its_chores_are_background() -> None:
    body = said("hi", system="You are Claude Code, Anthropic's official CLI for Claude.")
    assert facts_of(body, "messages", model="claude-opus").scenario == "code"
    assert facts_of(body, "messages", model="claude-haiku").scenario == "background"
    assert facts_of({**body, "tools": [BASH]}, "messages", model="claude-haiku").scenario == "code"


def test_without_a_body_only_the_model_and_what_is_given_say_something() -> None:
    assert facts_of().scenario == "default"
    assert facts_of(model="gpt-4o-mini").scenario == "background"
    assert facts_of(given={"tokens": 40_000}).scenario == "long_context"
    assert facts_of(given={"scenario": "code"}).scenario == "code"


def test_a_session_is_asked_for_its_last_input_only_when_the_length_matters() -> None:
    asked: list[None] = []

    def last_input() -> int | None:
        asked.append(None)
        return None

    facts_of(ALL, last_input=last_input).scenario  # noqa: B018
    assert asked == []
    facts = facts_of(words(100), last_input=last_input)
    assert facts.scenario == facts.scenario == "default"
    assert len(asked) == 1
