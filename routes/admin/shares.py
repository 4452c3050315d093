"""The effective share of each target: what the engine itself does with many requests, before anything is saved.

The unsaved profile is compiled with the draft's providers and asked for ``DRAWS`` decisions over a live state of
its own that is thrown away: counters advance as they would, and nobody else's do. Admin states count, because
people set them; circuits, quarantines and measured latencies live in the gateways and do not.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING, Any, NamedTuple

from django.utils import timezone

from routes import document, draft
from routes.compile import compile_configuration
from routes.document import DocumentError
from routes.engine import pipeline, words
from routes.engine.local_live import LocalLiveState
from routes.engine.snapshot import Snapshot
from routes.engine.types import OPERATION_WIRE, RouteRequest
from routes.models import PriceTable, Provider

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from routes.engine.snapshot import Profile

DRAWS = 1000
#: Most model names offered to choose from.
PROBES = 40
#: A name that only ``*`` and providers without a list serve.
OTHER_MODEL = "any-other-model"
#: Strategies that follow what gateways measure; a preview has no measurements.
MEASURED = frozenset({"least_latency", "peak_ewma"})

OPERATIONS = {"openai": "chat", "anthropic": "messages"}
WIRE_WORDS = {"openai": "OpenAI", "anthropic": "Anthropic"}


class Probe(NamedTuple):
    """A kind of request to ask for: operation and model."""

    operation: str
    model: str

    @property
    def key(self) -> str:
        return f"{self.operation}:{self.model}"

    @property
    def word(self) -> str:
        name = "any other model" if self.model == OTHER_MODEL else self.model or "any model"
        return f"{name}, {WIRE_WORDS[OPERATION_WIRE[self.operation]]} API"


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


class EvenRandom(Random):
    """A random source whose first number of each draw runs evenly through [0, 1).

    A strategy that draws once (``weighted``) then shows its exact shares instead of a sample's noise; further
    numbers of the same draw stay random, so strategies that draw pairs are not led astray.
    """

    def __init__(self, draws: int) -> None:
        super().__init__(1)
        self._draws = draws
        self._first: float | None = None

    def begin(self, number: int) -> None:
        self._first = (number + 0.5) / self._draws

    def random(self) -> float:
        first, self._first = self._first, None
        return super().random() if first is None else first


def effective_shares(tree: dict[str, Any], providers: Iterable[Provider], wanted: str = "") -> Shares:
    """Shares for a profile as the document writes it, saved or not. One query (prices).

    ``wanted`` is the ``key`` of the probe to ask for; unknown or empty = the first.
    """
    slugs = {target["provider"] for target in tree["targets"]}
    used = [provider for provider in providers if provider.slug in slugs]
    if not tree["targets"]:
        return Shares()
    try:
        profile, snapshot = _compiled(tree, used)
    except DocumentError as error:
        return Shares([Share(None, "–")] * len(tree["targets"]), note=f"No shares: {_first(error)}")
    probes = probes_of(profile, used)
    chosen = next((probe for probe in probes if probe.key == wanted), probes[0])
    note = f"The share is what the engine does with {DRAWS:,} requests by this draft.".replace(",", "\u202f")
    if profile.strategy.name in MEASURED:
        note += " This strategy follows measured latency; shown is how it begins, before anything is measured."
    return Shares(_draw(snapshot, profile, chosen, used), probes, chosen, note)


def probes_of(profile: Profile, providers: Sequence[Provider]) -> list[Probe]:
    """Requests worth asking about: per wire format, the model names its targets know."""
    maps = {provider.slug: provider.model_map for provider in providers}
    probes: list[Probe] = []
    for wire, operation in OPERATIONS.items():
        targets = [target for target in profile.targets if target.provider.wire == wire]
        open_targets = [target for target in targets if target.model is None]
        names = dict.fromkeys(
            name for target in open_targets for name in maps[target.provider.slug] or () if not set(name) & set("*?[")
        )
        probes += [Probe(operation, name) for name in list(names)[:PROBES]]
        serves_others = any(target.models(OTHER_MODEL) for target in open_targets)
        if targets and (serves_others or not names):
            probes.append(Probe(operation, OTHER_MODEL if names else ""))
    return probes


def _compiled(tree: dict[str, Any], providers: list[Provider]) -> tuple[Profile, Snapshot]:
    configuration = document.Configuration.parse(
        {
            "version": 1,
            "prices": PriceTable.get().prices,
            "providers": [draft.provider_tree(provider) for provider in providers],
            "profiles": [tree],
        }
    )
    compiled = compile_configuration(
        configuration,
        installation="",
        number=0,
        published_at=timezone.now(),
        provider_ids={provider.slug: str(provider.id) for provider in providers},
        profile_ids={tree["slug"]: "00000000-0000-0000-0000-000000000000"},
    )
    snapshot = Snapshot.from_document(compiled)
    return snapshot.profile_list[0], snapshot


def _draw(snapshot: Snapshot, profile: Profile, probe: Probe, providers: Iterable[Provider]) -> list[Share]:
    live = LocalLiveState(Random(1))
    states = {
        str(provider.id): (provider.admin_state, provider.admin_until and provider.admin_until.timestamp())
        for provider in providers
    }
    wall = timezone.now().timestamp()
    live.set_admin_states(states, 0.0, wall)  # type: ignore[arg-type]  # admin_state holds the three choices
    rng = EvenRandom(DRAWS)
    won = [0] * len(profile.targets)
    reasons: dict[int, str] = {}
    model = probe.model or "any"
    for number in range(DRAWS):
        rng.begin(number)
        request = RouteRequest(f"{rng.getrandbits(128):032x}", probe.operation, model)
        decision = pipeline.decide(snapshot, profile, request, live, 0.0, rng)
        winner = decision.place(0)
        if winner is not None:
            won[winner.target.position] += 1
        if number == 0:
            for excluded in decision.excluded:
                reasons[excluded.target.position] = words.excluded(excluded.code, excluded.value)
    return [
        Share(count / DRAWS, _percent(count / DRAWS), "" if count else reasons.get(place, "backup, when others fail"))
        for place, count in enumerate(won)
    ]


def _percent(share: float) -> str:
    if not share:
        return "no traffic"
    value = round(share * 100, 1)
    return f"{value:g}\u202f%"


def _first(error: DocumentError) -> str:
    path, message = error.errors[0]
    return f"{path.removeprefix('profiles[0].')}: {message}" if path else message
