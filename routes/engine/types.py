"""The vocabulary of the engine: requests, candidates, decisions, outcomes.

Everything here is a plain value. Objects made once per request are slotted and built positionally where it
is hot. Times are seconds of the caller's monotonic clock unless a name says ``_ms`` or ``_us``; target,
provider and profile ids are lower-case UUID strings; ``model`` names follow the contract: ``r`` asked for by
the client, ``m`` configured on the target (or ``r``), ``u`` what is sent upstream.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from routes.engine.facts import Facts
    from routes.engine.profile import Profile, Rule
    from routes.engine.provider import Target

Wire = Literal["openai", "anthropic", "generic"]

#: What a request asks an upstream to do; also what decides its ``model_type`` metric label (see ``MODEL_TYPES``).
Operation = Literal[
    "chat",
    "completion",
    "responses",
    "embedding",
    "moderation",
    "rerank",
    "image",
    "image_edit",
    "image_variation",
    "speech",
    "transcription",
    "translation",
    "messages",
    "count_tokens",
    "realtime",
    "service",
    "decision",
]

#: A request that its caller sends itself: any wire format will do, and it need not name a model.
DECISION = "decision"
#: A request that is passed through to a ``generic`` provider, whatever it is; models mean nothing to it.
SERVICE = "service"
#: What providers of such services speak.
SERVICE_WIRE: Wire = "generic"
#: A conversation over a WebSocket, in OpenAI's format.
REALTIME = "realtime"
#: Operations whose requests may leave the model to whoever serves them.
MODEL_OPTIONAL = frozenset({DECISION, SERVICE, "image", "image_edit", "image_variation", "moderation"})

#: Operations whose answers are made of tokens, and all that cost tokens.
GENERATING = frozenset({"chat", "completion", "responses", "messages"})
COUNTED = GENERATING | {"embedding", "moderation", "rerank"}

#: Operation -> ``model_type`` label of ``routing_decisions_total``.
MODEL_TYPES: dict[str, str] = {
    "chat": "chat",
    "messages": "chat",
    "count_tokens": "chat",
    "completion": "completion",
    "responses": "responses",
    "embedding": "embedding",
    "moderation": "moderation",
    "rerank": "rerank",
    "image": "image",
    "image_edit": "image",
    "image_variation": "image",
    "speech": "audio",
    "transcription": "audio",
    "translation": "audio",
    "realtime": "realtime",
    "service": "service",
}

_OPENAI: frozenset[Wire] = frozenset({"openai"})
_ANTHROPIC: frozenset[Wire] = frozenset({"anthropic"})
#: Operation -> the wire formats a provider may speak to serve it; absent = any.
OPERATION_WIRES: dict[str, frozenset[Wire]] = {
    **dict.fromkeys(MODEL_TYPES, _OPENAI),
    "messages": _ANTHROPIC,
    "count_tokens": _ANTHROPIC,
    SERVICE: frozenset({SERVICE_WIRE}),
}
#: The same in revisions that let conversations be translated into the other format. Older ones are told as they were.
TRANSLATED_WIRES = OPERATION_WIRES | dict.fromkeys(("chat", "messages"), _OPENAI | _ANTHROPIC)

#: Closed list: history column, filter and metric label.
ERROR_CLASSES = (
    "connect_refused",
    "connect_timeout",
    "dns",
    "tls",
    "reset_before_headers",
    "timeout_first_byte",
    "timeout_first_event",
    "timeout_idle",
    "timeout_total",
    "rate_limited",
    "auth_failed",
    "quota_exhausted",
    "upstream_5xx",
    "overloaded",
    "invalid_response",
    "error_in_200",
    "truncated",
    "reset_midstream",
    "context_length",
    "content_filter",
    "client_error",
    "upstream_redirect",
    "upstream_framing",
    "too_large",
    "cancelled",
    "internal",
)

AdminState = Literal["active", "draining", "disabled"]
CircuitState = Literal["closed", "open", "half_open"]
Source = Literal["affinity", "smart_routing", "load_balancer", "pinned", "none"]


class Requirements(NamedTuple):
    """What a request asks of the head that is to serve it."""

    version: str | None = None
    model_size: str | None = None  # as people write it: "70b"
    capabilities: frozenset[str] = frozenset()


@dataclass(slots=True)
class RouteRequest:
    """What the engine needs to know of one request. Text is never here: ``facts`` look at it when a rule asks."""

    route_id: str  # UUIDv7, lower case with hyphens; also the input of every stable hash
    operation: str  # an Operation
    model: str  # r: the name the client asked for
    stream: bool = False
    session: str | None = None
    key_id: str = ""
    region: str | None = None
    only: frozenset[str] | None = None  # provider slugs from ``x-route-provider``; None = any
    exclude: frozenset[str] = frozenset()  # provider slugs written ``!slug``
    strategy: str | None = None  # override by ``x-route-strategy``, already normalised and known
    estimate_tokens: Callable[[], int] | None = None  # input tokens; called at most once, only when a strategy needs it
    max_output_tokens: int | None = None
    tags: frozenset[str] = frozenset()  # from ``x-route-tags``
    facts: Facts | None = None  # None: no rule can match
    model_type: str | None = None  # the type of head that is asked for
    requirements: Requirements | None = None
    #: id of the target that an earlier response came from, which this request goes on with: nobody else has it
    origin: str | None = None


class Exclusion(NamedTuple):
    """Why a configured target was not ranked. ``code`` is stable and rendered to words on read."""

    target: Target
    stage: str
    code: str
    value: float | str | None = None


class Ranked(NamedTuple):
    """One place of the ranking. ``code`` + ``value`` say why it stands there ("ewma", 0.045)."""

    target: Target
    model: str  # u: what will be sent upstream
    code: str
    value: float | str | None = None


class StageEntry(NamedTuple):
    """One line of the trace: candidates in and out, and how long it took."""

    stage: str
    candidates_in: int
    candidates_out: int
    us: float


class PinPlan:
    """What a decision made of the session's pin, and what an answer will make of it (``affinity.answered``)."""

    __slots__ = ("honoured", "keep", "key", "pinned_at", "profile_id", "session", "sliding", "target_id", "ttl")

    def __init__(self, key: bytes, profile_id: str, session: str, ttl: float, sliding: bool) -> None:
        self.key = key  # 16 bytes, see ``affinity.pin_key``
        self.profile_id = profile_id
        self.session = session
        self.ttl = ttl
        self.sliding = sliding
        self.target_id: str | None = None  # of the pin found
        self.pinned_at = 0.0  # when it was set, on the engine's clock
        self.honoured = False
        self.keep = False  # only slow start stands in its way: whoever answers, it stays


@dataclass(slots=True)
class Decision:
    """The result of one run of the pipeline, and everything needed to explain it.

    ``ranking`` iterates best first; the tail may be computed on demand, ``ranked`` holds what was computed.
    Every target of the profile, its rules' included, is either in the full ranking or in ``excluded``, exactly once.
    """

    profile: Profile
    revision: int
    source: Source
    strategy: str  # the one that ranked; "none" when nothing was left
    excluded: list[Exclusion]
    stages: list[StageEntry]
    degraded: bool = False
    matched_rule: str | None = None
    matched_rule_index: int = -1
    inputs: dict[str, Any] = field(default_factory=dict)  # draws and counter values used: enough to replay it
    ranked: list[Ranked] = field(default_factory=list)
    tail: Iterator[Ranked] | None = None
    #: Soonest moment (engine clock) an excluded target may serve again; None when unknown.
    retry_at: float | None = None
    #: True when every candidate is rate-limited (one of them may be tried all the same, see ``panic``).
    all_rate_limited: bool = False
    #: > 0 for a degraded decision: make one attempt only, and claim it with this cap on what may be in flight
    #: on its target (``live.claim(…, panic=decision.panic)``).
    panic: int = 0
    #: No target of the profile serves this model over this wire format: ``model_not_found``.
    unserved: bool = False
    operation: str = ""  # of the request, as is the model: they say which candidates there were
    model: str = ""
    rule: Rule | None = None  # the one that matched
    pin: PinPlan | None = None  # None: the request has no session, or the profile does not pin
    variant: str | None = None  # of an ``ab_test``
    replaced: str | None = None  # the strategy that is written, where policy switched it off
    #: the strategy that ranks this part, also when a pin went before it, one candidate or none was left
    would_rank: str = ""
    #: the ranking follows from revision, exclusions and ``inputs``, so a record of it need not list it
    replayable: bool = False
    facts: dict[str, Any] = field(default_factory=dict)  # of a decision read back; else ``request.facts`` has them
    request: RouteRequest | None = None  # what was decided; its wishes are part of the record

    def place(self, index: int) -> Ranked | None:
        """The target at ``index`` of the ranking, computing the tail as far as needed."""
        while len(self.ranked) <= index:
            if self.tail is None:
                return None
            following = next(self.tail, None)
            if following is None:
                self.tail = None
                return None
            self.ranked.append(following)
        return self.ranked[index]

    def full_ranking(self) -> Sequence[Ranked]:
        """The whole ranking; computes what is left of the tail."""
        if self.tail is not None:
            self.ranked.extend(self.tail)
            self.tail = None
        return self.ranked


class Outcome(NamedTuple):
    """What one attempt taught us about its target.

    ``verdict``: ``success`` (complete valid answer, or first content event of a stream), ``failure``
    (counts against the target) or ``neutral`` (4xx, 429, auth, cancel, our own errors: releases a half-open
    slot and changes nothing).
    """

    verdict: Literal["success", "failure", "neutral"]
    error_class: str | None = None
    latency_s: float = 0.0
    first_event_s: float | None = None  # streams: time to first content event
    output_tokens: int | None = None
    stream: bool = False
    #: The time-out the attempt ran under (``first_event`` for streams, else ``first_byte``): what a failure
    #: counts as in latency statistics. 0 = count the latency it had.
    timeout_s: float = 0.0
    http_status: int | None = None  # of the upstream's answer, if there was one


class Transition(NamedTuple):
    """A circuit changed state. ``reason`` is a stable code, one of ``circuit.REASONS``."""

    target_id: str
    before: CircuitState
    after: CircuitState
    reason: str
    at: float
