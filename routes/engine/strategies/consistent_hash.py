"""``consistent_hash``: rendezvous hashing of the session, or of a named fact of the request.

Every candidate scores by the hash of key and target, and the highest wins: a target that leaves moves only the keys
that it had, one that joins takes only those it wins. Weights scale the scores so that each target gets its share of
the keys. A request without the fact goes by its session, one without a session by its own id.
Imports the engine and pydantic only.
"""

from __future__ import annotations

from hashlib import blake2b
from math import exp, log
from typing import TYPE_CHECKING, ClassVar, NamedTuple

from pydantic import Field, field_validator

from routes.engine.conditions import ConditionError, fact_named
from routes.engine.facts import UNKNOWN
from routes.engine.strategies.base import Params, Ranking, Strategy
from routes.engine.types import Ranked

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pydantic import BaseModel

    from routes.engine.candidates import Pool
    from routes.engine.stages import Run

_MASK = (1 << 64) - 1
_UNIT = 1 / (1 << 53)


class ConsistentHashParams(Params):
    fact: str | None = Field(
        None,
        max_length=256,
        description="The fact to hash, such as header.x-tenant or key.name; empty: the session.",
    )

    @field_validator("fact")
    @classmethod
    def _known(cls, name: str | None) -> str | None:
        if not name:
            return None
        try:
            spec, full = fact_named(name)
        except ConditionError as error:
            raise ValueError(error.errors[0][1]) from None
        if spec.kind in ("partition", "time"):
            raise ValueError("not a fact that stays the same for a client")
        return full


class ConsistentHash(Strategy):
    name: ClassVar[str] = "consistent_hash"
    description: ClassVar[str] = "The same target for the same session; a target that leaves moves only its own."
    params_model: ClassVar[type[BaseModel]] = ConsistentHashParams
    by_weight: ClassVar[bool] = True

    def rank(self, pool: Pool, run: Run, params: BaseModel, backup: bool) -> Ranking:
        assert isinstance(params, ConsistentHashParams)
        code, key = _key(run, params.fact)
        return highest(pool, key, code)


class Seeds(NamedTuple):
    """What is computed once per pool: a number for each target, and the weights unless all are equal."""

    numbers: tuple[int, ...]
    weights: tuple[float, ...] | None


def highest(pool: Pool, key: int, code: str) -> Ranking:
    """The pool by rendezvous hash of ``key``. The value is the score, between 0 and 1, weights evened out."""
    seeds: Seeds | None = pool.memo.get("seeds")
    if seeds is None:
        weights = pool.weights
        numbers = tuple(hashed(target_id) for target_id in pool.ids)
        seeds = pool.memo["seeds"] = Seeds(numbers, weights if len(set(weights)) > 1 else None)
    scores = scored(key, seeds.numbers, seeds.weights)
    first = scores.index(max(scores))
    return (_told(pool, first, scores, code),), _rest(pool, first, scores, code) if len(scores) > 1 else None


def hashed(text: str) -> int:
    """53 bits of a stable hash: the same in every process and release, and exact in any JSON."""
    return int.from_bytes(blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big") >> 11


def scored(key: int, seeds: Sequence[int], weights: Sequence[float] | None) -> list[float]:
    """A score per seed: a uniform number between 0 and 1 by key and seed. With weights its logarithm over the weight,
    which is below 0: the chance to be highest is then in proportion to the weight."""
    points = [
        (
            (((((z := ((key ^ seed) * 0x9E3779B97F4A7C15) & _MASK) ^ (z >> 32)) * 0xD6E8FEB86659FD93) & _MASK) >> 11)
            + 0.5
        )
        * _UNIT
        for seed in seeds
    ]
    return points if weights is None else [log(point) / weight for point, weight in zip(points, weights, strict=True)]


def _key(run: Run, fact: str | None) -> tuple[str, int]:
    """(code of what is hashed, its hash), recorded so that a decision can be told again without the request."""
    inputs = run.inputs
    if "hash" in inputs:
        return inputs["by"], inputs["hash"]
    code, text = "hash_request", run.request.route_id
    if run.request.session:
        code, text = "hash_session", run.request.session
    if fact and run.request.facts is not None:
        value = run.request.facts.get(fact)
        if value is not None and value is not UNKNOWN:
            code, text = "hash_fact", ",".join(sorted(value)) if isinstance(value, frozenset) else str(value)
    inputs["by"], key = code, hashed(text)
    inputs["hash"] = key
    return code, key


def _told(pool: Pool, index: int, scores: Sequence[float], code: str) -> Ranked:
    candidate, score = pool.candidates[index], scores[index]
    return Ranked(candidate.target, candidate.model, code, score if score > 0 else exp(score * pool.mean_weight))


def _rest(pool: Pool, first: int, scores: Sequence[float], code: str) -> Iterator[Ranked]:
    for index in sorted(range(len(scores)), key=lambda index: -scores[index]):
        if index != first:
            yield _told(pool, index, scores, code)
