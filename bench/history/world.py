"""Who asks for what: providers, models, profiles, keys, and decisions that the engine made among them.

Decisions are taken from the engine itself and packed as a gateway packs them, a pool for each profile, because making
one for every row would take longer than storing it. No Django, no I/O; the same seed makes the same world.
"""

from __future__ import annotations

from itertools import accumulate
from random import Random
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from uuid import UUID

import orjson

from routes.engine.explain import pack_decision
from routes.engine.facts import Facts, KeyFacts
from routes.engine.local_live import LocalLiveState
from routes.engine.pipeline import decide
from routes.engine.snapshot import Snapshot
from routes.engine.stages import affinity
from routes.engine.types import Outcome, RouteRequest
from tests.documents import an_id, document, profile, provider, rule, target

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from routes.engine.provider import Target

# fmt: off
PROVIDERS: Final = (
    ("openai", "us-east"), ("azure-eu", "eu-west"), ("azure-us", "us-east"), ("anthropic", "us-east"),
    ("bedrock", "us-east"), ("vertex", "eu-west"), ("mistral", "eu-west"), ("groq", "us-west"), ("together", "us-west"),
    ("deepinfra", "us-east"), ("own-gpus", "eu-north"), ("openrouter", "us-west"),
)
_FAMILIES: Final = (
    ("gpt-4o", 2.5, 10.0), ("gpt-4.1", 2.0, 8.0), ("gpt-5", 1.25, 10.0), ("o4", 1.1, 4.4),
    ("claude-sonnet-4-5", 3.0, 15.0), ("claude-haiku-4-5", 1.0, 5.0), ("gemini-2.5-pro", 1.25, 10.0),
    ("mistral-large", 2.0, 6.0), ("llama-3.3-70b", 0.6, 0.8), ("qwen3-235b", 0.2, 0.6),
)
_SIZES: Final = ("", "-mini", "-fast", "-preview")
STRATEGIES: Final = (
    "weighted", "weighted", "weighted", "failover", "least_latency", "round_robin", "peak_ewma", "weighted",
)
TEAMS: Final = (
    "default", "chat", "assistants", "search", "support-bot", "summaries", "coding", "translation", "embeddings",
    "agents", "batch", "research", "mobile", "internal-tools", "evaluation", "sales", "legal", "marketing", "finance",
    "data", "onboarding", "voice", "sandbox", "partners",
)
AGENTS: Final = (
    "OpenAI/Python 2.8.1", "AsyncOpenAI/Python 2.8.1", "OpenAI/JS 6.9.1", "Anthropic/Python 0.75.0",
    "python-requests/2.32.5",
    "LangChain/0.3.79 (python 3.12.7; openai 2.8.1)", "node-fetch/1.0 (+https://github.com/bitinn/node-fetch)",
    "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36",
)
# fmt: on
#: A profile that was given up: nobody has asked by it but in the oldest days. The worst that a search can be asked for.
GIVEN_UP: Final = "given-up"
PATH: Final = "/v1/chat/completions"
VARIANTS: Final = 64
_KEYS_OF_A_PROFILE: Final = 3
_MODELS_OF_A_PROFILE: Final = 6


class Model(NamedTuple):
    """``median_ms`` and ``sigma`` are of its log-normal latencies, prices USD per million tokens."""

    name: str
    input_price: float
    output_price: float
    median_ms: float
    sigma: float


class Place(NamedTuple):
    """A target as records name it."""

    provider: str
    target: str
    target_bytes: bytes
    endpoint: str
    region: str


class Variant(NamedTuple):
    """A decision for one kind of request. ``places``: its ranking."""

    model: Model
    stream: bool
    tokens: int
    strategy: str
    source: str
    rule: str | None
    places: tuple[Place, ...]
    packed: dict[str, Any]


class Key(NamedTuple):
    name: str
    identifier: bytes


class Team(NamedTuple):
    """A profile and who uses it. ``fresh``: decisions of requests without a pin; ``pinned``: with one."""

    slug: str
    identifier: bytes
    keys: tuple[Key, ...]
    fresh: tuple[Variant, ...]
    pinned: tuple[Variant, ...]


class World(NamedTuple):
    teams: tuple[Team, ...]
    given_up: Team
    shares: tuple[float, ...]  # of the teams, running sums
    clients: tuple[str, ...]
    document: dict[str, Any]  # the revision that decided everything

    def team(self, draw: float) -> Team:
        """By Zipf's law; ``draw`` is in [0, 1)."""
        return self.teams[place(self.shares, draw)]


def place(sums: Sequence[float], draw: float) -> int:
    """Index of the first running sum above ``draw``."""
    low, high = 0, len(sums) - 1
    while low < high:
        middle = (low + high) // 2
        if draw < sums[middle]:
            high = middle
        else:
            low = middle + 1
    return low


def zipf(count: int, exponent: float = 1.1) -> tuple[float, ...]:
    """Running sums of shares that fall by rank, up to 1."""
    weights = [1 / rank**exponent for rank in range(1, count + 1)]
    total = sum(weights)
    return tuple(each / total for each in accumulate(weights))


def models(chance: Random) -> list[Model]:
    found = []
    for size in _SIZES:
        small = 0.3 if size in ("-mini", "-fast") else 1.0
        for family, input_price, output_price in _FAMILIES:
            median = chance.uniform(900, 6000) * small
            price_in, price_out = round(input_price * small, 3), round(output_price * small, 3)
            found.append(Model(family + size, price_in, price_out, median, chance.uniform(0.4, 0.9)))
    return found


def build(seed: int) -> World:
    """A world; takes about a second."""
    chance = Random(seed)
    all_models = models(chance)
    chance.shuffle(all_models)
    prices = {each.name: {"input": each.input_price, "output": each.output_price, "cached": 0} for each in all_models}
    providers = [
        provider(slug, base_url=f"https://api.{slug}.example/v1", network="public", region=region, prices=prices)
        for slug, region in PROVIDERS
    ]
    profiles = [_profile(slug, number, chance) for number, slug in enumerate((*TEAMS, GIVEN_UP))]
    revision = document(providers, profiles, number=42)
    snapshot = Snapshot.from_document(revision)
    live = _warmed(snapshot, chance)
    teams = [_team(snapshot, live, slug, all_models, chance) for slug in (*TEAMS, GIVEN_UP)]
    clients = tuple(
        f"10.{chance.randrange(64)}.{chance.randrange(256)}.{chance.randrange(1, 255)}" for _ in range(3000)
    )
    return World(tuple(teams[:-1]), teams[-1], zipf(len(TEAMS)), clients, revision)


def _profile(slug: str, number: int, chance: Random) -> dict[str, Any]:
    chosen = chance.sample(range(len(PROVIDERS)), 4)
    weights = (40, 30, 20, 10)
    places = [target(PROVIDERS[index][0], weight=weight) for index, weight in zip(chosen, weights, strict=True)]
    rules = []
    if number % 2 == 0:
        code = {"fact": "latest_user_text", "op": "regex", "value": "(?i)refactor|stack trace"}
        rules = [
            rule("long context", {"fact": "tokens", "op": "gte", "value": 16000}, places[:2]),
            rule("code", code, places[1:3]),
            rule("streams of the day", {"fact": "percent", "op": "lt", "value": 5}, places[:1]),
        ]
    strategy = STRATEGIES[number % len(STRATEGIES)]
    return profile(slug, places, strategy=strategy, rules=rules, affinity={"enabled": True}, accounting="always")


def _warmed(snapshot: Snapshot, chance: Random) -> LocalLiveState:
    """Every target has been used, so that strategies that measure have something to rank by."""
    live = LocalLiveState(Random(1))
    for entry in {each.id: each for one in snapshot.profile_list for each in one.targets}.values():
        for step in range(20):
            claim = live.claim(entry, float(step))
            assert claim is not None
            latency = chance.uniform(0.5, 4.0)
            live.settle(claim, entry, Outcome("success", None, latency, latency / 3, 200, bool(step % 2)), float(step))
            live.release(claim, float(step), 200)
    return live


def _team(snapshot: Snapshot, live: LocalLiveState, slug: str, every: list[Model], chance: Random) -> Team:
    keys = tuple(
        Key(name, UUID(an_id("key", name)).bytes)
        for name in (f"{slug}-{purpose}" for purpose in ("production", "staging", "notebooks")[:_KEYS_OF_A_PROFILE])
    )
    own = chance.sample(every, _MODELS_OF_A_PROFILE)
    popularity = zipf(len(own), 1.3)
    fresh, pinned = [], []
    for number in range(VARIANTS):
        # The first of each profile go round all models, so that every one is in use somewhere.
        model = own[number if number < len(own) else place(popularity, chance.random())]
        fresh.append(_variant(snapshot, live, slug, model, keys[number % len(keys)], chance, None))
        pinned.append(_variant(snapshot, live, slug, model, keys[number % len(keys)], chance, f"{slug} {number}"))
    return Team(slug, UUID(an_id("profile", slug)).bytes, keys, tuple(fresh), tuple(pinned))


def _variant(
    snapshot: Snapshot, live: LocalLiveState, slug: str, model: Model, key: Key, chance: Random, session: str | None
) -> Variant:
    of_profile = snapshot.profiles[slug]
    tokens = min(int(chance.lognormvariate(6.2, 1.3)) + 8, 60_000)
    text = ("refactor this function " if chance.random() < 0.1 else "tell me about it ") + "and so on " * (tokens // 3)
    turns = chance.choice((1, 1, 3, 5, 9))
    messages = [
        {"role": ("user", "assistant")[turn % 2], "content": text[: len(text) // turns]} for turn in range(turns)
    ]
    stream = chance.random() < 0.55
    body = orjson.dumps({"model": model.name, "messages": messages, "stream": stream})
    route_id = str(UUID(int=chance.getrandbits(48) << 80 | 7 << 76 | chance.getrandbits(60)))

    def decided() -> tuple[Any, RouteRequest]:
        facts = Facts(
            operation="chat",
            model=model.name,
            route_id=route_id,
            wall=1.8e9,
            body=body,
            stream=stream,
            session=session,
            key=KeyFacts(key.name),
            client_ip="10.0.0.1",
            headers={b"user-agent": b"x"},
        )
        request = RouteRequest(
            route_id,
            "chat",
            model.name,
            estimate_tokens=lambda: tokens,
            stream=stream,
            session=session,
            facts=facts,
        )
        return decide(snapshot, of_profile, request, live, 31.0, chance, timer=_clock(chance)), request

    decision, _ = decided()
    if session is not None and decision.pin is not None:
        affinity.answered(decision.pin, live, decision.place(0).target.id, 31.0)
        decision, _ = decided()
    packed = pack_decision(decision)
    places = tuple(_place(entry.target) for entry in decision.full_ranking())
    return Variant(model, stream, tokens, decision.strategy, decision.source, decision.matched_rule, places, packed)


def _clock(chance: Random) -> Callable[[], float]:
    """Time as stages take it: some microseconds each."""
    now = 0.0

    def timer() -> float:
        nonlocal now
        now += chance.lognormvariate(1.6, 0.8) / 1e6
        return now

    return timer


def _place(entry: Target) -> Place:
    return Place(entry.provider.slug, entry.id, UUID(entry.id).bytes, entry.endpoint, entry.region or "")
