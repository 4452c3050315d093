"""From JSON to a condition: every clause checked against the catalogue, every error told with its path. Pure.

A tree comes from a person, a file or an API: nothing about it is trusted, its depth and size are bounded.
"""

from __future__ import annotations

import difflib
import re
from typing import TYPE_CHECKING, Any, Final

from routes.engine.conditions.condition import Condition
from routes.engine.conditions.errors import ConditionError
from routes.engine.conditions.nodes import Clause, Group, Not
from routes.engine.conditions.values import Refused, check
from routes.engine.facts.catalogue import BY_NAME, FAMILIES, FactSpec

if TYPE_CHECKING:
    from routes.engine.conditions.nodes import Node

MAX_DEPTH: Final = 10
MAX_CLAUSES: Final = 200
#: More would help nobody.
MAX_ERRORS: Final = 50

_HEADER_NAME = re.compile(r"[a-z0-9!#$%&'*+.^_`|~-]{1,64}")
_METADATA_KEY = re.compile(r"[^\x00-\x1f\x7f]{1,64}")
#: Headers that carry credentials: a rule would put them into configuration and reports.
SECRET_HEADERS: Final = frozenset(
    {"authorization", "cookie", "proxy-authorization", "x-api-key", "api-key", "x-goog-api-key"}
)


def parse(tree: Any, path: str = "when", *, owner: str = "") -> Condition:
    """Raises ConditionError. ``owner`` (a rule's id) tells clauses on figures of different rules' targets apart."""
    reader = _Reader(owner)
    root = reader.node(tree, path, 1)
    if reader.errors or root is None:
        raise ConditionError(reader.errors)
    return Condition(root)


def fact_named(name: str) -> tuple[FactSpec, str]:
    """The fact that a condition may ask for under that name, and its full name. Raises ConditionError."""
    reader = _Reader("")
    found = reader.fact(name, "fact")
    if found is None:
        raise ConditionError(reader.errors)
    return found


class _Reader:
    """One pass over a tree. Methods return None after writing down why."""

    def __init__(self, owner: str) -> None:
        self.errors: list[tuple[str, str]] = []
        self._owner = owner
        self._clauses = 0

    def refuse(self, path: str, message: str) -> None:
        if len(self.errors) < MAX_ERRORS:
            self.errors.append((path, message))

    def node(self, tree: Any, path: str, depth: int) -> Node | None:
        if type(tree) is not dict:
            self.refuse(path, "must be an object: {all: […]}, {any: […]}, {not: …} or {fact, op, value}")
            return None
        if depth > MAX_DEPTH:
            self.refuse(path, f"must not be nested deeper than {MAX_DEPTH} levels")
            return None
        forms = [form for form in ("all", "any", "not") if form in tree]
        if not forms:
            return self._clause(tree, path)
        if not self._known(tree, (forms[0],), path):
            return None
        form = forms[0]
        if form == "not":
            child = self.node(tree["not"], f"{path}.not", depth + 1)
            return None if child is None else Not(child)
        return self._group(form, tree[form], f"{path}.{form}", depth)

    def _known(self, tree: dict[Any, Any], fields: tuple[str, ...], path: str) -> bool:
        unknown = [name for name in tree if name not in fields]
        for name in unknown:
            if name in ("all", "any", "not", "fact", "op", "value"):
                self.refuse(f"{path}.{name}", f"cannot stand beside {fields[0]}")
            else:
                self.refuse(f"{path}.{_plain(name)}", "unknown field")
        return not unknown

    def _group(self, form: str, entries: Any, path: str, depth: int) -> Node | None:
        if type(entries) is not list:
            self.refuse(path, "must be a list of conditions")
            return None
        if not entries and form == "any":
            self.refuse(path, "must have one condition or more")
            return None
        if len(entries) > MAX_CLAUSES:
            self.refuse(path, f"must not have more than {MAX_CLAUSES} conditions")
            return None
        children = [self.node(entry, f"{path}[{index}]", depth + 1) for index, entry in enumerate(entries)]
        known = [child for child in children if child is not None]
        return Group(form == "all", known) if len(known) == len(children) else None

    def _clause(self, tree: dict[Any, Any], path: str) -> Node | None:
        self._clauses += 1
        if self._clauses > MAX_CLAUSES:
            if self._clauses == MAX_CLAUSES + 1:
                self.refuse(path, f"must not have more than {MAX_CLAUSES} clauses in all")
            return None
        complete = self._known(tree, ("fact", "op", "value"), path)
        if not tree:
            self.refuse(path, "must not be empty")
            return None
        for name in ("fact", "op", "value"):
            if name not in tree:
                self.refuse(f"{path}.{name}", "missing")
                complete = False
        found = self.fact(tree["fact"], f"{path}.fact") if "fact" in tree else None
        if found is None:
            return None
        spec, fact = found
        op: Any = tree.get("op")
        if "op" in tree and op not in spec.ops:
            self.refuse(f"{path}.op", f"must be one of {', '.join(spec.ops)} for {spec.name}")
            return None
        if not complete:
            return None
        try:
            value, test = check(spec, op, tree["value"])
        except Refused as refused:
            for below, message in refused.errors:
                self.refuse(f"{path}.value{below}", message)
            return None
        return Clause(spec, fact, op, value, test, self._owner)

    def fact(self, name: Any, path: str) -> tuple[FactSpec, str] | None:
        """The fact and its full name in canonical form."""
        if type(name) is not str:
            self.refuse(path, "must be the name of a fact")
            return None
        if name in BY_NAME:
            return BY_NAME[name], name
        head, dot, parameter = name.partition(".")
        spec = FAMILIES.get(head + dot)
        if spec is None:
            self.refuse(path, _no_such_fact(name))
            return None
        if spec.name == "metadata.<key>":
            if not _METADATA_KEY.fullmatch(parameter) or not _is_text(parameter):
                self.refuse(path, "must name a key of up to 64 characters after the dot")
                return None
            return spec, name
        parameter = parameter.lower()
        if not _HEADER_NAME.fullmatch(parameter):
            self.refuse(path, "must name a header after the dot")
            return None
        if parameter in SECRET_HEADERS:
            self.refuse(path, "carries credentials; use key.name or key.tag")
            return None
        return spec, f"header.{parameter}"


def _plain(name: Any) -> str:
    return str(name)[:64]


def _is_text(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _no_such_fact(name: str) -> str:
    known = [*BY_NAME, *(spec.name for spec in FAMILIES.values())]
    close = difflib.get_close_matches(name[:64], known, 1)
    return f"there is no such fact; did you mean {close[0]}?" if close else f"there is no such fact; {_ALL}"


_ALL: Final = "there are " + ", ".join([*BY_NAME, *(spec.name for spec in FAMILIES.values())])
