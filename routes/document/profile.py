"""A profile in the configuration document. Free of Django; strategies and conditions judge what is theirs."""

from __future__ import annotations

from typing import Any, ClassVar, Literal, Self

from pydantic import Field, ValidationInfo, field_validator, model_validator

from routes.document.affinity import Affinity
from routes.document.base import Count, Name, Slug, Strict
from routes.document.errors import path_of, refused
from routes.document.failover import Failover
from routes.document.rule import MAX_RULES, Rule, settle
from routes.document.scenario import Scenario
from routes.document.strategy import StrategyName, filled_params, unknown_members
from routes.document.target import Targets, doubles
from routes.engine import strategies

#: Whether streams are asked for their usage: never, when the key has token or money limits, always.
Accounting = Literal["off", "when_asked", "always"]
#: Milliseconds. A request that waits longer holds its client's connection for nothing.
LONGEST_QUEUE = 60_000


class ProfileLimits(Strict):
    """Requests in flight over all processes, and how long one more waits for a place, in milliseconds, before it is
    refused. ``concurrency`` 0 = no limit, ``queue_ms`` 0 = refused at once."""

    concurrency: Count = 0
    queue_ms: int = Field(default=0, ge=0, le=LONGEST_QUEUE)


class Profile(Strict):
    """A named routing policy."""

    #: Fixed-field objects that a partial update merges instead of replacing.
    OBJECTS: ClassVar[dict[str, dict[str, Any]]] = {
        "affinity": {},
        "failover": {"timeouts": {}},
        "limits": {},
        "scenario": {},
    }

    slug: Slug
    name: Name
    strategy: StrategyName = strategies.DEFAULT
    params: dict[str, Any] = Field(default_factory=dict, validate_default=True)
    targets: Targets
    affinity: Affinity = Field(default_factory=Affinity)
    failover: Failover = Field(default_factory=Failover)
    limits: ProfileLimits = Field(default_factory=ProfileLimits)
    scenario: Scenario = Field(default_factory=Scenario)
    accounting: Accounting = "when_asked"
    require_tags: bool = False
    rules: list[Rule] = Field(default_factory=list, max_length=MAX_RULES)

    @field_validator("params", mode="before")
    @classmethod
    def absent_params(cls, value: Any) -> Any:
        return {} if value is None else value

    @field_validator("params")
    @classmethod
    def known_params(cls, value: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
        """Checked against the strategy's own model, with its defaults filled in."""
        if "strategy" not in info.data:
            return value  # the strategy itself is wrong; one error is enough
        return filled_params(info.data["strategy"], value)

    @model_validator(mode="after")
    def parts_that_fit_together(self) -> Self:
        """No target twice, no rule's name twice, rules that fit their profile."""
        places = [(target.provider, target.model) for target in self.targets]
        errors = [
            (path_of(("targets", index)), f"the same provider and model as targets[{first}]")
            for index, first in doubles(places)
        ]
        errors += unknown_members(self.strategy, self.params, places)
        names: dict[str, int] = {}
        for index, rule in enumerate(self.rules):
            here = path_of(("rules", index))
            first = names.setdefault(rule.name, index)
            if first != index:
                errors.append((f"{here}.name", f"the same as rules[{first}].name"))
            errors.extend((f"{here}.{path}", text) for path, text in settle(rule, self.strategy, self.targets))
        if errors:
            raise refused(*errors)
        return self
