"""The snapshot: one compiled revision, frozen, with everything precomputed that does not change per request.

Built by ``Snapshot.from_document`` (publish calls it too, as the last check before a revision is written).
Lookups are dicts. Objects are slotted and never changed after building, but for bounded caches of candidates.
Holds no secrets and no live state. Imports the engine only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from routes.engine import strategies
from routes.engine.cost import prices
from routes.engine.errors import EngineError, SnapshotError
from routes.engine.profile import Choice, Part, Place, Profile, Rule, rule_id
from routes.engine.provider import NO_HEADS, Head, Heads, ModelMap, Provider, Target, target_id
from routes.engine.settings import Policy, build

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pydantic import BaseModel

    from routes.engine.strategies import Strategy

__all__ = (
    "FORMAT",
    "NO_HEADS",
    "Choice",
    "Head",
    "Heads",
    "ModelMap",
    "Part",
    "Place",
    "Profile",
    "Provider",
    "Rule",
    "Snapshot",
    "Target",
    "rule_id",
    "target_id",
)

FORMAT = 1


class Snapshot:
    """One revision, ready to route by, with the heads of the moment."""

    __slots__ = (
        "_asked",
        "builtin_context",
        "builtin_prices",
        "default_strategy",
        "heads_digest",
        "installation",
        "model_types",
        "number",
        "policy",
        "prices",
        "profile_list",
        "profiles",
        "providers",
        "published_at",
        "regions",
        "translates",
        "unnamed",
    )

    def __init__(self, document: Mapping[str, Any], heads: Heads = NO_HEADS) -> None:
        if document.get("format") != FORMAT:
            raise SnapshotError("format", f"expected {FORMAT}, got {document.get('format')!r}")
        self.installation: str = document["installation"]
        self.number = int(document["number"])
        self.published_at: str = document["published_at"]
        #: conversations go to providers of the other wire format too; revisions of older releases kept them apart
        self.translates: bool = document.get("translates", False)
        policy = document["policy"]
        try:
            self.default_strategy = strategies.get(policy["default_strategy"])
        except EngineError as error:
            raise SnapshotError("policy.default_strategy", str(error)) from None
        self.policy = build(Policy, policy, "policy", region_priority=tuple(policy.get("region_priority", ())))
        #: strategies as requests may name them
        self._asked = {
            name: self.choice(strategy, strategies.DEFAULT_PARAMS[name])
            for name, strategy in strategies.REGISTRY.items()
        }
        self.prices = prices(document["prices"])
        self.builtin_prices = prices(document["builtin_prices"])
        #: context windows in tokens that everybody knows, by model
        self.builtin_context: dict[str, int] = dict(document.get("builtin_context") or {})
        self.providers: dict[str, Provider] = {}
        #: which heads there are, for whoever is to tell a decision again; "" = none
        self.heads_digest = heads.digest
        for index, written in enumerate(document["providers"]):
            of_provider = heads.by_provider.get(written["id"])
            entry = {**written, "heads": of_provider} if of_provider else written
            provider = Provider(entry, f"providers[{index}]")
            if provider.slug in self.providers:
                raise SnapshotError(f"providers[{index}].slug", f"{provider.slug!r} is taken")
            self.providers[provider.slug] = provider
        #: every region that is named: of providers and their heads, and in the policy
        self.regions = frozenset(filter(None, self._regions()))
        #: every kind of head that a head says it is
        self.model_types = frozenset(
            head.model_type for provider in self.providers.values() for head in provider.heads if head.model_type
        )
        self.profiles: dict[str, Profile] = {}
        for index, entry in enumerate(document["profiles"]):
            profile = Profile(self, entry, f"profiles[{index}]", index)
            if profile.slug in self.profiles:
                raise SnapshotError(f"profiles[{index}].slug", f"{profile.slug!r} is taken")
            self.profiles[profile.slug] = profile
        #: every provider under the default strategy, for decisions that name no profile; None in old revisions
        self.unnamed: Profile | None = None
        if "unnamed" in document:
            self.unnamed = Profile(self, document["unnamed"], "unnamed", len(self.profiles))
        #: profiles by the index under which packed decisions name them
        self.profile_list = (*self.profiles.values(), *([self.unnamed] if self.unnamed else []))

    @classmethod
    def from_document(cls, document: Mapping[str, Any], heads: Heads = NO_HEADS) -> Snapshot:
        """Validate and freeze. Raises SnapshotError and nothing else."""
        try:
            return cls(document, heads)
        except EngineError:
            raise
        except KeyError as error:
            raise SnapshotError("", f"missing field {error.args[0]!r}") from error
        except (TypeError, ValueError, AttributeError) as error:
            raise SnapshotError("", f"malformed: {error}") from error

    def _regions(self) -> Iterator[str | None]:
        yield from self.policy.region_priority
        yield from self.policy.geo.values()
        for provider in self.providers.values():
            yield provider.region
            yield from (head.region for head in provider.heads)

    def choice(self, strategy: Strategy, params: BaseModel) -> Choice:
        """The strategy to rank with where ``strategy`` is written: policy replaces one whose family is off."""
        if strategies.allowed(strategy, self.policy, params):
            return Choice(strategy, params)
        instead = self.default_strategy
        if not strategies.allowed(instead, self.policy, strategies.DEFAULT_PARAMS[instead.name]):
            instead = strategies.REGISTRY[strategies.DEFAULT]
        return Choice(instead, strategies.DEFAULT_PARAMS[instead.name], strategy.name)

    def asked(self, written: Choice, name: str | None) -> Choice:
        """``written`` unless the request asks for another strategy, which runs with its default params."""
        if name is None or name == (written.replaced or written.strategy.name):
            return written
        return self._asked[name]

    def __repr__(self) -> str:
        return f"<Snapshot {self.number}>"
