"""Providers as a revision describes them: upstream accounts, the names of their models, their heads, and targets,
which are what a decision chooses between. Frozen; holds no credential and no live state. Imports the engine only.
"""

from __future__ import annotations

import fnmatch
import hashlib
import json
import re
import uuid
from typing import TYPE_CHECKING, Any, NamedTuple

from routes.engine.cost import prices
from routes.engine.settings import CircuitSettings, ProbeSettings, QuarantineSettings, build

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence


def target_id(provider_id: str, model: str | None, head_id: str = "") -> str:
    """The stable id that circuits, samples, counters, pins and metric labels key on.

    uuid5 of the provider's id over the *configured* model (or ``*``) and the head: never a client's string.
    """
    return str(uuid.uuid5(uuid.UUID(provider_id), f"{model or '*'}|{head_id}"))


def head_key(provider_id: str, head_id: str) -> str:
    """What a head as a whole is known by in the live state: the id of its target for any model."""
    return target_id(provider_id, None, head_id)


#: What a decision can know of a head.
_HEAD_FIELDS = ("id", "provider", "endpoint", "region", "model_type", "version", "capacity")
_HEAD_MORE = ("max_model_size", "capabilities")


def heads_digest(heads: Iterable[Mapping[str, Any]]) -> str:
    """Of the approved ones among registered heads: 16 hex digits, the same for the same candidates; "" of none."""
    known = [[head.get(name) for name in (*_HEAD_FIELDS, *_HEAD_MORE)] for head in approved(heads)]
    text = json.dumps(known, separators=(",", ":"))
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest() if known else ""


def approved(heads: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Those that may be candidates, in the order in which they are."""
    return sorted((head for head in heads if head.get("approved", True)), key=lambda head: str(head["id"]))


class Heads(NamedTuple):
    """The heads of a moment: part of a snapshot, beside its revision."""

    digest: str
    by_provider: Mapping[str, Sequence[Mapping[str, Any]]]

    @classmethod
    def of(cls, entries: Sequence[Mapping[str, Any]]) -> Heads:
        found: dict[str, list[Mapping[str, Any]]] = {}
        for entry in approved(entries):
            found.setdefault(entry["provider"], []).append(entry)
        return cls(heads_digest(entries), found)


NO_HEADS = Heads("", {})


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
        "capacity",
        "circuit",
        "context",
        "fallback_to_base_url",
        "headers",
        "heads",
        "id",
        "max_concurrency",
        "models",
        "name",
        "network",
        "prices",
        "probe",
        "proxy",
        "quarantine",
        "query",
        "region",
        "slug",
        "stream_usage",
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
        #: tokens a model takes in, by its name
        self.context: dict[str, int] = dict(document.get("context") or {})
        self.prices = prices(document["prices"])
        #: whether streams may be asked to report what they used
        self.stream_usage: bool = document.get("stream_usage", True)
        #: seats; None = not known
        self.capacity = _number(document["capacity"])
        #: attempts in flight over all processes of a host; 0 = any number
        self.max_concurrency = int(document["max_concurrency"])
        self.circuit = build(CircuitSettings, document["circuit"], f"{path}.circuit")
        self.quarantine = build(QuarantineSettings, document["quarantine"], f"{path}.quarantine")
        #: for health; revisions of older releases have no probes
        self.probe = ProbeSettings.of(document.get("probe") or {}, f"{path}.probe")
        #: the machines behind it, where they are known one by one; empty = it is one endpoint
        self.heads = tuple(Head(entry) for entry in document.get("heads") or ())
        #: with heads, the base URL is an endpoint too, for when none of them can be used
        self.fallback_to_base_url: bool = document.get("fallback_to_base_url", False)

    def __repr__(self) -> str:
        return f"<Provider {self.slug}>"


class Head:
    """One machine of a provider that runs several: an endpoint with abilities and seats of its own."""

    __slots__ = ("capabilities", "capacity", "endpoint", "id", "max_model_size", "model_type", "region", "version")

    def __init__(self, document: Mapping[str, Any]) -> None:
        self.id: str = document["id"]
        self.endpoint: str = document["endpoint"].rstrip("/")
        self.region: str | None = document.get("region")
        #: what it serves, by a model's name or by a class of models; empty = anything its provider does
        self.model_type: str = document.get("model_type") or ""
        self.version: str = document.get("version") or ""
        self.capacity = _number(document.get("capacity"))
        self.max_model_size: str | None = document.get("max_model_size")
        self.capabilities = frozenset(document.get("capabilities") or ())

    def __repr__(self) -> str:
        return f"<Head {self.id}>"


class Target:
    """Provider + configured model + endpoint (a head's, where the provider has heads), as one profile uses it."""

    __slots__ = ("capacity", "endpoint", "head", "head_key", "id", "model", "position", "provider", "region")

    def __init__(self, provider: Provider, model: str | None, head: Head | None, position: int) -> None:
        self.id = target_id(provider.id, model, "" if head is None else head.id)
        self.provider = provider
        self.model = model
        self.head = head
        #: by which the live state knows the head as a whole; "" without one
        self.head_key = "" if head is None else head_key(provider.id, head.id)
        #: index in the profile's targets, which are those of its own list, then those only rules use
        self.position = position
        self.endpoint = provider.base_url if head is None else head.endpoint
        self.region = (head and head.region) or provider.region
        self.capacity = provider.capacity if head is None else head.capacity

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
        """For people: provider, head and configured model."""
        parts = (self.provider.slug, self.head and self.head.id, self.model)
        return " / ".join(part for part in parts if part)

    def __repr__(self) -> str:
        return f"<Target {self.label}>"


def _number(value: Any) -> float | None:
    return None if value is None else float(value)
