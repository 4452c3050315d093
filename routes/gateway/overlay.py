"""The live overlay as the gateway uses it: access keys, credentials, heads, and what people decided about providers,
targets and circuits. Immutable, in memory.

Credentials and key hashes are here and nowhere else in the process; they are never logged, and ``repr`` shows
counts. Must not import the control plane, which writes the sealed document this is read from.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from routes.engine.live import Forced
from routes.engine.provider import NO_HEADS, Heads
from routes.gateway.auth import AccessKey

if TYPE_CHECKING:
    from collections.abc import Mapping

    from routes.engine.types import AdminState

FORMAT = 1


@dataclass(frozen=True, slots=True)
class Credential:
    """What we authenticate to a provider with. A new ``generation`` lifts the quarantines of the old one."""

    value: str
    generation: int

    def __repr__(self) -> str:
        return f"Credential(generation={self.generation})"


@dataclass(frozen=True, slots=True)
class AdminSetting:
    """What people decided about a provider or target; ``until`` is Unix time, None = for good."""

    state: AdminState
    until: float | None


@dataclass(frozen=True, slots=True)
class Overlay:
    """One version of the overlay. Provider ids are lower-case UUID strings."""

    installation: str
    version: int
    keys: Mapping[bytes, AccessKey]  # by SHA-256 of the whole value
    credentials: Mapping[str, Credential]
    admin_states: Mapping[str, AdminSetting]  # by id of a provider or target
    circuits: Mapping[str, Forced]  # by target id
    generations: Mapping[str, int]  # by provider id: another number means that its quarantines are void
    heads: Heads

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Overlay:
        """Raises KeyError, TypeError or ValueError for a document that is not of this format."""
        if document["format"] != FORMAT:
            raise ValueError(f"overlay format {document['format']!r} is not known to this version")
        keys = [AccessKey.from_document(entry) for entry in document["keys"]]
        return cls(
            installation=document["installation"],
            version=document["version"],
            keys={key.digest: key for key in keys},
            credentials={
                provider: Credential(entry["value"], entry["generation"])
                for provider, entry in document["credentials"].items()
            },
            admin_states={
                provider: AdminSetting(cast("AdminState", entry["state"]), entry.get("until"))
                for provider, entry in document["admin_states"].items()
            },
            circuits={
                target: Forced(entry["act"], entry["until"], entry["at"])
                for target, entry in document.get("circuits", {}).items()
            },
            # An overlay of the release before has those of credentials alone.
            generations=document.get("generations")
            or {provider: entry["generation"] for provider, entry in document["credentials"].items()},
            heads=Heads.of(document.get("heads", ())),
        )

    def __repr__(self) -> str:
        return f"Overlay(version={self.version}, keys={len(self.keys)}, credentials={len(self.credentials)})"


EMPTY = Overlay("", 0, {}, {}, {}, {}, {}, NO_HEADS)
