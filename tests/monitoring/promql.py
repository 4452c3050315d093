"""Reading PromQL as far as these tests need it: which series an expression names, and which of their labels.

It knows the grammar's words, not its meaning: promtool says whether an expression is one.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

#: What Grafana puts in before it asks. A regular expression of all is what an untouched variable is.
GRAFANA = {"$__rate_interval": "1m", "$__range": "1h", "$job": "signalbox"}
#: Every target and every alert has them, whatever is scraped.
OF_PROMETHEUS = frozenset({"job", "instance"})

_STRING = re.compile(r'"(?:[^"\\]|\\.)*"')
_SELECTOR = re.compile(r"(?P<name>[A-Za-z_:][\w:]*)?\s*\{(?P<matchers>[^{}]*)\}")
_MATCHER = re.compile(r'(?P<label>[A-Za-z_]\w*)\s*(?:=~|!~|!=|=)\s*(?P<value>"(?:[^"\\]|\\.)*")')
_GROUPING = re.compile(r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\((?P<labels>[^()]*)\)")
_RANGE = re.compile(r"\[[^\]]*\]|\boffset\s+\w+")
_FUNCTION = re.compile(r"\b[a-z_0-9]+\s*\(")
_WORD = re.compile(r"[A-Za-z_:][\w:]*")
_WORDS = frozenset({"and", "or", "unless", "bool", "by", "without", "on", "ignoring", "group_left", "group_right"})


@dataclass(frozen=True, slots=True)
class Named:
    """What an expression names: series with the labels they are selected by, labels that results are grouped by, and
    labels that ``label_replace`` makes."""

    series: dict[str, set[str]] = field(default_factory=dict)
    grouping: set[str] = field(default_factory=set)
    made: set[str] = field(default_factory=set)


def filled(expression: str, variables: dict[str, str]) -> str:
    """The expression with Grafana's variables put in. Raises AssertionError where one is left."""
    for name, value in {**variables, **GRAFANA}.items():
        expression = re.sub(rf"{re.escape(name)}\b", value, expression)
    left = re.search(r"\$(?!\{?\d)\w*", expression)  # $1 is label_replace's
    assert left is None, f"{left and left[0]} is no variable of the dashboard: {expression}"
    return expression


def named(expression: str) -> Named:
    found = Named()
    for call in re.finditer(r'label_replace\(.*?,\s*"(\w+)"\s*,\s*"[^"]*"\s*,\s*"(\w+)"\s*,', expression):
        found.made.add(call[1])
        found.grouping.add(call[2])
    for each in _SELECTOR.finditer(_hidden(expression)):
        labels = {matcher["label"] for matcher in _MATCHER.finditer(each["matchers"])}
        assert each["name"], f"a selector without a name: {expression}"
        found.series.setdefault(each["name"], set()).update(labels)
    rest = _SELECTOR.sub(lambda each: each["name"] or "", _hidden(expression))
    for each in _GROUPING.finditer(rest):
        found.grouping.update(_WORD.findall(each["labels"]))
    rest = _FUNCTION.sub("(", _GROUPING.sub(" ", _RANGE.sub(" ", _STRING.sub(" ", rest))))
    rest = re.sub(r"\b\d[\w.]*", " ", rest)
    for word in _WORD.findall(rest):
        if word not in _WORDS:
            found.series.setdefault(word, set())
    return found


def _hidden(expression: str) -> str:
    """Strings without what looks like PromQL in them."""
    return _STRING.sub('""', expression)
