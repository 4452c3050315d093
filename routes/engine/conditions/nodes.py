"""The tree of a condition: clauses and groups, compiled to closures and able to answer in three-valued logic. Pure.

Two ways to evaluate, one meaning: closures for live requests (``compile``), which stop at the first clause that decides
and keep the results of clauses whose facts may not be recorded; and ``decide`` for recorded ones, where a fact may be
unknown and then only what does not depend on it is decided (Kleene).
"""

from __future__ import annotations

from hashlib import blake2b
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Protocol

import orjson

from routes.engine.facts.recorded import UNKNOWN

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from routes.engine.conditions.values import Test
    from routes.engine.facts.catalogue import FactSpec
    from routes.engine.facts.live import Facts
    from routes.engine.facts.recorded import RecordedFacts


class Partition(Protocol):
    """The rule's own targets, as far as conditions ask."""

    def figures(self, name: str) -> Sequence[float]:
        """``ttft_ms_avg``, ``ttft_ms_p99`` (ms) or ``utilisation`` (percent) of those targets that have any."""
        ...


if TYPE_CHECKING:
    Match = Callable[[Facts, Partition | None], bool]
    AnyFacts = Facts | RecordedFacts


class Clause:
    """A leaf: one fact, one operator, one value. ``fact`` is the full name, ``value`` canonical."""

    __slots__ = ("_absent", "digest", "fact", "op", "spec", "test", "value")

    def __init__(self, spec: FactSpec, fact: str, op: str, value: Any, test: Test, owner: str) -> None:
        self.spec = spec
        self.fact = fact
        self.op = op
        self.value = value
        self.test = test
        #: What an absent fact comes to.
        self._absent = op == "exists" and value is False
        # Figures belong to one rule's targets: the same clause of another rule is another clause.
        written = orjson.dumps(
            [fact, op, value, owner if spec.kind == "partition" else ""], option=orjson.OPT_SORT_KEYS
        )
        self.digest = blake2b(written, digest_size=8).hexdigest()

    @property
    def tree(self) -> dict[str, Any]:
        return {"fact": self.fact, "op": self.op, "value": self.value}

    @property
    def parameter(self) -> str:
        """The name of a header, the key of metadata, the figure of a partition."""
        return self.fact.partition(".")[2]

    def clauses(self) -> Iterator[Clause]:
        yield self

    def compile(self) -> Match:
        test, absent, digest = self.test, self._absent, self.digest
        read = self._reader()
        if self.spec.kind == "partition":
            figure = self.parameter

            def of_partition(facts: Facts, partition: Partition | None) -> bool:
                held = partition is None or test(partition.figures(figure))
                bits = facts.bits
                bits[digest] = held if bits.get(digest, held) is held else None
                return held

            return of_partition
        if self.spec.secretive:

            def kept(facts: Facts, partition: Partition | None) -> bool:
                value = read(facts)
                held = facts.bits[digest] = absent if value is None else test(value)
                return held

            return kept

        def plain(facts: Facts, partition: Partition | None) -> bool:
            value = read(facts)
            return absent if value is None else test(value)

        return plain

    def _reader(self) -> Callable[[Facts], Any]:
        parameter = self.parameter
        if self.spec.name == "header.<name>":
            header = parameter.encode()
            return lambda facts: facts.header(header)
        if self.spec.name == "metadata.<key>":
            return lambda facts: facts.metadata_of(parameter)
        return attrgetter(self.spec.attribute)

    def actual(self, facts: AnyFacts, partition: Partition | None) -> Any:
        """The fact's value: None when absent, UNKNOWN when not recorded."""
        if partition is not None and self.spec.kind == "partition":
            return partition.figures(self.parameter)
        return facts.get(self.fact)

    def judge(self, facts: AnyFacts, actual: Any) -> bool | None:
        """Whether the clause holds for ``actual``; what was recorded of it, when the fact itself is unknown."""
        if actual is UNKNOWN:
            return facts.bit(self.digest)
        return self._absent if actual is None else self.test(actual)

    def decide(self, facts: AnyFacts, partition: Partition | None) -> bool | None:
        return self.judge(facts, self.actual(facts, partition))


class Group:
    """``all`` or ``any`` of its children."""

    __slots__ = ("children", "every")

    def __init__(self, every: bool, children: Sequence[Node]) -> None:
        self.every = every
        self.children = tuple(children)

    @property
    def tree(self) -> dict[str, Any]:
        return {"all" if self.every else "any": [child.tree for child in self.children]}

    def clauses(self) -> Iterator[Clause]:
        for child in self.children:
            yield from child.clauses()

    def compile(self) -> Match:
        parts = tuple(child.compile() for child in self.children)
        return _all(parts) if self.every else _any(parts)

    def decide(self, facts: AnyFacts, partition: Partition | None) -> bool | None:
        """The first child that decides does; else unknown as soon as one is."""
        result: bool | None = self.every
        for child in self.children:
            one = child.decide(facts, partition)
            if one is None:
                result = None
            elif one is not self.every:
                return one
        return result


class Not:
    """The opposite of its child; of what is unknown, nothing."""

    __slots__ = ("child",)

    def __init__(self, child: Node) -> None:
        self.child = child

    @property
    def tree(self) -> dict[str, Any]:
        return {"not": self.child.tree}

    def clauses(self) -> Iterator[Clause]:
        return self.child.clauses()

    def compile(self) -> Match:
        part = self.child.compile()
        return lambda facts, partition: not part(facts, partition)

    def decide(self, facts: AnyFacts, partition: Partition | None) -> bool | None:
        one = self.child.decide(facts, partition)
        return None if one is None else not one


if TYPE_CHECKING:
    Node = Clause | Group | Not


def _all(parts: tuple[Match, ...]) -> Match:
    """Unrolled for the sizes that rules have: a loop costs as much as the clauses."""
    match parts:
        case (one,):
            return one
        case (one, two):
            return lambda facts, partition: one(facts, partition) and two(facts, partition)
        case (one, two, three):
            return lambda facts, partition: one(facts, partition) and two(facts, partition) and three(facts, partition)

    def each(facts: Facts, partition: Partition | None) -> bool:
        for part in parts:  # noqa: SIM110  (a generator costs more than its clauses)
            if not part(facts, partition):
                return False
        return True

    return each


def _any(parts: tuple[Match, ...]) -> Match:
    match parts:
        case (one,):
            return one
        case (one, two):
            return lambda facts, partition: one(facts, partition) or two(facts, partition)

    def each(facts: Facts, partition: Partition | None) -> bool:
        for part in parts:  # noqa: SIM110  (a generator costs more than its clauses)
            if part(facts, partition):
                return True
        return False

    return each
