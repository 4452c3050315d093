"""Profiles as a revision describes them: a list of targets and a strategy, and rules that send some requests to
targets of their own. Owns parts (what a strategy ranks at once), rules and the cache of candidates per model.
Frozen but for that cache, which is bounded. Imports the engine only.
"""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any, NamedTuple

from routes.engine import conditions, strategies
from routes.engine.candidates import CandidateSet
from routes.engine.errors import EngineError, SnapshotError
from routes.engine.facts import TEXT_OPERATIONS, ScenarioSettings
from routes.engine.failover_mode import parse_mode
from routes.engine.provider import Target
from routes.engine.settings import Affinity, Failover, ProfileLimits, Timeouts, build

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pydantic import BaseModel

    from routes.engine.conditions import Condition
    from routes.engine.provider import Head, Provider
    from routes.engine.snapshot import Snapshot
    from routes.engine.strategies import Strategy

#: Candidate sets kept per profile. Model names come from clients, so the cache must not grow with them.
CACHE_SETS = 512
#: ... nor with profile size: at most this many candidates over all kept sets of a profile.
CACHE_CANDIDATES = 50_000
#: Longer model names are served but never kept.
CACHE_NAME_LENGTH = 200


def rule_id(profile_id: str, name: str) -> str:
    """The stable id that a rule's counters and pins key on; a rule that changes its name is another one."""
    return str(uuid.uuid5(uuid.UUID(profile_id), name))


class Choice(NamedTuple):
    """The strategy that ranks, with its params; ``replaced`` names the one that policy switched off."""

    strategy: Strategy
    params: BaseModel
    replaced: str | None = None


class Place(NamedTuple):
    """A target in a part, with what it counts there."""

    target: Target
    weight: float
    tier: int
    number: int  # index in the part's list; the heads of one entry share it


class Part:
    """Targets that a strategy ranks at once: the profile's own, or those of one rule."""

    __slots__ = ("_by_target", "choice", "first", "key", "places")

    def __init__(self, key: str, places: tuple[Place, ...], choice: Choice) -> None:
        #: names the part's counters: the profile's id, for a rule's part followed by the rule's
        self.key = key
        self.places = places
        self.choice = choice
        #: the target that leads in configured order, by position in the profile: lowest tier, then first; -1 = none
        self.first = min(((p.tier, p.number, p.target.position) for p in places), default=(0, 0, -1))[2]

        self._by_target = {place.target.id: place for place in places}

    def place_of(self, target: Target) -> Place | None:
        """Weight, tier and number of a target here; None when it does not belong to this part."""
        return self._by_target.get(target.id)


class Rule:
    """Requests of one kind, and the targets they go to."""

    __slots__ = (
        "condition",
        "description",
        "enabled",
        "fallback_to_profile",
        "id",
        "index",
        "measures",
        "name",
        "part",
    )

    def __init__(self, document: Mapping[str, Any], condition: Condition, part: Part, rule_id: str, index: int) -> None:
        self.id = rule_id
        self.index = index
        self.name: str = document["name"]
        self.description: str = document["description"]
        self.enabled: bool = document["enabled"]
        self.fallback_to_profile: bool = document["fallback_to_profile"]
        self.condition = condition
        self.part = part
        #: whether it asks how its targets are doing
        self.measures = any(fact.startswith("partition.") for fact in condition.facts)

    @property
    def strategy(self) -> Strategy:
        return self.part.choice.strategy

    def __repr__(self) -> str:
        return f"<Rule {self.name}>"


class Profile:
    """A routing policy: targets, strategy, rules, and what it does about failures and sessions."""

    __slots__ = (
        "_any_model",
        "_cache",
        "_cache_limit",
        "_rules_of",
        "_snapshot",
        "accounting",
        "affinity",
        "base",
        "estimates",
        "failover",
        "id",
        "index",
        "limits",
        "mode",
        "name",
        "owners",
        "require_tags",
        "rules",
        "scenario",
        "slug",
        "targets",
        "timeouts",
    )

    def __init__(self, snapshot: Snapshot, document: Mapping[str, Any], path: str, index: int) -> None:
        self._snapshot = snapshot
        self.index = index
        self.id: str = str(uuid.UUID(document["id"]))
        self.slug: str = document["slug"]
        self.name: str = document["name"]
        self.accounting: str = document["accounting"]
        self.require_tags: bool = document["require_tags"]
        self.limits = ProfileLimits.from_document(document.get("limits"))
        self.affinity = build(Affinity, document["affinity"], f"{path}.affinity")
        try:
            self.scenario = ScenarioSettings.from_document(document["scenario"])
        except ValueError as error:
            raise SnapshotError(f"{path}.scenario.order", str(error)) from None
        failover = document["failover"]
        self.timeouts = build(Timeouts, failover["timeouts"], f"{path}.failover.timeouts")
        self.failover = build(
            Failover,
            failover,
            f"{path}.failover",
            timeouts=self.timeouts,
            retry_statuses=frozenset(failover["retry_statuses"]),
            non_idempotent=failover.get("non_idempotent", False),
        )
        self.mode = parse_mode(failover["mode"], f"{path}.failover.mode")
        builder = _Builder(snapshot, document, path, self.id)
        self.base = builder.base
        self.rules = tuple(builder.rule(entry, number) for number, entry in enumerate(document["rules"]))
        #: whether a strategy here asks for an estimate of input tokens
        self.estimates = any(
            part.choice.strategy.leaf(part.choice.params).estimates
            for part in (self.base, *(rule.part for rule in self.rules))
        )
        #: all targets a request may reach, by position: the profile's own, then those only rules use
        self.targets = tuple(builder.targets.values())
        #: position -> name of the first rule that has the target
        self.owners = {place.target.position: rule.name for rule in reversed(self.rules) for place in rule.part.places}
        enabled = tuple(rule for rule in self.rules if rule.enabled)
        #: rules to ask, in order, for requests (without, with) text to look at
        self._rules_of = tuple(rule for rule in enabled if not rule.condition.needs_text), enabled
        # When every target names its model, what the client asks for changes nothing.
        self._any_model = all(target.model for target in self.targets)
        self._cache: dict[tuple[str, str], CandidateSet] = {}
        self._cache_limit = max(1, min(CACHE_SETS, CACHE_CANDIDATES // max(1, len(self.targets))))

    @property
    def strategy(self) -> Strategy:
        return self.base.choice.strategy

    @property
    def heads_digest(self) -> str:
        """Which heads its targets are on: positions mean something only with these."""
        return self._snapshot.heads_digest

    def rules_for(self, operation: str) -> Sequence[Rule]:
        """Enabled rules in order, without those that look at text where an operation has none."""
        return self._rules_of[operation in TEXT_OPERATIONS]

    def candidates_for(self, operation: str, model: str) -> CandidateSet:
        """Who can serve this operation and model, by configuration alone. Cached, bounded."""
        key = (operation, "" if self._any_model else model)
        found = self._cache.get(key)
        if found is None:
            found = CandidateSet(self._snapshot, self, operation, model)
            if len(model) <= CACHE_NAME_LENGTH or self._any_model:
                if len(self._cache) >= self._cache_limit:
                    # Starting over is O(1) and safe from any thread; what is in use comes back at once.
                    self._cache = {}
                self._cache[key] = found
        return found

    def serves(self, operation: str, model: str) -> bool:
        """Whether any target could ever serve this; False is the contract's ``model_not_found``."""
        return bool(self.candidates_for(operation, model).candidates)

    def __repr__(self) -> str:
        return f"<Profile {self.slug}>"


class _Builder:
    """Collects the targets of a profile's parts, each once, in configured order."""

    def __init__(self, snapshot: Snapshot, document: Mapping[str, Any], path: str, profile_id: str) -> None:
        self._snapshot = snapshot
        self._path = path
        self._profile_id = profile_id
        self.targets: dict[str, Target] = {}
        self._names: set[str] = set()
        self._own = [
            (entry, self._provider(entry, f"{path}.targets[{n}]")) for n, entry in enumerate(document["targets"])
        ]
        try:
            strategy = strategies.get(document["strategy"])
            params = strategies.parse_params(strategy, document["params"])
        except EngineError as error:
            raise SnapshotError(f"{path}.strategy", str(error)) from None
        self._written = strategy, params
        entries = [(entry, provider, entry["model"], entry["weight"]) for entry, provider in self._own]
        self.base = Part(profile_id, self._places(entries, f"{path}.targets"), snapshot.choice(strategy, params))

    def rule(self, document: Mapping[str, Any], index: int) -> Rule:
        path = f"{self._path}.rules[{index}]"
        name = document["name"]
        if name in self._names:
            raise SnapshotError(f"{path}.name", f"{name!r} is taken")
        self._names.add(name)
        ident = rule_id(self._profile_id, name)
        try:
            condition = conditions.parse(document["when"], owner=ident)
        except conditions.ConditionError as error:
            inner, message = error.errors[0]
            raise SnapshotError(f"{path}.{inner}", message) from None
        entries = []
        for number, entry in enumerate(document["targets"]):
            provider = self._provider(entry, f"{path}.targets[{number}]")
            entries.append((entry, provider, *self._open(entry, provider)))
        part = Part(
            f"{self._profile_id}/{ident}", self._places(entries, f"{path}.targets"), self._choice(document, path)
        )
        return Rule(document, condition, part, ident, index)

    def _open(self, entry: Mapping[str, Any], provider: Provider) -> tuple[str | None, float | None]:
        """(model, weight) of a rule's target. What it leaves open is that of the profile's first target which it may
        stand for: of that provider, and of its model where it names one."""
        model, weight = entry["model"], entry["weight"]
        for own, of in self._own:
            if of is provider and model in (None, own["model"]):
                return own["model"], own["weight"] if weight is None else weight
        return model, weight

    def _choice(self, document: Mapping[str, Any], path: str) -> Choice:
        """The rule's strategy and params; what it leaves open is the profile's."""
        strategy, params = self._written
        try:
            if document["strategy"] is not None:
                named = strategies.get(document["strategy"])
                if named is not strategy:
                    strategy, params = named, strategies.DEFAULT_PARAMS[named.name]
            if document["params"] is not None:
                params = strategies.parse_params(strategy, document["params"])
        except EngineError as error:
            raise SnapshotError(f"{path}.strategy", str(error)) from None
        return self._snapshot.choice(strategy, params)

    def _provider(self, entry: Mapping[str, Any], path: str) -> Provider:
        provider = self._snapshot.providers.get(entry["provider"])
        if provider is None:
            raise SnapshotError(f"{path}.provider", f"there is no provider {entry['provider']!r}")
        return provider

    def _places(
        self, entries: list[tuple[Mapping[str, Any], Provider, str | None, float | None]], path: str
    ) -> tuple[Place, ...]:
        places: list[Place] = []
        seen: dict[str, int] = {}
        for number, (entry, provider, model, weight) in enumerate(entries):
            heads: tuple[Head | None, ...] = provider.heads or (None,)
            if provider.heads and provider.fallback_to_base_url:
                heads = (*heads, None)
            for head in heads:
                target = Target(provider, model, head, len(self.targets))
                if target.id in seen:
                    message = f"the same provider and model as targets[{seen[target.id]}]"
                    raise SnapshotError(f"{path}[{number}]", message)
                seen[target.id] = number
                target = self.targets.setdefault(target.id, target)
                places.append(
                    Place(target, provider.weight if weight is None else float(weight), int(entry["tier"]), number)
                )
        return tuple(places)
