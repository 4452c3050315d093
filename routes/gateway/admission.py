"""The steps of every routed request before its first attempt, be it HTTP or a WebSocket: who is asking, under which
profile, what its body says, and where it should go. Memory only: nothing here awaits or does I/O.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from uuid_utils import uuid7

from routes.engine.pipeline import decide
from routes.engine.types import MODEL_OPTIONAL, SERVICE
from routes.gateway import intake, route_request
from routes.gateway.auth import authenticate, presented_value, require_route_scope
from routes.gateway.errors import BadRequest, Forbidden, NoTargetAvailable, NotFound, RateLimited, Unauthenticated
from routes.gateway.exchange import Exchange

if TYPE_CHECKING:
    from routes.engine.snapshot import Profile
    from routes.engine.types import Decision
    from routes.gateway.endpoints import Endpoint, Match
    from routes.gateway.errors import Refusal
    from routes.gateway.intake import BodyHead
    from routes.gateway.state import Config, GatewayState

#: Seconds after which a client may come back when nobody knows better.
RETRY_SOON = 1.0

#: Operations whose answers may be streams of events that we know.
STREAMED = frozenset({"chat", "completion", "responses", "messages", "image", "image_edit", "speech", "transcription"})

_KEY = ("key",)  # the label of the look-up of an access key
_NO_BODY = intake.BodyHead(model="")


def begin(state: GatewayState, scope: Any, match: Match, index: dict[bytes, bytes], method: str) -> Exchange:
    """The exchange of a request that has just arrived."""
    uuid = uuid7()
    identifier = uuid.bytes
    exchange = Exchange(
        id=identifier,
        route_id=str(uuid),
        accepted=time.monotonic(),
        accepted_ms=int.from_bytes(identifier[:6]),
        method=method,
        path=scope["raw_path"].decode("ascii"),
        query=scope["query_string"],
        headers=scope["headers"],
        client_ip=intake.client_address(scope["client"], index.get(b"x-forwarded-for"), state.settings.trusted_proxies),
        user_agent=index.get(b"user-agent", b"").decode("utf-8", "replace")[:512],
    )
    endpoint = match.endpoint
    if endpoint is not None:
        exchange.operation = endpoint.operation
        exchange.resource = endpoint.resource + match.rest
        exchange.wire = endpoint.wire
        exchange.endpoint = match.template
        exchange.answers = endpoint.answers
    if (endpoint is None or endpoint.operation == "models") and b"anthropic-version" in index:
        exchange.wire = "anthropic"
    return exchange


def admit(
    state: GatewayState,
    exchange: Exchange,
    index: dict[bytes, bytes],
    http_version: str,
    presented: bytes | None = None,
) -> Config:
    """Who is asking and whether their request is one. ``presented``: the key's value where it is in none of the usual
    headers. Sets ``exchange.key`` as soon as it is known. Raises Refusal."""
    config = state.config
    problem = intake.fault(exchange.headers, index, http_version)
    if config is None:
        raise NoTargetAvailable("no configuration has been published yet", code="not_ready", retry_after=RETRY_SOON)
    try:
        value = presented or presented_value(index.get(b"authorization"), index.get(b"x-api-key"))
        exchange.key = key = authenticate(value, config.overlay.keys)
        state.metrics.cache_hits.add(_KEY)
    except Unauthenticated:
        state.metrics.cache_misses.add(_KEY)
        if problem is not None:
            raise BadRequest(problem) from None
        raise
    exchange.snapshot = config.snapshot
    if problem is not None:
        raise BadRequest(problem)
    require_route_scope(key)
    return config


def choose_profile(exchange: Exchange, match: Match) -> Profile:
    """The profile of the path, else the key's. Raises NotFound or Forbidden."""
    key, snapshot = exchange.key, exchange.snapshot
    assert key is not None
    assert snapshot is not None
    slug = match.profile or key.profile
    profile = snapshot.profiles.get(slug)
    if profile is None:
        raise NotFound(f"there is no profile {slug!r}", code="profile_not_found")
    if not key.may_use_profile(slug):
        raise Forbidden(f"this access key may not use profile {slug!r}")
    exchange.profile = profile
    return profile


def understand(exchange: Exchange, endpoint: Endpoint, index: dict[bytes, bytes]) -> BodyHead:
    """Read what routing needs of ``exchange.body``. Raises BadRequest or Forbidden."""
    optional = endpoint.operation in MODEL_OPTIONAL
    content_type = index.get(b"content-type", b"")
    if endpoint.body == "json" or (endpoint.body == "form" and not _is_form(content_type)):
        head = intake.parse_body(exchange.body, model_optional=optional)
    elif endpoint.body == "form":
        head, exchange.form = intake.parse_form(exchange.body, content_type, model_optional=optional)
    elif endpoint.operation == "realtime":
        head = intake.parse_query(exchange.query)
    else:
        head = _NO_BODY
    exchange.model = head.model
    exchange.stream = endpoint.operation in STREAMED and head.streams(endpoint.operation)
    exchange.thinking = head.thinks
    exchange.asked_for_usage = head.asks_for_usage
    check_model(exchange)
    return head


def check_model(exchange: Exchange) -> None:
    """Whether the key may use the model. Raises Forbidden."""
    key, model = exchange.key, exchange.model
    assert key is not None
    if model:
        if not key.may_use_model(model):
            raise Forbidden(f"this access key may not use model {model!r}")
    elif key.models is not None and exchange.operation != SERVICE:
        raise Forbidden("this access key may use some models only, so the request must name one", param="model")


def decide_route(
    state: GatewayState, exchange: Exchange, config: Config, head: BodyHead, index: dict[bytes, bytes]
) -> Decision:
    """Run the pipeline; ``exchange.decision`` is set also where nothing is left. Raises Refusal."""
    key, profile = exchange.key, exchange.profile
    assert key is not None
    assert profile is not None
    request = route_request.build(state, exchange, head, index)
    exchange.debug = key.debug and index.get(b"x-route-debug") == b"1"
    before = time.perf_counter()
    exchange.decision = decision = decide(config.snapshot, profile, request, state.live, state.clock(), state.rng)
    exchange.selection_us = int((time.perf_counter() - before) * 1e6)
    state.recorder.decided(exchange, decision, config.regions)
    if decision.place(0) is None:
        raise _nothing_left(state, exchange, decision)
    return decision


def _nothing_left(state: GatewayState, exchange: Exchange, decision: Decision) -> Refusal:
    """Why a decision without a target is refused."""
    profile = decision.profile
    if decision.unserved:
        if exchange.operation == SERVICE:
            message = f"profile {profile.slug!r} has no target for service requests: they go to generic providers"
            return NotFound(message)
        message = f"no target of profile {profile.slug!r} serves model {exchange.model!r} at {exchange.resource}"
        return NotFound(message, code="model_not_found", param="model")
    wait = RETRY_SOON
    if decision.retry_at is not None and not any_is_busy(decision):
        wait = max(RETRY_SOON, decision.retry_at - state.clock())
    if decision.all_rate_limited:
        return RateLimited(retry_after=wait)
    return NoTargetAvailable(f"no target of profile {profile.slug!r} is available", retry_after=wait)


def any_is_busy(decision: Decision) -> bool:
    """Whether somebody was left out only for having as many requests as it takes at once: that may end any moment."""
    return any(exclusion.code == "at_capacity" for exclusion in decision.excluded)


def _is_form(content_type: bytes) -> bool:
    return content_type.lower().startswith(b"multipart/form-data")
