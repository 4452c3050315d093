"""What happened, hour by hour: journal records with the distribution of real traffic.

Rates follow the day and the week; profiles, keys and models fall off by Zipf's law; latencies and tokens are log-normal
by model. One in twenty requests is not answered by a provider, in every way there is; one in forty is saved by a second
or third attempt; one row in a hundred carries a long message. Each hour has random numbers of its own, so the rows
are the same however many processes make them. No Django, no I/O.
"""

from __future__ import annotations

import math
from random import Random
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from uuid import UUID

from bench.history.world import AGENTS, PATH, Place, Team, Variant, World, place
from history.records import Attempt, Finished, Started

if TYPE_CHECKING:
    from collections.abc import Iterator

HOUR_MS: Final = 3_600_000

#: Shares of what is not plainly answered, as running sums: outcome, and how many of all requests.
FAILED, TIMEOUT, REJECTED, CANCELLED, INTERRUPTED, DECIDED = 0.0225, 0.0065, 0.013, 0.006, 0.001, 0.001
RECOVERED: Final = 0.025
#: Answered by a provider, with an error that is the client's own.
REFUSED: Final = 0.012
#: Of the messages, so that one row in a hundred has a long one.
LONG: Final = 0.2
WITH_SESSION: Final = 0.6

# fmt: off
#: error class, HTTP status of the attempt, weight: from common to very rare
_ERRORS: Final = (
    ("upstream_5xx", 503, 300), ("rate_limited", 429, 250), ("overloaded", 529, 120), ("connect_refused", None, 80),
    ("reset_before_headers", None, 60), ("connect_timeout", None, 40), ("error_in_200", 200, 30),
    ("truncated", 200, 25), ("invalid_response", 200, 20), ("auth_failed", 401, 18), ("quota_exhausted", 429, 15),
    ("reset_midstream", 200, 15), ("tls", None, 8), ("upstream_framing", 200, 5), ("internal", None, 3),
    ("dns", None, 2), ("upstream_redirect", 302, 1),
)
_TIMEOUTS: Final = (
    ("timeout_first_event", 60_000, 50), ("timeout_first_byte", 30_000, 30), ("timeout_idle", 20_000, 15),
    ("timeout_total", 120_000, 5),
)
_REJECTIONS: Final = (
    ("rate_limited", 429, 40), ("model_not_found", 404, 20), ("insufficient_quota", 429, 10),
    ("permission_denied", 403, 10), ("missing_field", 400, 6), ("invalid_field", 400, 5),
    ("no_target_available", 503, 4), ("invalid_json", 400, 3), ("request_too_large", 413, 1),
    ("profile_not_found", 404, 1),
)
_REFUSALS: Final = (("client_error", 400, 70), ("context_length", 400, 20), ("content_filter", 400, 10))
# fmt: on
_STAGE_US: Final = tuple(int(Random(n).lognormvariate(2.6, 0.9) * 10) / 10 for n in range(997))
_TEXT: Final = (
    "the upstream answered that it could not take the request because its queue was full and asked to come back later; "
    "model deployment region capacity invalid parameter messages content tool call schema expected string got array"
)
_WORDS: Final = tuple(_TEXT.split())


class Choice(NamedTuple):
    """Entries by weight, ready to draw from."""

    entries: tuple[Any, ...]
    sums: tuple[float, ...]

    @classmethod
    def of(cls, table: tuple[tuple[Any, ...], ...]) -> Choice:
        total, running, sums = sum(entry[-1] for entry in table), 0, []
        for entry in table:
            running += entry[-1]
            sums.append(running / total)
        return cls(table, tuple(sums))

    def draw(self, chance: Random) -> Any:
        return self.entries[place(self.sums, chance.random())]


ERRORS, TIMEOUTS, REJECTIONS, REFUSALS = (Choice.of(each) for each in (_ERRORS, _TIMEOUTS, _REJECTIONS, _REFUSALS))


class Hour(NamedTuple):
    """One hour to be made. ``number`` counts from the oldest; ``old``: the profile that was given up is still used."""

    number: int
    start_ms: int
    requests: int
    old: bool


def hours(rows: int, days: int, end_ms: int) -> list[Hour]:
    """``rows`` requests over the days before ``end_ms``, oldest hour first: busy by day, quiet at the weekend."""
    count = days * 24
    start_ms = end_ms - count * HOUR_MS
    weights = []
    for number in range(count):
        hour_of_week = (start_ms // HOUR_MS + number + 72) % 168  # the epoch began on a Thursday
        day, hour = divmod(hour_of_week, 24)
        weights.append((0.25 + math.exp(-(((hour - 14) / 4.5) ** 2))) * (0.35 if day >= 5 else 1.0))
    total, given, found = sum(weights), 0, []
    running = 0.0
    for number, weight in enumerate(weights):
        running += weight
        upto = round(rows * running / total)
        found.append(Hour(number, start_ms + number * HOUR_MS, upto - given, number < count // 10))
        given = upto
    return found


def records(world: World, seed: int, hour: Hour) -> Iterator[Finished | Started]:
    """Every request of the hour, by time."""
    chance = Random(f"{seed}:{hour.number}")
    moments = sorted([int(chance.random() * HOUR_MS) for _ in range(hour.requests)])
    sessions = max(1, hour.requests // 10)
    for offset in moments:
        at_ms = hour.start_ms + offset
        number, team = None, world.given_up
        if not hour.old or chance.random() > 0.0002:
            if chance.random() < WITH_SESSION:
                # A conversation began in this hour or one of the two before; who holds it follows from its number.
                number = (hour.number - int(chance.random() ** 3 * 3)) * 1_000_003 + int(
                    chance.random() ** 2 * sessions
                )
                team = world.team(_mixed(number, 1))
            else:
                team = world.team(chance.random())
        yield _request(world, team, number, at_ms, chance)


def _mixed(number: int, salt: int) -> float:
    """A number in [0, 1) that follows from another."""
    mixed = (number + salt * 0x9E3779B97F4A7C15) * 0xBF58476D1CE4E5B9 & (1 << 64) - 1
    mixed = (mixed ^ mixed >> 31) * 0x94D049BB133111EB & (1 << 64) - 1
    return (mixed ^ mixed >> 29) / 2**64


def _request(world: World, team: Team, session: int | None, at_ms: int, chance: Random) -> Finished | Started:
    identifier = (at_ms << 80 | 7 << 76 | chance.getrandbits(12) << 64 | 2 << 62 | chance.getrandbits(62)).to_bytes(
        16, "big"
    )
    keys = team.keys
    if session is None:
        variant, key = team.fresh[int(chance.random() * len(team.fresh))], keys[int(chance.random() ** 2 * len(keys))]
        client = world.clients[int(chance.random() ** 2 * len(world.clients))]
        session_key = None
    else:
        variant = team.pinned[int(_mixed(session, 2) * len(team.pinned))]
        key = keys[int(_mixed(session, 3) ** 2 * len(keys))]
        client = world.clients[int(_mixed(session, 4) * len(world.clients))]
        session_key = str(UUID(int=int(_mixed(session, 5) * 2**64) << 64 | int(_mixed(session, 6) * 2**64)))
    model = variant.model
    common = {
        "id": identifier,
        "profile_id": team.identifier,
        "profile": team.slug,
        "key_id": key.identifier,
        "key_name": key.name,
        "session_key": session_key,
        "operation": "chat",
        "path": PATH,
        "client_ip": client,
        "requested_model": model.name,
    }
    draw = chance.random()
    if draw < INTERRUPTED:
        first = variant.places[0]
        return Started(
            **common,
            strategy=variant.strategy,
            endpoint_id=first.target_bytes,
            provider=first.provider,
            model=model.name,
            revision=42,
        )
    common["wire"] = "openai"
    common["stream"] = variant.stream
    common["user_agent"] = AGENTS[int(chance.random() ** 2 * len(AGENTS))]
    draw -= INTERRUPTED
    if draw < REJECTED:
        code, status, _ = REJECTIONS.draw(chance)
        latency = int(chance.lognormvariate(6, 0.5))
        return Finished(
            **common, status="rejected", http_status=status, error_code=code, message=_message(chance, code),
            latency_us=latency, revision=42,
        )  # fmt: skip
    common["decision"] = _packed(variant, at_ms, client, key.name, chance)
    common.update(
        strategy=variant.strategy, source=variant.source, rule=variant.rule, revision=42,
        selection_us=int(chance.lognormvariate(4.6, 0.5)),
    )  # fmt: skip
    draw -= REJECTED
    first = variant.places[0]
    if draw < DECIDED:
        return Finished(**common, status="decided", **_target(first, model.name))
    draw -= DECIDED
    if draw < CANCELLED:
        return _cancelled(common, variant, at_ms, chance)
    draw -= CANCELLED
    if draw < FAILED + TIMEOUT:
        return _failed(common, variant, at_ms, chance, timed_out=draw < TIMEOUT)
    draw -= FAILED + TIMEOUT
    if draw < REFUSED:
        code, status, _ = REFUSALS.draw(chance)
        latency = int(chance.lognormvariate(math.log(300_000), 0.6))
        attempt = _attempt(first, model.name, at_ms, latency, status=status, error_class=code)
        return Finished(
            **common, **_target(first, model.name), status="routed", http_status=status, error_code=code,
            message=_message(chance, code), latency_us=latency + 900, ttfb_us=latency, attempts=[attempt],
            attempt_count=1,
        )  # fmt: skip
    return _routed(common, variant, at_ms, chance, recovered=draw - REFUSED < RECOVERED)


def _routed(common: dict[str, Any], variant: Variant, at_ms: int, chance: Random, *, recovered: bool) -> Finished:
    model, attempts, lost = variant.model, [], 0
    places = variant.places
    if recovered:
        for number in range(1 if chance.random() < 0.8 else 2):
            attempts.append(_failing(places[number % len(places)], model.name, at_ms + lost // 1000, chance))
            lost += attempts[-1].latency_us
    chosen = places[len(attempts) % len(places)]
    latency = int(model.median_ms * 1000 * math.exp(chance.gauss(0, model.sigma)))
    ttfb = int(latency * (0.15 + 0.2 * chance.random())) if variant.stream else latency - 300
    output = int(chance.lognormvariate(5.3, 0.9)) + 1
    inputs = max(1, int(variant.tokens * (0.9 + 0.2 * chance.random())))
    cached = inputs // 2 if chance.random() < 0.2 else 0
    size = output * (250 if variant.stream else 5) + 600
    attempts.append(_attempt(chosen, model.name, at_ms + lost // 1000 + 1, latency, ttfb=ttfb, size=size))
    return Finished(
        **common,
        **_target(chosen, model.name),
        status="routed",
        http_status=200,
        latency_us=lost + latency + 1200,
        ttfb_us=lost + ttfb + 900,
        attempt_count=len(attempts),
        attempts=attempts,
        recovered=recovered,
        input_tokens=inputs,
        output_tokens=output,
        cached_tokens=cached,
        cost_micro_usd=round(inputs * model.input_price + output * model.output_price),
    )


def _failed(common: dict[str, Any], variant: Variant, at_ms: int, chance: Random, *, timed_out: bool) -> Finished:
    model, attempts, lost = variant.model.name, [], 0
    places = variant.places
    for number in range(chance.choice((1, 2, 2, 3))):
        attempts.append(
            _failing(places[number % len(places)], model, at_ms + lost // 1000, chance, timed_out=timed_out)
        )
        lost += attempts[-1].latency_us
    last = places[(len(attempts) - 1) % len(places)]
    code = attempts[-1].error_class or "internal"
    return Finished(
        **common,
        **_target(last, model),
        status="timeout" if timed_out else "failed",
        http_status=504 if timed_out else 502,
        error_code=code,
        message=_message(chance, code),
        latency_us=lost + 900,
        attempt_count=len(attempts),
        attempts=attempts,
    )


def _cancelled(common: dict[str, Any], variant: Variant, at_ms: int, chance: Random) -> Finished:
    latency, first, model = int(chance.lognormvariate(14, 0.8)), variant.places[0], variant.model.name
    attempt = _attempt(first, model, at_ms + 1, latency, status=None, error_class="cancelled")
    return Finished(
        **common, **_target(first, model), status="cancelled", error_code="cancelled", latency_us=latency + 500,
        attempts=[attempt], attempt_count=1,
    )  # fmt: skip


def _failing(at: Place, model: str, at_ms: int, chance: Random, *, timed_out: bool = False) -> Attempt:
    if timed_out:
        code, limit_ms, _ = TIMEOUTS.draw(chance)
        return _attempt(
            at, model, at_ms, limit_ms * 1000, status=None, error_class=code, message=_message(chance, code)
        )
    code, status, _ = ERRORS.draw(chance)
    latency = int(chance.lognormvariate(11.5, 1.2))
    return _attempt(at, model, at_ms, latency, status=status, error_class=code, message=_message(chance, code))


def _attempt(
    at: Place, model: str, at_ms: int, latency_us: int, *, ttfb: int | None = None, size: int = 0,
    status: int | None = 200, error_class: str | None = None, message: str = "",
) -> Attempt:  # fmt: skip
    return Attempt(
        provider=at.provider,
        model=model,
        target=at.target,
        endpoint=at.endpoint,
        http_status=status,
        error_class=error_class,
        message=message,
        started_ms=at_ms,
        ttfb_us=ttfb,
        latency_us=latency_us,
        bytes=size,
    )


def _target(at: Place, model: str) -> dict[str, Any]:
    return {
        "endpoint_id": at.target_bytes,
        "endpoint": at.endpoint,
        "region": at.region,
        "provider": at.provider,
        "model": model,
    }


def _packed(variant: Variant, at_ms: int, client: str, key: str, chance: Random) -> dict[str, Any]:
    """The decision with what differs from request to request."""
    packed = variant.packed.copy()
    packed["t"] = [[here, there, _STAGE_US[int(chance.random() * len(_STAGE_US))]] for here, there, _ in packed["t"]]
    if "f" in packed:
        packed["f"] = packed["f"] | {
            "key.name": key,
            "percent": int(chance.random() * 10_000) / 100,
            "client_ip": client,
            "time": at_ms / 1000,
        }
    return packed


def _message(chance: Random, code: str) -> str:
    if chance.random() >= LONG:
        return f"{code.replace('_', ' ')} while the request was with the upstream"
    words = int(60 + 240 * chance.random())
    return f"{code}: " + " ".join([_WORDS[int(chance.random() * len(_WORDS))] for _ in range(words)])
