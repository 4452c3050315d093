"""Turns an exchange into what the engine is asked: session, region, tags, facts, wishes of the client. No I/O.

Whatever costs more than a look at a header is made only when a rule or a strategy asks for it: ``Facts`` parse the body
on first use, a region is looked up only where nobody named one.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Protocol

from routes.engine import strategies
from routes.engine.errors import EngineError
from routes.engine.facts import Facts
from routes.engine.strategies.consistent_hash import ConsistentHashParams
from routes.engine.types import SERVICE, RouteRequest
from routes.gateway import intake, sessions
from routes.gateway.errors import BadRequest, Forbidden

if TYPE_CHECKING:
    from collections.abc import Callable

    from routes.engine.facts import Calibration
    from routes.engine.live import LiveState
    from routes.gateway.exchange import Exchange
    from routes.gateway.geo import Geo
    from routes.gateway.intake import BodyHead

MAX_REGION_LENGTH = 64


def session_of(exchange: Exchange, head: BodyHead, index: dict[bytes, bytes], path_session: bytes | None) -> str | None:
    """The session a request belongs to: what the client says, else, where the profile wants it, its address."""
    session = intake.find_session(path_session, index.get(b"x-route-session"), head, exchange.wire)
    if session is None:
        assert exchange.profile is not None
        affinity = exchange.profile.affinity
        if affinity.client_ip and affinity.enabled and exchange.client_ip:
            return intake.inferred_session(exchange.client_ip)
    return session


class Asker(Protocol):
    """What this module reads of a gateway's state; explaining brings its own."""

    @property
    def live(self) -> LiveState: ...
    @property
    def calibration(self) -> Calibration: ...
    @property
    def geo(self) -> Geo | None: ...
    @property
    def clock(self) -> Callable[[], float]: ...


def build(asker: Asker, exchange: Exchange, head: BodyHead, index: dict[bytes, bytes]) -> RouteRequest:
    """The question for ``decide``; fills in what the exchange keeps of it. Raises BadRequest or Forbidden."""
    key, profile = exchange.key, exchange.profile
    assert key is not None
    assert profile is not None
    exchange.region = _region(asker, exchange, index)
    request = RouteRequest(
        exchange.route_id, exchange.operation, exchange.model, exchange.stream, exchange.session, key.id
    )
    request.region = exchange.region
    request.max_output_tokens = head.output_limit
    if b"x-route-tags" in index:
        request.tags = exchange.tags = intake.find_tags(exchange.headers)
    params = profile.base.choice.params
    if profile.rules or (isinstance(params, ConsistentHashParams) and params.fact):
        request.facts = facts_of(asker.live, exchange)
    if exchange.operation == "responses" and type(head.previous_response_id) is str:
        request.origin = sessions.origin(asker.live, key, profile, head.previous_response_id, asker.clock())
    if b"x-route-strategy" in index or b"x-route-provider" in index:
        _override(request, index, allowed=key.overrides)
    if profile.estimates or (request.strategy is not None and strategies.REGISTRY[request.strategy].estimates):
        # Nothing that leads back to the exchange, which holds the decision, which holds the request: what ends in a
        # circle is only found by the garbage collector.
        request.estimate_tokens = partial(_expected_tokens, asker.calibration, facts_of(asker.live, exchange))
    return request


def _region(asker: Asker, exchange: Exchange, index: dict[bytes, bytes]) -> str | None:
    """What the request says, else what its key says, else where its client is."""
    named = index.get(b"x-route-region")
    if named:
        return named.decode()[:MAX_REGION_LENGTH]
    assert exchange.key is not None
    assert exchange.snapshot is not None
    if exchange.key.region or asker.geo is None:
        return exchange.key.region
    regions = exchange.snapshot.policy.geo
    return asker.geo.region(exchange.client_ip, regions) if regions else None


def facts_of(live: LiveState, exchange: Exchange) -> Facts:
    """The request's facts, one object for all who ask."""
    if exchange.facts is None:
        key, profile, session = exchange.key, exchange.profile, exchange.session
        assert key is not None
        assert profile is not None
        exchange.facts = Facts(
            operation=exchange.operation,
            model=exchange.model,
            route_id=exchange.route_id,
            wall=exchange.accepted_ms / 1000,
            body=exchange.body if _is_json(exchange) else b"",
            stream=exchange.stream,
            session=session,
            region=exchange.region,
            tags=exchange.tags,
            headers=intake.index_headers(exchange.headers),
            key=key.facts,
            client_ip=exchange.client_ip,
            scenario=profile.scenario,
            last_input=None
            if session is None
            else partial(live.last_input, sessions.session_key(profile, key, session), exchange.received),
        )
        if not _is_json(exchange):
            exchange.facts.body_bytes = len(exchange.body) or None
    return exchange.facts


def _is_json(exchange: Exchange) -> bool:
    """Whether the body may be looked into: not an upload, and not what is passed through."""
    return exchange.form is None and exchange.operation != SERVICE


def estimate_tokens(live: LiveState, exchange: Exchange) -> int:
    """Input tokens by the documented rule of thumb; parses the body unless a rule already did."""
    return facts_of(live, exchange).tokens or 0


def expected_tokens(asker: Asker, exchange: Exchange) -> int:
    """Input tokens that the request will probably be counted as."""
    return _expected_tokens(asker.calibration, facts_of(asker.live, exchange))


def _expected_tokens(calibration: Calibration, facts: Facts) -> int:
    """The same, corrected by what answers to such requests have reported: for what a request will cost."""
    return calibration.read(facts.model or "", facts.tokens or 0)


def _override(request: RouteRequest, index: dict[bytes, bytes], *, allowed: bool) -> None:
    """What a client asks of the decision itself. Refused rather than ignored: it would be sent elsewhere."""
    if not allowed:
        raise Forbidden("this access key may not use x-route-strategy or x-route-provider")
    if strategy := index.get(b"x-route-strategy"):
        try:
            request.strategy = strategies.get(strategy.decode()).name
        except EngineError as error:
            raise BadRequest(f"x-route-strategy: {error}", code="invalid_field", param="x-route-strategy") from None
    words = [word.strip() for word in index.get(b"x-route-provider", b"").decode().split(",")]
    request.exclude = frozenset(word[1:] for word in words if word.startswith("!"))
    request.only = frozenset(word for word in words if word and not word.startswith("!")) or None
