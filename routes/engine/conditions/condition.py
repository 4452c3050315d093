"""A condition, parsed and compiled: what smart routing asks of a request, and how it tells why. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from routes.engine.conditions import sentences

if TYPE_CHECKING:
    from routes.engine.conditions.nodes import AnyFacts, Clause, Match, Node, Partition


class Condition:
    """``tree`` is the canonical JSON; ``clauses`` its leaves from left to right, each with a ``digest``.

    ``matches(facts, partition)`` is the compiled closure for live requests. A condition with a text fact anywhere never
    matches an operation that carries no prompt (embeddings, images, audio), not even by ``not``.
    """

    __slots__ = ("_root", "clauses", "facts", "matches", "needs_body", "needs_text", "tree")

    def __init__(self, root: Node) -> None:
        self._root = root
        self.tree: dict[str, Any] = root.tree
        self.clauses = tuple(root.clauses())
        self.facts = frozenset(clause.fact for clause in self.clauses)
        self.needs_text = any(clause.spec.kind == "text" for clause in self.clauses)
        self.needs_body = any(clause.spec.from_body for clause in self.clauses)
        compiled = root.compile()
        self.matches: Match = _only_with_text(compiled) if self.needs_text else compiled

    def __repr__(self) -> str:
        return f"<Condition: {self.describe()}>"

    def decide(self, facts: AnyFacts, partition: Partition | None = None) -> bool | None:
        """The same on live or recorded facts, in three-valued logic: None when what was recorded does not decide it."""
        readable = facts.carries_text if self.needs_text else True
        if readable is False:
            return False
        held = self._root.decide(facts, partition)
        return None if held and readable is None else held

    def describe(self) -> str:
        """What it asks for, as a sentence."""
        return sentences.describe(self._root)

    def report(self, facts: AnyFacts, partition: Partition | None = None) -> dict[str, Any]:
        """Why it holds or not: every clause with what was expected and found. ``matched`` null = undecidable."""
        judged: list[tuple[Clause, Any, bool | None, str]] = []
        if self.needs_text and facts.carries_text is False:
            judged = [(clause, None, False, _NO_TEXT) for clause in self.clauses]
        else:
            for clause in self.clauses:
                value = clause.actual(facts, partition)
                held = clause.judge(facts, value)
                judged.append((clause, sentences.actual(clause, value), held, sentences.verdict(clause, value, held)))
        return {
            "matched": self.decide(facts, partition),
            "clauses": [
                {
                    "fact": clause.fact,
                    "op": clause.op,
                    "expected": clause.value,
                    "actual": actual,
                    "matched": held,
                    "sentence": sentence,
                }
                for clause, actual, held, sentence in judged
            ],
        }


_NO_TEXT = "does not hold: a rule that reads text never matches a request without a prompt"


def _only_with_text(compiled: Match) -> Match:
    return lambda facts, partition: facts.carries_text and compiled(facts, partition)
