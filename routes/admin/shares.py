"""The effective share of each target, in figures and words: of a profile's base traffic, and of what a rule takes.

``preview`` asks the engine; here is who is asked about (the probe), and what is said beside each target.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from routes.admin import preview
from routes.document import DocumentError
from routes.engine.types import SERVICE, TRANSLATED_WIRES
from routes.host import copied

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from uuid import UUID

    from routes.engine.live import LiveState
    from routes.engine.profile import Part, Profile
    from routes.engine.snapshot import Snapshot
    from routes.models import Provider

#: Most model names offered to choose from.
PROBES = 40
#: A name that only ``*`` and providers without a list serve.
OTHER_MODEL = "any-other-model"
#: Strategies that follow how fast targets are.
MEASURED = frozenset({"least_latency", "peak_ewma", "speed"})

#: Slugs of the profiles beside the one that is asked about, one for each of its rules.
PREVIEW = "rule-preview-"

#: What is asked for, and of which targets: conversations go to both formats, service requests to generic providers.
OPERATIONS = ("chat", SERVICE)
OPERATION_WORDS = {"chat": "chat", SERVICE: "service routing"}


class Probe(NamedTuple):
    """A kind of request to ask for: operation and model."""

    operation: str
    model: str

    @property
    def key(self) -> str:
        return f"{self.operation}:{self.model}"

    @property
    def word(self) -> str:
        word = OPERATION_WORDS[self.operation]
        if self.operation == SERVICE:
            return word
        return f"{'any other model' if self.model == OTHER_MODEL else self.model or 'any model'}, {word}"


@dataclass(frozen=True, slots=True)
class Share:
    share: float | None  # None: not known
    text: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class Shares:
    rows: list[Share] = field(default_factory=list)  # in the order of the targets
    probes: list[Probe] = field(default_factory=list)
    chosen: Probe | None = None
    note: str = ""


def effective_shares(
    tree: dict[str, Any],
    providers: Iterable[Provider],
    around: preview.Sections,
    wanted: str = "",
    profile_id: UUID = preview.NEW,
) -> Shares:
    """Shares of requests that no rule takes, for a profile as the document writes it, saved or not. Two queries.

    ``wanted`` is the ``key`` of the probe to ask for; unknown or empty = the first.
    """
    used = _used(providers, tree["targets"])
    if not tree["targets"]:
        return Shares()
    try:
        wanted_document = preview.configuration([{**tree, "rules": []}], used, around)
        snapshot = preview.snapshot(wanted_document, used, profile_id)
    except DocumentError as error:
        return Shares([Share(None, "–")] * len(tree["targets"]), note=f"No shares: {_first(error)}")
    profile = snapshot.profiles[tree["slug"]]
    probes, chosen = _probe(profile, used, wanted)
    now = time.monotonic()
    draws = preview.draw(snapshot, profile, chosen.operation, chosen.model or "any", copied(snapshot, now), now)
    return Shares(_rows(profile.base, draws), probes, chosen, _note(profile.base, draws))


def rule_shares(
    tree: dict[str, Any],
    rules: Sequence[dict[str, Any]],
    providers: Iterable[Provider],
    around: preview.Sections,
    wanted: str = "",
    profile_id: UUID = preview.NEW,
) -> list[Shares]:
    """For each rule the shares of requests that it takes, whatever its condition. Two queries.

    ``tree`` is the rules' profile. Requests that go on to the profile's own targets are in the note.
    """
    if not rules:
        return []
    used = _used(providers, [*tree["targets"], *(target for rule in rules for target in rule["targets"])])
    profiles = [{**tree, "rules": []}]
    for place, rule in enumerate(rules):
        alone = {**rule, "name": f"{rule['name'][:190]} {place}", "when": preview.ALWAYS, "enabled": True}
        profiles.append({**tree, "slug": f"{PREVIEW}{place}", "rules": [alone]})
    try:
        snapshot = preview.snapshot(preview.configuration(profiles, used, around), used, profile_id)
    except DocumentError as error:
        unknown, note = Share(None, "–"), f"No shares: {_first(error)}"
        return [Shares([unknown] * len(rule["targets"]), note=note) for rule in rules]
    probes, chosen = _probe(snapshot.profiles[tree["slug"]], used, wanted)
    now = time.monotonic()
    host = copied(snapshot, now)
    return [
        _rule_shares(snapshot, snapshot.profiles[f"{PREVIEW}{place}"], probes, chosen, host, now)
        for place in range(len(rules))
    ]


def _rule_shares(
    snapshot: Snapshot, profile: Profile, probes: list[Probe], chosen: Probe, host: LiveState, now: float
) -> Shares:
    part = profile.rules[0].part
    draws = preview.draw(snapshot, profile, chosen.operation, chosen.model or "any", host, now)
    own = {place.target.id for place in part.places}
    note = _note(part, draws)
    if beyond := sum(share for target, share in draws.won.items() if target not in own):
        note = f"{percent(beyond)} goes on to the profile’s own targets. {note}"
    return Shares(_rows(part, draws), probes, chosen, note)


def _rows(part: Part, draws: preview.Draws) -> list[Share]:
    """In the order in which the targets were written; heads of one target count together."""
    found: dict[int, list[str]] = {}
    for place in part.places:
        found.setdefault(place.number, []).append(place.target.id)
    return [_share(draws, found[number]) for number in sorted(found)]


def _used(providers: Iterable[Provider], targets: Iterable[dict[str, Any]]) -> list[Provider]:
    slugs = {target["provider"] for target in targets}
    return [provider for provider in providers if provider.slug in slugs]


def _probe(profile: Profile, providers: Sequence[Provider], wanted: str) -> tuple[list[Probe], Probe]:
    probes = probes_of(profile, providers) or [Probe("chat", "")]
    return probes, next((probe for probe in probes if probe.key == wanted), probes[0])


def probes_of(profile: Profile, providers: Sequence[Provider]) -> list[Probe]:
    """Requests worth asking about: the model names that targets for conversations know, and service requests."""
    maps = {provider.slug: provider.model_map for provider in providers}
    probes: list[Probe] = []
    for operation in OPERATIONS:
        targets = [target for target in profile.targets if target.provider.wire in TRANSLATED_WIRES[operation]]
        if operation == SERVICE:
            probes += [Probe(operation, "")] if targets else []
            continue
        open_targets = [target for target in targets if target.model is None]
        names = dict.fromkeys(
            name for target in open_targets for name in maps[target.provider.slug] or () if not set(name) & set("*?[")
        )
        probes += [Probe(operation, name) for name in list(names)[:PROBES]]
        serves_others = any(target.models(OTHER_MODEL) for target in open_targets)
        if targets and (serves_others or not names):
            probes.append(Probe(operation, OTHER_MODEL if names else ""))
    return probes


def _share(draws: preview.Draws, ids: Sequence[str]) -> Share:
    share = sum(draws.won.get(target_id, 0.0) for target_id in ids)
    why = next(
        (draws.reasons[target_id] for target_id in ids if target_id in draws.reasons), "backup, when others fail"
    )
    return Share(share, percent(share), "" if share else why)


def _note(part: Part, draws: preview.Draws) -> str:
    note = f"The share is what the engine does with {preview.DRAWS:,} requests by this draft, as things are now."
    choice = part.choice
    if choice.replaced:
        note += f" The policy switched {choice.replaced} off: {choice.strategy.name} ranks instead."
    if choice.strategy.leaf(choice.params).name in MEASURED and not draws.measured:
        note += " Nothing is measured yet: shown is how this strategy begins."
    return note.replace(",000", "\u202f000")


def percent(share: float) -> str:
    if not share:
        return "no traffic"
    value = round(share * 100, 1)
    return f"{value:g}\u202f%"


def _first(error: DocumentError) -> str:
    path, message = error.errors[0]
    return f"{path.partition('].')[2]}: {message}" if path else message
