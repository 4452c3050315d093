"""The snapshot: one compiled revision, frozen, with everything precomputed that does not change per request.

Built by ``Snapshot.from_document`` (publish calls it too, as the last check before a revision is written).
Lookups are dicts. Objects are slotted and never changed after building, but for bounded caches of candidates.
Holds no secrets and no live state. Imports the engine only.
"""

from __future__ import annotations

import fnmatch
import re
import uuid
from typing import TYPE_CHECKING, Any

from routes.engine import strategies
from routes.engine.candidates import Candidate, CandidateSet
from routes.engine.cost import Price, price_for
from routes.engine.errors import EngineError, SnapshotError
from routes.engine.settings import CircuitSettings, Failover, QuarantineSettings, Timeouts, build
from routes.engine.types import OPERATION_WIRE, Exclusion

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydantic import BaseModel

    from routes.engine.strategies import Strategy

FORMAT = 1
#: Candidate sets kept per profile. Model names come from clients, so the cache must not grow with them.
CACHE_SETS = 512
#: ... nor with profile size: at most this many candidates over all kept sets of a profile.
CACHE_CANDIDATES = 50_000
#: Longer model names are served but never kept.
CACHE_NAME_LENGTH = 200


def target_id(provider_id: str, model: str | None, head_id: str = "") -> str:
    """The stable id that circuits, samples, counters, pins and metric labels key on.

    uuid5 of the provider's id over the *configured* model (or ``*``) and the head: never a client's string.
    """
    return str(uuid.uuid5(uuid.UUID(provider_id), f"{model or '*'}|{head_id}"))


class ModelMap:
    """A provider's ``models``: asked-for name or glob -> upstream name. Exact names first, then globs from the
    most specific (longest) to the least, so that the order of JSON keys never matters."""

    __slots__ = ("_exact", "_globs")

    def __init__(self, mapping: Mapping[str, str | None]) -> None:
        self._exact: dict[str, str] = {}
        globs: list[tuple[int, str, re.Pattern[str], str | None]] = []
        for asked, upstream in mapping.items():
            if any(sign in asked for sign in "*?["):
                # A glob that maps to itself, to ``*`` or to nothing passes the name on as it came.
                unchanged = not upstream or upstream in (asked, "*")
                pattern = re.compile(fnmatch.translate(asked))
                globs.append((-len(asked), asked, pattern, None if unchanged else upstream))
            else:
                self._exact[asked] = upstream or asked
        globs.sort(key=lambda entry: entry[:2])
        self._globs = tuple((pattern, upstream) for _, _, pattern, upstream in globs)

    @property
    def names(self) -> tuple[str, ...]:
        """What can be asked for by name, in the document's order; globs cannot be listed."""
        return tuple(self._exact)

    def upstream(self, model: str) -> str | None:
        """The name to send upstream; None = not served."""
        exact = self._exact.get(model)
        if exact is not None:
            return exact
        for pattern, upstream in self._globs:
            if pattern.match(model):
                return upstream or model
        return None


class Provider:
    """An upstream account, without its credential and admin state (those are live)."""

    __slots__ = (
        "auth",
        "base_url",
        "circuit",
        "headers",
        "id",
        "models",
        "name",
        "network",
        "prices",
        "proxy",
        "quarantine",
        "query",
        "region",
        "slug",
        "tags",
        "weight",
        "wire",
    )

    def __init__(self, document: Mapping[str, Any], path: str) -> None:
        self.id: str = str(uuid.UUID(document["id"]))
        self.slug: str = document["slug"]
        self.name: str = document["name"]
        self.wire: str = document["wire"]
        self.base_url: str = document["base_url"].rstrip("/")
        self.network: str = document["network"]
        auth = document["auth"]
        #: (header in lower case, prefix) under which the credential is sent; None = no credential is sent.
        self.auth: tuple[str, str] | None = (auth["header"].lower(), auth["prefix"]) if auth else None
        self.headers: dict[str, str] = dict(document["headers"])
        self.query: dict[str, str] = dict(document["query"])
        self.proxy: str | None = document["proxy"]
        self.region: str | None = document["region"]
        self.tags = frozenset(document["tags"])
        self.weight = float(document["weight"])
        self.models = ModelMap(document["models"]) if document["models"] is not None else None
        self.prices = _prices(document["prices"])
        self.circuit = build(CircuitSettings, document["circuit"], f"{path}.circuit")
        self.quarantine = build(QuarantineSettings, document["quarantine"], f"{path}.quarantine")

    def __repr__(self) -> str:
        return f"<Provider {self.slug}>"


class Target:
    """Provider + configured model + endpoint, at its place in one profile."""

    __slots__ = ("endpoint", "id", "model", "position", "provider", "tier", "weight")

    def __init__(self, provider: Provider, model: str | None, weight: float, tier: int, position: int) -> None:
        self.id = target_id(provider.id, model)
        self.provider = provider
        self.model = model
        self.weight = weight
        self.tier = tier
        self.position = position
        self.endpoint = provider.base_url

    def models(self, asked: str) -> tuple[str, str] | None:
        """(m, u) for a client that asked for ``asked``; None = this target does not serve it."""
        m = self.model or asked
        if not m:
            return None
        provider_models = self.provider.models
        if provider_models is None:
            return m, m
        u = provider_models.upstream(m)
        return None if u is None else (m, u)

    @property
    def label(self) -> str:
        """For people: provider and configured model."""
        return f"{self.provider.slug} / {self.model}" if self.model else self.provider.slug

    def __repr__(self) -> str:
        return f"<Target {self.label}>"


class Profile:
    """A routing policy with its targets, strategy and failover settings."""

    __slots__ = (
        "_any_model",
        "_cache",
        "_cache_limit",
        "_snapshot",
        "accounting",
        "failover",
        "first_position",
        "id",
        "index",
        "name",
        "params",
        "slug",
        "strategy",
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
        try:
            self.strategy: Strategy = strategies.get(document["strategy"])
            self.params: BaseModel = strategies.parse_params(self.strategy, document["params"])
        except EngineError as error:
            raise SnapshotError(f"{path}.strategy", str(error)) from None
        failover = document["failover"]
        self.timeouts = build(Timeouts, failover["timeouts"], f"{path}.failover.timeouts")
        self.failover = build(
            Failover,
            failover,
            f"{path}.failover",
            timeouts=self.timeouts,
            retry_statuses=frozenset(failover["retry_statuses"]),
        )
        self.targets = tuple(
            self._target(entry, f"{path}.targets[{position}]", position)
            for position, entry in enumerate(document["targets"])
        )
        seen: dict[str, int] = {}
        for target in self.targets:
            if target.id in seen:
                place = f"{path}.targets[{target.position}]"
                raise SnapshotError(place, f"the same provider and model as targets[{seen[target.id]}]")
            seen[target.id] = target.position
        #: position of the target that leads in configured order: lowest tier, then first; -1 without targets
        self.first_position = min(((t.tier, t.position) for t in self.targets), default=(0, -1))[1]
        # When every target names its model, what the client asks for changes nothing.
        self._any_model = all(target.model for target in self.targets)
        self._cache: dict[tuple[str, str], CandidateSet] = {}
        self._cache_limit = max(1, min(CACHE_SETS, CACHE_CANDIDATES // max(1, len(self.targets))))

    def _target(self, entry: Mapping[str, Any], path: str, position: int) -> Target:
        provider = self._snapshot.providers.get(entry["provider"])
        if provider is None:
            raise SnapshotError(f"{path}.provider", f"there is no provider {entry['provider']!r}")
        weight = entry["weight"]
        return Target(
            provider, entry["model"], provider.weight if weight is None else float(weight), int(entry["tier"]), position
        )

    def candidates_for(self, operation: str, model: str) -> CandidateSet:
        """Who can serve this operation and model, by configuration alone. Cached, bounded."""
        key = (operation, "" if self._any_model else model)
        found = self._cache.get(key)
        if found is None:
            found = self._build_candidates(operation, model)
            if len(model) <= CACHE_NAME_LENGTH or self._any_model:
                if len(self._cache) >= self._cache_limit:
                    # Starting over is O(1) and safe from any thread; what is in use comes back at once.
                    self._cache = {}
                self._cache[key] = found
        return found

    def _build_candidates(self, operation: str, model: str) -> CandidateSet:
        wire = OPERATION_WIRE[operation]
        candidates: list[Candidate] = []
        excluded: list[Exclusion] = []
        for target in self.targets:
            if target.provider.wire != wire:
                excluded.append(Exclusion(target, "admission", "wire_unsupported", target.provider.wire))
                continue
            names = target.models(model)
            if names is None:
                excluded.append(Exclusion(target, "admission", "model_not_served", None))
                continue
            m, u = names
            price = price_for(self._snapshot, target.provider, m, u)
            candidates.append(Candidate(target, target.id, m, u, target.weight, target.tier, target.position, price))
        return CandidateSet(self, candidates, excluded)

    def serves(self, operation: str, model: str) -> bool:
        """Whether any target could ever serve this; False is the contract's ``model_not_found``."""
        return bool(self.candidates_for(operation, model).candidates)

    def __repr__(self) -> str:
        return f"<Profile {self.slug}>"


class Snapshot:
    """One revision, ready to route by."""

    __slots__ = (
        "builtin_prices",
        "default_strategy",
        "installation",
        "number",
        "prices",
        "profile_list",
        "profiles",
        "providers",
        "published_at",
    )

    def __init__(self, document: Mapping[str, Any]) -> None:
        if document.get("format") != FORMAT:
            raise SnapshotError("format", f"expected {FORMAT}, got {document.get('format')!r}")
        self.installation: str = document["installation"]
        self.number = int(document["number"])
        self.published_at: str = document["published_at"]
        try:
            self.default_strategy = strategies.get(document["policy"]["default_strategy"])
        except EngineError as error:
            raise SnapshotError("policy.default_strategy", str(error)) from None
        self.prices = _prices(document["prices"])
        self.builtin_prices = _prices(document["builtin_prices"])
        self.providers: dict[str, Provider] = {}
        for index, entry in enumerate(document["providers"]):
            provider = Provider(entry, f"providers[{index}]")
            if provider.slug in self.providers:
                raise SnapshotError(f"providers[{index}].slug", f"{provider.slug!r} is taken")
            self.providers[provider.slug] = provider
        self.profiles: dict[str, Profile] = {}
        for index, entry in enumerate(document["profiles"]):
            profile = Profile(self, entry, f"profiles[{index}]", index)
            if profile.slug in self.profiles:
                raise SnapshotError(f"profiles[{index}].slug", f"{profile.slug!r} is taken")
            self.profiles[profile.slug] = profile
        #: profiles by the index under which packed decisions name them
        self.profile_list = tuple(self.profiles.values())

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Snapshot:
        """Validate and freeze. Raises SnapshotError and nothing else."""
        try:
            return cls(document)
        except EngineError:
            raise
        except KeyError as error:
            raise SnapshotError("", f"missing field {error.args[0]!r}") from error
        except (TypeError, ValueError, AttributeError) as error:
            raise SnapshotError("", f"malformed: {error}") from error

    def __repr__(self) -> str:
        return f"<Snapshot {self.number}>"


def _prices(section: Mapping[str, Mapping[str, float | None]]) -> dict[str, Price]:
    """Prices by model; a cached price left out is the price of ordinary input."""
    prices: dict[str, Price] = {}
    for model, entry in section.items():
        given, out, cached = entry.get("input"), entry.get("output"), entry.get("cached")
        base = float(given or 0.0)
        prices[model] = Price(base, float(out or 0.0), base if cached is None else float(cached))
    return prices
