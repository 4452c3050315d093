"""Conditions: what each operator means, what is refused and where, and what a condition says of itself."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import pytest
from jsonschema import Draft202012Validator

from routes.engine.conditions import CATALOGUE, OPERATORS, ConditionError, json_schema, parse
from routes.engine.conditions.parse import MAX_CLAUSES, MAX_DEPTH, MAX_ERRORS
from routes.engine.facts import KeyFacts
from routes.engine.facts.catalogue import STRING_OPS
from tests.engine.facts_of import PICTURE, facts_of, said, user

if TYPE_CHECKING:
    from collections.abc import Sequence

    from routes.engine.facts import Facts


class Targets:
    """A rule's targets with the figures they have."""

    def __init__(self, **figures: Sequence[float]) -> None:
        self._figures = figures

    def figures(self, name: str) -> Sequence[float]:
        return self._figures.get(name, ())


def leaf(fact: str, op: str, value: Any) -> dict[str, Any]:
    return {"fact": fact, "op": op, "value": value}


def holds(tree: Any, facts: Facts, targets: Targets | None = None) -> bool:
    """By the closure; the three-valued way must agree."""
    condition = parse(tree)
    held = condition.matches(facts, targets)
    assert type(held) is bool
    assert condition.decide(facts, targets) is held
    assert condition.report(facts, targets)["matched"] is held
    return held


def refused(tree: Any, path: str = "when") -> list[tuple[str, str]]:
    with pytest.raises(ConditionError) as caught:
        parse(tree, path)
    assert caught.value.code == "invalid_condition"
    return caught.value.errors


# -- operators ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("op", "value", "held"),
    [
        ("eq", "gpt-4o-mini", True),
        ("eq", "GPT-4o-mini", False),
        ("eq", "gpt-4o", False),
        ("ne", "gpt-4o", True),
        ("ne", "gpt-4o-mini", False),
        ("in", ["a", "gpt-4o-mini"], True),
        ("in", ["gpt-4o"], False),
        ("not_in", ["a", "b"], True),
        ("not_in", ["gpt-4o-mini"], False),
        ("prefix", "gpt-4", True),
        ("prefix", "Gpt", False),
        ("contains", "4o", True),
        ("contains", "4O", False),
        ("glob", "gpt-*", True),
        ("glob", "gpt-?o-[mn]ini", True),
        ("glob", "gpt", False),
        ("glob", "*mini*x", False),
        ("glob", "GPT-*", False),
        ("regex", "o-m", True),
        ("regex", "^gpt-[0-9]o", True),
        ("regex", "^o", False),
        ("regex", "(?i)GPT", True),
        ("regex", "GPT", False),
        ("exists", True, True),
        ("exists", False, False),
    ],
)
def test_operators_of_strings(op: str, value: Any, held: bool) -> None:
    assert holds(leaf("model", op, value), facts_of(model="gpt-4o-mini")) is held
    header = leaf("header.X-Model", op, value)
    assert holds(header, facts_of(headers={"x-model": "gpt-4o-mini"})) is held
    assert holds(leaf("metadata.m", op, value), facts_of(said("hi", metadata={"m": "gpt-4o-mini"}))) is held


@pytest.mark.parametrize("fact", ["region", "header.x-a", "metadata.a", "key.name", "model", "agent"])
def test_an_absent_fact_matches_nothing_but_that_it_does_not_exist(fact: str) -> None:
    facts = facts_of(said("hi"), model="", key=KeyFacts(""))
    for op in STRING_OPS:
        value: Any = {"in": ["main"], "not_in": ["main"], "exists": True}.get(op, "main")
        assert not holds(leaf(fact, op, value), facts)
    assert holds(leaf(fact, "exists", False), facts)


def test_a_value_longer_than_what_is_remembered_is_judged_all_the_same() -> None:
    long = "x" * 5000 + "end"
    facts = facts_of(headers={"x-a": long})
    assert holds(leaf("header.x-a", "regex", "end$"), facts)
    assert not holds(leaf("header.x-a", "glob", "*x"), facts)


@pytest.mark.parametrize(
    ("op", "value", "held"),
    [
        ("eq", "vip", True),
        ("eq", "vi", False),
        ("in", ["x", "vip"], True),
        ("in", ["x", "y"], False),
        ("exists", True, True),
        ("exists", False, False),
    ],
)
def test_operators_of_sets(op: str, value: Any, held: bool) -> None:
    assert holds(leaf("tag", op, value), facts_of(tags=("vip", "eu"))) is held
    assert holds(leaf("key.tag", op, value), facts_of(key=KeyFacts("k", frozenset({"vip"})))) is held
    assert holds(leaf("tag", op, value), facts_of()) is (op == "exists" and value is False)


def test_flags() -> None:
    assert holds(leaf("stream", "is", True), facts_of(stream=True))
    assert holds(leaf("stream", "is", False), facts_of())
    assert not holds(leaf("has_tools", "is", True), facts_of(said("hi")))
    assert holds(leaf("has_tools", "is", False), facts_of(said("hi")))
    assert not holds(leaf("has_tools", "is", False), facts_of())  # no body, so nobody knows


@pytest.mark.parametrize(
    ("op", "value", "held"),
    [
        ("lt", 100, False),
        ("lt", 101, True),
        ("lte", 100, True),
        ("lte", 99.5, False),
        ("gt", 100, False),
        ("gt", 99, True),
        ("gte", 100, True),
        ("gte", 100.5, False),
        ("between", [100, 200], True),
        ("between", [50, 100], True),
        ("between", [101, 200], False),
        ("between", [0, 99], False),
    ],
)
def test_operators_of_numbers(op: str, value: Any, held: bool) -> None:
    assert holds(leaf("tokens", op, value), facts_of(said("x" * 400))) is held
    assert not holds(leaf("tokens", op, value), facts_of())


def test_scenarios_may_be_written_with_their_aliases_and_are_kept_under_their_names() -> None:
    condition = parse(leaf("scenario", "in", ["webSearch", "long-context"]))
    assert condition.tree["value"] == ["web_search", "long_context"]
    facts = facts_of(said("x" * 4 * 26_000))
    assert holds(condition.tree, facts)
    assert holds(leaf("scenario", "eq", "longContext"), facts)
    assert holds(leaf("scenario", "prefix", "long_"), facts)


@pytest.mark.parametrize(
    ("value", "held"),
    [
        ("10.0.0.0/8", True),
        ("10.1.2.3", True),
        ("10.1.2.4/32", False),
        (["192.168.0.0/16", "10.1.0.0/16"], True),
        (["2001:db8::/32"], False),
    ],
)
def test_networks(value: Any, held: bool) -> None:
    for address in ("10.1.2.3", "::ffff:10.1.2.3"):
        assert holds(leaf("client_ip", "in_cidr", value), facts_of(client_ip=address)) is held
    assert not holds(leaf("client_ip", "in_cidr", "0.0.0.0/0"), facts_of(client_ip="somewhere"))
    assert not holds(leaf("client_ip", "in_cidr", "0.0.0.0/0"), facts_of())
    assert holds(leaf("client_ip", "in_cidr", "2001:db8::/32"), facts_of(client_ip="2001:db8::7"))


@pytest.mark.parametrize("address", ["10.1.2.3", "::ffff:10.1.2.3"])
def test_an_ipv4_network_written_as_an_ipv6_one_is_itself_like_addresses(address: str) -> None:
    assert holds(leaf("client_ip", "in_cidr", "::ffff:10.0.0.0/104"), facts_of(client_ip=address))
    assert not holds(leaf("client_ip", "in_cidr", "::ffff:11.0.0.0/104"), facts_of(client_ip=address))
    assert not holds(leaf("client_ip", "in_cidr", "2001:db8::7/128"), facts_of(client_ip=address))


# -- smart rules as they were promised -----------------------------------------------------------------------


def test_a_tools_result_does_not_match_the_users_latest_text() -> None:
    when = leaf("latest_user_text", "contains", "deploy")
    assert holds(when, facts_of(said("please deploy")))
    result = {"type": "tool_result", "tool_use_id": "t", "content": "deploy done"}
    assert not holds(when, facts_of(said("please deploy", "on it", user([result])), "messages"))
    tool = {"role": "tool", "tool_call_id": "t", "content": "deploy done"}
    assert not holds(when, facts_of(said("please deploy", "on it", tool)))
    assert not holds(when, facts_of(said("please deploy", "on it")))


def test_an_image_in_an_earlier_turn_does_not_set_latest_user_has_image() -> None:
    when = leaf("latest_user_has_image", "is", True)
    assert holds(when, facts_of(said(user([PICTURE]))))
    assert not holds(when, facts_of(said(user([PICTURE]), "a cat", "and its colour?")))


@pytest.mark.parametrize("operation", ["embedding", "images", "audio"])
def test_a_condition_with_a_text_fact_never_matches_a_request_without_a_prompt(operation: str) -> None:
    text = leaf("user_text", "contains", "x")
    facts = facts_of({"input": "x", "prompt": "x", "messages": [user("x")]}, operation)
    for tree in (text, {"not": text}, {"any": [text, leaf("model", "eq", "gpt-4o")]}):
        condition = parse(tree)
        assert condition.needs_text
        assert not holds(tree, facts)
        assert {clause["matched"] for clause in condition.report(facts)["clauses"]} == {False}
        assert "without a prompt" in condition.report(facts)["clauses"][0]["sentence"]
    assert facts.bits == {}
    assert holds(leaf("model", "eq", "gpt-4o"), facts)


def test_what_a_condition_needs_is_known_before_any_request() -> None:
    assert parse(leaf("model", "eq", "a")).needs_body is False
    assert parse({"not": leaf("tokens", "lt", 5)}).needs_body is True
    assert parse(leaf("tokens", "lt", 5)).needs_text is False
    both = parse({"any": [leaf("model", "eq", "a"), {"all": [leaf("header.X-A", "eq", "b")]}]})
    assert both.facts == {"model", "header.x-a"}


def test_a_condition_on_the_request_line_leaves_the_body_unread() -> None:
    facts = facts_of(said("hi"))
    assert holds({"all": [leaf("model", "eq", "gpt-4o"), leaf("percent", "lt", 100)]}, facts)
    assert not facts.has_read_body


# -- time ----------------------------------------------------------------------------------------------------


def at(text: str, zone: str = "UTC", fold: int = 0) -> Facts:
    return facts_of(wall=datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone), fold=fold).timestamp())


def window(start: str, end: str, **more: Any) -> dict[str, Any]:
    return leaf("time", "within", {"start": start, "end": end, **more})


@pytest.mark.parametrize(
    ("start", "end", "moment", "held"),
    [
        ("09:00", "17:00", "2026-07-15T08:59:59", False),
        ("09:00", "17:00", "2026-07-15T09:00:00", True),
        ("09:00", "17:00", "2026-07-15T16:59:59", True),
        ("09:00", "17:00", "2026-07-15T17:00:00", False),
        ("22:00", "06:00", "2026-07-15T21:59:59", False),
        ("22:00", "06:00", "2026-07-15T22:00:00", True),
        ("22:00", "06:00", "2026-07-15T00:00:00", True),
        ("22:00", "06:00", "2026-07-15T05:59:59", True),
        ("22:00", "06:00", "2026-07-15T06:00:00", False),
        ("00:00", "24:00", "2026-07-15T23:59:59", True),
        ("12:00", "00:00", "2026-07-15T23:59:59", True),
        ("12:00", "00:00", "2026-07-15T00:00:00", False),
    ],
)
def test_a_window_is_from_its_start_up_to_its_end_to_the_minute(start: str, end: str, moment: str, held: bool) -> None:
    assert holds(window(start, end), at(moment)) is held
    assert holds(window(start, end, outside=True), at(moment)) is not held


def test_a_window_over_midnight_belongs_to_the_day_on_which_it_began() -> None:
    friday_night = window("22:00", "06:00", days=["fri"])
    assert holds(friday_night, at("2026-07-17T23:00:00"))  # Friday
    assert holds(friday_night, at("2026-07-18T05:00:00"))  # Saturday morning
    assert not holds(friday_night, at("2026-07-17T05:00:00"))  # Friday morning belongs to Thursday
    assert not holds(friday_night, at("2026-07-18T23:00:00"))


def test_outside_turns_the_whole_window_days_and_all() -> None:
    off_hours = window("09:00", "17:00", days=["mon", "tue", "wed", "thu", "fri"], outside=True)
    assert not holds(off_hours, at("2026-07-15T10:00:00"))
    assert holds(off_hours, at("2026-07-15T18:00:00"))
    assert holds(off_hours, at("2026-07-18T10:00:00"))  # Saturday


def test_the_wall_clock_of_the_zone_counts() -> None:
    office = window("09:00", "17:00", timezone="America/New_York")
    assert holds(office, at("2026-07-15T13:00:00"))  # 09:00 there in summer
    assert not holds(office, at("2026-01-15T13:00:00"))  # 08:00 there in winter
    assert holds(window("09:00", "10:00", timezone="Asia/Kathmandu"), at("2026-07-15T03:15:00"))


def test_an_hour_that_the_clocks_skip_does_not_occur_and_one_they_repeat_occurs_twice() -> None:
    berlin = window("02:00", "03:00", timezone="Europe/Berlin")
    spring = [at(f"2026-03-29T{hour:02}:{minute:02}:00") for hour in range(4) for minute in range(0, 60, 10)]
    assert not any(holds(berlin, facts) for facts in spring)
    autumn = [at(f"2026-10-25T{hour:02}:{minute:02}:00") for hour in range(4) for minute in range(0, 60, 10)]
    assert sum(holds(berlin, facts) for facts in autumn) == 12
    assert holds(berlin, at("2026-10-25T02:30:00", "Europe/Berlin", fold=0))
    assert holds(berlin, at("2026-10-25T02:30:00", "Europe/Berlin", fold=1))


def test_a_night_is_as_long_as_the_clocks_make_it() -> None:
    night = window("22:00", "06:00", timezone="Europe/Berlin", days=["sat"])
    begin = datetime(2026, 3, 28, 12, tzinfo=ZoneInfo("Europe/Berlin")).timestamp()
    minutes = sum(holds(night, facts_of(wall=begin + 60 * minute)) for minute in range(0, 24 * 60, 10)) * 10
    assert minutes == 7 * 60


def test_the_same_window_asked_at_two_minutes_answers_for_each() -> None:
    condition = parse(window("09:00", "09:01"))
    moments = [at("2026-07-15T09:00:59"), at("2026-07-15T09:01:00"), at("2026-07-15T09:00:30")]
    assert [condition.matches(facts, None) for facts in moments] == [True, False, True]


# -- figures of the rule's own targets -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("op", "figures", "held"),
    [
        ("lte", [900.0, 500.0], True),
        ("lte", [500.1, 900.0], False),
        ("lte", [], True),
        ("gte", [400.0, 600.0], True),
        ("gte", [400.0, 599.0], False),
        ("gte", [], True),
    ],
)
def test_at_most_is_any_targets_and_at_least_the_means_and_no_samples_pass(
    op: str, figures: list[float], held: bool
) -> None:
    for figure in ("ttft_ms_avg", "ttft_ms_p99", "utilisation"):
        assert holds(leaf(f"partition.{figure}", op, 500), facts_of(), Targets(**{figure: figures})) is held
    assert holds(leaf("partition.utilisation", op, 500), facts_of())


# -- groups --------------------------------------------------------------------------------------------------

YES, NO = leaf("stream", "is", False), leaf("stream", "is", True)


@pytest.mark.parametrize(
    ("tree", "held"),
    [
        ({"all": []}, True),
        ({"all": [YES]}, True),
        ({"all": [YES, YES]}, True),
        ({"all": [YES, NO]}, False),
        ({"all": [YES, YES, YES]}, True),
        ({"all": [YES, YES, NO]}, False),
        ({"all": [YES, YES, YES, YES]}, True),
        ({"all": [YES, YES, YES, NO]}, False),
        ({"any": [NO]}, False),
        ({"any": [NO, YES]}, True),
        ({"any": [NO, NO]}, False),
        ({"any": [NO, NO, YES]}, True),
        ({"any": [NO, NO, NO]}, False),
        ({"not": NO}, True),
        ({"not": {"all": [YES, {"any": [NO, {"not": NO}]}]}}, False),
    ],
)
def test_groups(tree: Any, held: bool) -> None:
    assert holds(tree, facts_of()) is held
    assert parse(tree).tree == tree


# -- what is refused -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tree", "path", "words"),
    [
        (None, "when", "must be an object"),
        ([], "when", "must be an object"),
        ({}, "when", "must not be empty"),
        ({"all": {}}, "when.all", "must be a list"),
        ({"any": []}, "when.any", "one condition or more"),
        ({"any": [YES, 5]}, "when.any[1]", "must be an object"),
        ({"not": [YES]}, "when.not", "must be an object"),
        ({"all": [YES], "any": [NO]}, "when.any", "cannot stand beside all"),
        ({"all": [YES], "fact": "model"}, "when.fact", "cannot stand beside all"),
        ({"all": [YES], "comment": "x"}, "when.comment", "unknown field"),
        ({**YES, "unless": True}, "when.unless", "unknown field"),
        ({"fact": "model", "op": "eq"}, "when.value", "missing"),
        ({"fact": "model", "value": "x"}, "when.op", "missing"),
        ({"op": "eq", "value": "x"}, "when.fact", "missing"),
        (leaf("modle", "eq", "x"), "when.fact", "did you mean model?"),
        (leaf("qqqq", "eq", "x"), "when.fact", "there are model, agent"),
        (leaf(5, "eq", "x"), "when.fact", "must be the name of a fact"),  # type: ignore[arg-type]
        (leaf("header.", "eq", "x"), "when.fact", "must name a header"),
        (leaf("header.a b", "eq", "x"), "when.fact", "must name a header"),
        (leaf("header.Authorization", "eq", "x"), "when.fact", "carries credentials"),
        (leaf("header.x-api-key", "exists", True), "when.fact", "carries credentials"),
        (leaf("metadata.", "eq", "x"), "when.fact", "must name a key"),
        (leaf("metadata." + "k" * 65, "eq", "x"), "when.fact", "must name a key"),
        (leaf("metadata.\ud800", "eq", "x"), "when.fact", "must name a key"),
        (leaf("header.<name>", "eq", "x"), "when.fact", "must name a header"),
        (leaf("model", "lt", "x"), "when.op", "must be one of eq, ne"),
        (leaf("tokens", "eq", 5), "when.op", "must be one of lt, lte"),
        (leaf("user_text", "exists", True), "when.op", "must be one of contains, glob, regex"),
        (leaf("model", ["eq"], "x"), "when.op", "must be one of"),  # type: ignore[arg-type]
        (leaf("model", "eq", 5), "when.value", "must be a string"),
        (leaf("model", "eq", "\ud800"), "when.value", "must be valid text"),
        (leaf("model", "eq", "x" * 1001), "when.value", "longer than 1000"),
        (leaf("model", "contains", ""), "when.value", "must not be empty"),
        (leaf("model", "prefix", None), "when.value", "must be a string"),
        (leaf("model", "glob", ""), "when.value", "must not be empty"),
        (leaf("model", "in", "x"), "when.value", "must be a list of one or more strings"),
        (leaf("model", "in", []), "when.value", "must be a list of one or more strings"),
        (leaf("model", "in", ["x"] * 1001), "when.value", "more than 1000"),
        (leaf("model", "in", ["x", 5]), "when.value[1]", "must be a string"),
        (leaf("model", "exists", "yes"), "when.value", "must be true or false"),
        (leaf("model", "regex", "(?<=a)b"), "when.value", "invalid perl operator"),
        (leaf("model", "regex", r"(a)\1"), "when.value", "invalid escape sequence"),
        (leaf("model", "regex", "("), "when.value", "missing )"),
        (leaf("model", "regex", r"\pL{1000}"), "when.value", "too large"),
        (leaf("agent", "eq", "boss"), "when.value", "must be one of main, subagent, compact"),
        (leaf("scenario", "in", ["code", "vision"]), "when.value[1]", "must be one of web_search"),
        (leaf("tag", "ne", "x"), "when.op", "must be one of eq, in, exists"),
        (leaf("stream", "is", 1), "when.value", "must be true or false"),
        (leaf("tokens", "gte", True), "when.value", "must be a number"),
        (leaf("tokens", "gte", "5"), "when.value", "must be a number"),
        (leaf("tokens", "gte", float("inf")), "when.value", "must be a number"),
        (leaf("tokens", "gte", -1), "when.value", "must be between 0 and"),
        (leaf("tokens", "gte", 10**400), "when.value", "must be between 0 and"),
        (leaf("percent", "lt", 101), "when.value", "must be between 0 and 100"),
        (leaf("tokens", "between", 5), "when.value", "must be a list of two numbers"),
        (leaf("tokens", "between", [1, 2, 3]), "when.value", "must be a list of two numbers"),
        (leaf("tokens", "between", [1, "2"]), "when.value[1]", "must be a number"),
        (leaf("tokens", "between", [2, 1]), "when.value", "must not be above the second"),
        (leaf("client_ip", "in_cidr", "here"), "when.value", "must be a network"),
        (leaf("client_ip", "in_cidr", 5), "when.value", "must be a list of one or more networks"),
        (leaf("client_ip", "in_cidr", "10.0.0.1/8"), "when.value", "behind the prefix"),
        (leaf("client_ip", "in_cidr", ["10.0.0.0/8", 5]), "when.value[1]", "must be a network"),
        (leaf("time", "within", "09:00"), "when.value", "must be an object with start, end"),
        (window("9:00", "17:00"), "when.value.start", "must be a time of day"),
        (window("24:00", "17:00"), "when.value.start", "must be a time of day"),
        (window("09:00", "25:00"), "when.value.end", "must be a time of day"),
        (window("09:00", "09:00"), "when.value.end", "must not be the same as the start"),
        (window("09:00", "17:00", timezone="Mars/Base"), "when.value.timezone", "time zone"),
        (window("09:00", "17:00", timezone="../etc/passwd"), "when.value.timezone", "time zone"),
        (window("09:00", "17:00", timezone="Europe/"), "when.value.timezone", "time zone"),
        (window("09:00", "17:00", timezone=5), "when.value.timezone", "time zone"),
        (window("09:00", "17:00", days=[]), "when.value.days", "one or more of mon"),
        (window("09:00", "17:00", days="mon"), "when.value.days", "one or more of mon"),
        (window("09:00", "17:00", days=["mon", "Tuesday"]), "when.value.days[1]", "must be one of mon"),
        (window("09:00", "17:00", outside=1), "when.value.outside", "must be true or false"),
        (window("09:00", "17:00", zone="UTC"), "when.value.zone", "unknown field"),
        (leaf("time", "within", {"start": 900, "end": "17:00"}), "when.value.start", "must be a time of day"),
        (leaf("partition.utilisation", "lte", "80"), "when.value", "must be a number"),
        (leaf("partition.utilisation", "lt", 80), "when.op", "must be one of lte, gte"),
    ],
)
def test_what_is_wrong_is_refused_with_its_path(tree: Any, path: str, words: str) -> None:
    errors = refused(tree)
    assert [where for where, _ in errors] == [path]
    assert words in errors[0][1]


def test_several_errors_are_told_at_once_each_at_its_place() -> None:
    tree = {"all": [leaf("modle", "eq", 1), {"any": [YES, leaf("tokens", "lt", "x")]}, {"not": {"op": "eq", "x": 1}}]}
    assert [path for path, _ in refused(tree, "profiles[0].rules[1].when")] == [
        "profiles[0].rules[1].when.all[0].fact",
        "profiles[0].rules[1].when.all[1].any[1].value",
        "profiles[0].rules[1].when.all[2].not.x",
        "profiles[0].rules[1].when.all[2].not.fact",
        "profiles[0].rules[1].when.all[2].not.value",
    ]
    assert (
        str(ConditionError([("when.op", "missing"), ("when.value", "wrong")])) == "when.op: missing; when.value: wrong"
    )


def test_depth_size_and_the_number_of_errors_are_bounded() -> None:
    tree: Any = YES
    for _ in range(MAX_DEPTH - 1):
        tree = {"not": tree}
    parse(tree)
    assert "nested deeper" in refused({"not": tree})[0][1]
    parse({"all": [YES] * MAX_CLAUSES})
    assert refused({"all": [YES] * (MAX_CLAUSES + 1)}) == [
        ("when.all", f"must not have more than {MAX_CLAUSES} conditions")
    ]
    half = {"all": [YES] * (MAX_CLAUSES // 2 + 3)}
    assert refused({"any": [half, half]}) == [
        (f"when.any[1].all[{MAX_CLAUSES // 2 - 3}]", f"must not have more than {MAX_CLAUSES} clauses in all")
    ]
    assert len(refused({"all": [{"op": "x"}] * 100})) == MAX_ERRORS
    deep: Any = {}
    for _ in range(50_000):
        deep = {"all": [deep]}
    refused(deep)


def test_an_expression_that_takes_others_for_ever_takes_no_longer_here() -> None:
    evil = "x" * 60_000
    assert not holds(leaf("user_text", "regex", "(x+x+)+y"), facts_of(said(evil)))
    assert not holds(leaf("user_text", "glob", "*x" * 30 + "*y"), facts_of(said("x" * 2_000)))


# -- canonical form ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "canonical"),
    [
        (leaf("tokens", "gte", 32000.0), leaf("tokens", "gte", 32000)),
        (leaf("tokens", "between", [0.0, 1.5]), leaf("tokens", "between", [0, 1.5])),
        (leaf("header.X-Team", "eq", "A"), leaf("header.x-team", "eq", "A")),
        (leaf("model", "in", ["b", "a", "b"]), leaf("model", "in", ["b", "a"])),
        (leaf("client_ip", "in_cidr", "10.0.0.1"), leaf("client_ip", "in_cidr", "10.0.0.1/32")),
        (leaf("client_ip", "in_cidr", "::ffff:10.0.0.1"), leaf("client_ip", "in_cidr", "10.0.0.1/32")),
        (leaf("client_ip", "in_cidr", ["::/0", "::/0"]), leaf("client_ip", "in_cidr", ["::/0"])),
        (window("09:00", "17:00"), window("09:00", "17:00", timezone="UTC")),
        (
            window("09:00", "17:00", days=["sun", "mon", "sun"], outside=True),
            window("09:00", "17:00", timezone="UTC", days=["mon", "sun"], outside=True),
        ),
        (
            window("09:00", "17:00", days=["mon", "tue", "wed", "thu", "fri", "sat", "sun"], outside=False),
            window("09:00", "17:00", timezone="UTC"),
        ),
        ({"value": True, "op": "is", "fact": "stream"}, NO),
    ],
)
def test_the_canonical_form_says_the_same_in_one_way(given: Any, canonical: Any) -> None:
    assert parse(given).tree == canonical
    assert parse(canonical).tree == canonical
    assert parse(given).clauses[0].digest == parse(canonical).clauses[0].digest


def test_a_clauses_digest_is_its_own_and_that_of_a_partition_its_rules() -> None:
    def digest(tree: Any, owner: str = "") -> str:
        return parse(tree, owner=owner).clauses[0].digest

    assert digest(YES) != digest(NO)
    assert digest(YES, "rule a") == digest(YES, "rule b")
    assert digest(leaf("partition.utilisation", "lte", 5), "a") != digest(leaf("partition.utilisation", "lte", 5), "b")


# -- in words ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tree", "sentence"),
    [
        (
            {"all": [leaf("tokens", "gte", 32000), leaf("model", "prefix", "gpt-4")]},
            "tokens ≥ 32 000 and model starts with gpt-4",
        ),
        ({"all": []}, "always"),
        (
            {"any": [{"all": [YES, leaf("has_tools", "is", True)]}, {"not": leaf("tag", "eq", "x")}]},
            "(it is not streamed and it has tools) or not (tags include x)",
        ),
        ({"all": [{"any": [NO]}, {"all": [YES]}]}, "it is streamed and it is not streamed"),
        (leaf("model", "ne", "a b"), "model is not “a b”"),
        (leaf("model", "eq", ""), "model is “”"),
        (leaf("model", "in", ["a", "b", "c", "d", "e", "f", "g"]), "model is one of a, b, c, d, e and 2 more"),
        (leaf("model", "not_in", ["a", "b"]), "model is none of a, b"),
        (leaf("model", "contains", "x" * 100), f"model contains {'x' * 79}…"),
        (leaf("model", "glob", "gpt-*"), "model matches gpt-*"),
        (leaf("header.x-a", "exists", True), "header x-a is present"),
        (leaf("metadata.two words", "exists", False), "metadata “two words” is absent"),
        (leaf("key.name", "eq", "app"), "access key is app"),
        (leaf("key.tag", "in", ["a", "b"]), "tags of the access key include one of a, b"),
        (leaf("tag", "exists", True), "there are tags"),
        (leaf("tag", "exists", False), "there are no tags"),
        (leaf("tokens", "between", [1000, 2500.5]), "tokens is between 1 000 and 2 500.5"),
        (leaf("percent", "lt", 12.5), "percent < 12.5"),
        (leaf("percent", "lt", 0), "percent < 0"),
        (
            leaf("latest_user_text", "regex", "(?i)deploy"),
            "the user's latest message matches the expression “(?i)deploy”",
        ),
        (leaf("client_ip", "in_cidr", ["10.0.0.0/8", "::1"]), "the client's address is in 10.0.0.0/8, ::1/128"),
        (window("22:00", "06:00"), "the time is between 22:00 and 06:00 (UTC)"),
        (
            window("09:00", "17:00", timezone="Europe/Berlin", days=["mon", "tue", "wed", "fri"]),
            "the time is between 09:00 and 17:00 (Europe/Berlin) on Monday to Wednesday and Friday",
        ),
        (
            window("09:00", "17:00", days=["tue", "wed", "fri"], outside=True),
            "the time is not between 09:00 and 17:00 (UTC) on Tuesday, Wednesday and Friday",
        ),
        (window("09:00", "17:00", days=["sun"]), "the time is between 09:00 and 17:00 (UTC) on Sunday"),
        (leaf("partition.ttft_ms_avg", "lte", 800), "some target's mean time to the first event ≤ 800 ms"),
        (leaf("partition.utilisation", "gte", 80), "the targets' utilisation ≥ 80 %"),
    ],
)
def test_a_condition_says_what_it_asks_for(tree: Any, sentence: str) -> None:
    assert parse(tree).describe() == sentence
    assert repr(parse(tree)) == f"<Condition: {sentence}>"


@pytest.mark.parametrize(
    ("tree", "found", "sentence"),
    [
        (leaf("tokens", "gte", 32000), 25, "does not hold: tokens ≥ 32 000 (it is 25)"),
        (leaf("model", "prefix", "gpt"), "gpt-4o", "holds: model starts with gpt (it is gpt-4o)"),
        (leaf("region", "eq", "eu"), None, "does not hold: region is eu (there is none)"),
        (leaf("region", "exists", False), None, "holds: region is absent (there is none)"),
        (leaf("model", "exists", True), "gpt-4o", "holds: model is present"),
        (leaf("stream", "is", True), False, "does not hold: it is streamed"),
        (leaf("tag", "eq", "x"), ["a", "b"], "does not hold: tags include x (they are a, b)"),
        (leaf("key.tag", "eq", "x"), [], "does not hold: tags of the access key include x (there are none)"),
        (
            window("00:00", "01:00"),
            "Wed 12:00 UTC",
            "does not hold: the time is between 00:00 and 01:00 (UTC) (it is “Wed 12:00 UTC”)",
        ),
        (
            leaf("user_text", "contains", "xx"),
            "x" * 79 + "…",
            f"holds: the user's text contains xx (it is {'x' * 79}…)",
        ),
        (
            leaf("partition.utilisation", "lte", 10),
            [33.33, 50.0],
            "does not hold: some target's utilisation ≤ 10 % (the lowest is 33.33 %)",
        ),
        (
            leaf("partition.utilisation", "gte", 41),
            [33.33, 50.0],
            "holds: the targets' utilisation ≥ 41 % (the mean is 41.67 %)",
        ),
        (
            leaf("partition.ttft_ms_avg", "lte", 10),
            [],
            "holds: some target's mean time to the first event ≤ 10 ms (no samples)",
        ),
    ],
)
def test_a_report_says_why_or_why_not(tree: Any, found: Any, sentence: str) -> None:
    facts = facts_of(said("x" * 100), tags=("b", "a"))
    report = parse({"not": tree}).report(facts, Targets(utilisation=[100 / 3, 50.0]))
    clause = report["clauses"][0]
    assert clause["sentence"] == sentence
    assert clause["actual"] == found
    assert (clause["fact"], clause["op"], clause["expected"]) == (tree["fact"], tree["op"], parse(tree).tree["value"])
    assert report["matched"] is not clause["matched"]


def test_a_report_judges_every_clause_even_behind_one_that_decides() -> None:
    report = parse({"all": [NO, {"any": [YES, leaf("model", "eq", "x")]}]}).report(facts_of())
    assert report["matched"] is False
    assert [clause["matched"] for clause in report["clauses"]] == [False, True, False]


# -- the catalogue -------------------------------------------------------------------------------------------


def test_every_fact_takes_a_sample_of_every_operator_it_lists_and_the_schema_agrees() -> None:
    schema = json_schema()
    clauses = iter(schema["anyOf"][3:])
    for spec in CATALOGUE:
        name = spec.name.replace("<name>", "x-a").replace("<key>", "a")
        assert spec.description.endswith(".")
        for op in spec.ops:
            tree = leaf(name, op, spec.sample(op))
            assert parse(tree).describe()
            branch = Draft202012Validator(next(clauses))
            assert branch.is_valid(tree), tree
            assert not branch.is_valid({**tree, "more": 1})
            assert not branch.is_valid({**tree, "value": {"odd": 1}})
    assert next(clauses, None) is None
    assert {op for spec in CATALOGUE for op in spec.ops} == set(OPERATORS)


def test_the_schema_is_one_of_trees_wherever_a_document_puts_it() -> None:
    schema = Draft202012Validator({"$ref": "#/$defs/When", "$defs": {"When": json_schema("#/$defs/When")}})
    assert schema.is_valid({"all": [{"any": [YES]}, {"not": NO}]})
    assert not schema.is_valid({"any": []})
    assert not schema.is_valid({"not": leaf("tokens", "eq", 5)})
