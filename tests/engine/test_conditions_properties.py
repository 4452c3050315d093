"""Conditions against a plain interpreter, and against whatever JSON there is."""

from __future__ import annotations

import fnmatch
import json
import re
from datetime import datetime, time, timedelta
from ipaddress import ip_address, ip_network
from typing import Any
from zoneinfo import ZoneInfo

from hypothesis import given, settings
from hypothesis import strategies as st

from routes.engine.conditions import CATALOGUE, OPERATORS, ConditionError, FactSpec, parse
from routes.engine.conditions.window import DAYS
from routes.engine.facts import Facts, KeyFacts, RecordedFacts, check_given, record
from tests.engine.facts_of import facts_of, said

#: A tree takes a while to make up.
few = settings(max_examples=40)

WORDS = st.sampled_from(["a", "b", "ab", "gpt-4o", "main", "compact", "x y", "ä"])
CHOICES = {"agent": ["main", "subagent", "compact"], "scenario": ["code", "long_context", "default"]}
NUMBERS = st.integers(0, 60) | st.floats(0, 60).map(lambda number: round(number, 2))
ADDRESSES = st.sampled_from(["10.1.2.3", "10.200.0.1", "2001:db8::1", "::1", "nowhere"])
NETWORKS = st.sampled_from(["10.0.0.0/8", "10.1.0.0/16", "2001:db8::/32", "0.0.0.0/0", "::1/128"])
CLOCK = st.builds("{:02}:{:02}".format, st.integers(0, 23), st.sampled_from([0, 15, 30, 59]))
WINDOWS = st.fixed_dictionaries(
    {"start": CLOCK, "end": CLOCK},
    optional={
        "timezone": st.sampled_from(["UTC", "Europe/Berlin", "America/New_York"]),
        "days": st.lists(st.sampled_from(DAYS), min_size=1, max_size=4),
        "outside": st.booleans(),
    },
).filter(lambda window: window["start"] != window["end"])
#: Read alike by both engines of regular expressions.
EXPRESSIONS = st.sampled_from(["a", "^a", "b$", "^(a|b)+$", "gpt-[0-9]", "(?i)A", "x.y", "."])


class Targets:
    def __init__(self, figures: list[float]) -> None:
        self._figures = figures

    def figures(self, name: str) -> list[float]:
        return self._figures


def values_of(spec: FactSpec, op: str) -> st.SearchStrategy[Any]:
    whole = st.sampled_from(CHOICES[spec.name]) if spec.choices else WORDS
    match OPERATORS[op].operand:
        case "string":
            return whole if op in ("eq", "ne") else WORDS
        case "strings":
            return st.lists(whole, min_size=1, max_size=3)
        case "glob":
            return st.sampled_from(["*", "a*", "*b", "?", "[ab]*", "gpt-*o", "x?y"])
        case "regex":
            return EXPRESSIONS
        case "flag":
            return st.booleans()
        case "number":
            return NUMBERS
        case "pair":
            return st.lists(NUMBERS, min_size=2, max_size=2).map(sorted)
        case "networks":
            return NETWORKS | st.lists(NETWORKS, min_size=1, max_size=2)
    return WINDOWS


def names_of(spec: FactSpec) -> st.SearchStrategy[str]:
    if spec.parameter is None:
        return st.just(spec.name)
    return st.sampled_from([f"{spec.prefix}a", f"{spec.prefix}b"])


CLAUSES: st.SearchStrategy[dict[str, Any]] = st.one_of(
    [
        st.fixed_dictionaries({"fact": names_of(spec), "op": st.just(op), "value": values_of(spec, op)})
        for spec in CATALOGUE
        for op in spec.ops
    ]
)
TREES = st.recursive(
    CLAUSES,
    lambda inner: (
        st.builds(lambda tree: {"not": tree}, inner)
        | st.builds(lambda trees: {"all": trees}, st.lists(inner, max_size=4))
        | st.builds(lambda trees: {"any": trees}, st.lists(inner, min_size=1, max_size=4))
    ),
    max_leaves=8,
)

GIVEN = st.fixed_dictionaries(
    {},
    optional={
        "model": WORDS,
        "agent": st.sampled_from(CHOICES["agent"]) | st.none(),
        "scenario": st.sampled_from(CHOICES["scenario"]),
        "region": WORDS,
        "tokens": st.integers(0, 60),
        "message_count": st.integers(0, 60) | st.none(),
        "percent": NUMBERS,
        "has_tools": st.booleans(),
        "tag": st.lists(WORDS, max_size=2),
        "key.tag": st.lists(WORDS, max_size=2),
        "header.a": WORDS | st.none(),
        "metadata.b": WORDS,
        "user_text": WORDS,
        "latest_user_text": WORDS | st.none(),
        "time": st.integers(1_700_000_000, 1_800_000_000),
    },
)


@st.composite
def requests(draw: st.DrawFn) -> Facts:
    stated, errors = check_given(draw(GIVEN))
    assert not errors
    return facts_of(
        draw(st.none() | st.just(said("gpt-4o", system="x y", metadata={"a": "ab"}))),
        draw(st.sampled_from(["chat", "messages", "embedding"])),
        model=draw(WORDS),
        headers={"b": "ab"},
        key=KeyFacts("app", frozenset({"a"})),
        client_ip=draw(ADDRESSES),
        given=stated,
    )


FIGURES = st.lists(st.floats(0, 60), max_size=3)


# -- a plain interpreter -----------------------------------------------------------------------------------


def interpret(tree: dict[str, Any], facts: Facts, figures: list[float]) -> bool:
    """What the specification says, without a thought of speed."""
    if "all" in tree:
        return all(interpret(inner, facts, figures) for inner in tree["all"])
    if "any" in tree:
        return any(interpret(inner, facts, figures) for inner in tree["any"])
    if "not" in tree:
        return not interpret(tree["not"], facts, figures)
    fact, op, value = tree["fact"], tree["op"], tree["value"]
    if fact.startswith("partition."):
        if not figures:
            return True
        return any(figure <= value for figure in figures) if op == "lte" else sum(figures) / len(figures) >= value
    actual = facts.get(fact)
    if op == "exists":
        return (actual is not None and actual != frozenset()) is value
    return actual is not None and compare(op, actual, value)


def compare(op: str, actual: Any, value: Any) -> bool:
    members = actual if isinstance(actual, frozenset) else {actual}
    match op:
        case "eq":
            return value in members
        case "ne":
            return bool(actual != value)
        case "in":
            return bool(members & set(value))
        case "not_in":
            return actual not in value
        case "prefix":
            return str(actual)[: len(value)] == value
        case "contains":
            return str(actual).find(value) >= 0
        case "glob":
            return fnmatch.fnmatchcase(actual, value)
        case "regex":
            return re.search(value, actual) is not None
        case "is":
            return bool(actual == value)
        case "lt" | "lte" | "gt" | "gte":
            return bool(
                {"lt": actual < value, "lte": actual <= value, "gt": actual > value, "gte": actual >= value}[op]
            )
        case "between":
            return bool(value[0] <= actual and actual <= value[1])
        case "in_cidr":
            return address_in(actual, [value] if isinstance(value, str) else value)
    return within(actual, value)


def address_in(actual: str, networks: list[str]) -> bool:
    return actual != "nowhere" and any(ip_address(actual) in ip_network(network) for network in networks)


def within(actual: float, value: dict[str, Any]) -> bool:
    """By looking for the window that began today or yesterday."""
    now = datetime.fromtimestamp(actual, ZoneInfo(value.get("timezone", "UTC"))).replace(tzinfo=None)
    inside = False
    for back in (0, 1):
        day = now.date() - timedelta(days=back)
        begin, end = (datetime.combine(day, time.fromisoformat(value[name])) for name in ("start", "end"))
        end += timedelta(days=end <= begin)
        inside |= begin <= now < end and DAYS[day.weekday()] in value.get("days", DAYS)
    return inside is not value.get("outside", False)


# -- properties --------------------------------------------------------------------------------------------


@few
@given(TREES, requests(), FIGURES)
def test_the_closure_the_three_valued_way_and_a_plain_interpreter_agree(
    tree: dict[str, Any], facts: Facts, figures: list[float]
) -> None:
    condition = parse(tree)
    expected = interpret(tree, facts, figures) and (facts.operation != "embedding" or not condition.needs_text)
    targets = Targets(figures)
    assert condition.matches(facts, targets) is expected
    assert condition.decide(facts, targets) is expected
    report = condition.report(facts, targets)
    assert report["matched"] is expected
    assert json.loads(json.dumps(report))
    assert len(report["clauses"]) == len(condition.clauses)


@few
@given(TREES)
def test_the_canonical_form_is_its_own_and_survives_json(tree: dict[str, Any]) -> None:
    condition = parse(tree)
    again = parse(json.loads(json.dumps(condition.tree)))
    assert again.tree == condition.tree
    assert again.describe() == condition.describe()
    assert [clause.digest for clause in again.clauses] == [clause.digest for clause in condition.clauses]


@few
@given(st.lists(TREES, min_size=1, max_size=3), requests(), FIGURES)
def test_de_morgan(trees: list[dict[str, Any]], facts: Facts, figures: list[float]) -> None:
    targets = Targets(figures)
    nots = [{"not": tree} for tree in trees]
    for one, other in (({"any": trees}, {"all": nots}), ({"all": trees}, {"any": nots})):
        left, right = parse({"not": one}), parse(other)
        assert left.matches(facts, targets) is right.matches(facts, targets)
        recorded = RecordedFacts(record(facts))
        assert left.decide(recorded) is right.decide(recorded)


@few
@given(TREES, requests(), FIGURES)
def test_what_was_recorded_decides_the_same_or_says_that_it_cannot(
    tree: dict[str, Any], facts: Facts, figures: list[float]
) -> None:
    condition = parse(tree)
    held = condition.matches(facts, Targets(figures))
    kept = json.loads(json.dumps(record(facts, cheap=1 << 20)))
    # Every clause that was evaluated is decided by what was kept, in the same order.
    assert condition.decide(RecordedFacts(kept)) is held
    assert RecordedFacts(kept).get("user_text") is RecordedFacts({}).get("model")
    for name in list(kept):
        poorer = {other: value for other, value in kept.items() if other != name}
        assert condition.decide(RecordedFacts(poorer)) in (held, None)
    assert parse({"all": [tree]}).decide(RecordedFacts({"operation": "chat"})) in (True, False, None)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["all", "any", "not", "fact", "op", "value", "start", "days", "x"]), inner)
        | st.fixed_dictionaries(
            {
                "fact": st.sampled_from([spec.name for spec in CATALOGUE] + ["header.a", "metadata.a"]),
                "op": st.sampled_from([*OPERATORS, "like"]),
                "value": inner | EXPRESSIONS | st.text(max_size=6),
            }
        )
    ),
    max_leaves=12,
)


@few
@given(JSON)
def test_any_json_is_a_condition_or_refused_with_places_in_the_tree(tree: Any) -> None:
    errors: list[tuple[str, str]] = []
    condition = None
    try:
        condition = parse(tree)
    except ConditionError as error:
        errors = error.errors
    assert all((path == "when" or path.startswith("when.")) and message for path, message in errors)
    assert (condition is None) is bool(errors)
    if condition is not None:
        assert parse(condition.tree).tree == condition.tree
        assert condition.describe()
        condition.matches(facts_of(said("hi")), None)
