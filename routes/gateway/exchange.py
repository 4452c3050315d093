"""One request's way through the gateway, as one slotted object that every step reads and fills in.

Created at accept by ``app``, filled by ``auth``, ``intake``, ``attempts`` and ``relay``, turned into journal
records by ``recorder``. Holds no references after the answer is sent. Must not import anything that does I/O.

**A client that leaves** is not awaited anywhere: the protocol sets ``client_gone`` and cancels the request's
task, so a disconnect costs nothing while the client stays. Whoever catches that ``CancelledError`` closes what
it holds and records *before its next await*: ``cancelled`` when ``client_gone``, else (the drain time is over)
``interrupted``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from history.records import Attempt
    from routes.engine.facts import Facts
    from routes.engine.snapshot import Profile, Snapshot
    from routes.engine.types import Decision, Ranked
    from routes.gateway.auth import AccessKey
    from routes.gateway.endpoints import Answers
    from routes.gateway.limits import Admission
    from routes.gateway.payloads.copy import AnswerCopy
    from routes.gateway.tracing import Trace
    from routes.gateway.wire.form import Form


@dataclass(slots=True)
class Usage:
    """Tokens as the upstream reported them, or our estimate; None = unknown."""

    input: int | None = None
    output: int | None = None
    cached: int | None = None
    estimated: bool = False


@dataclass(slots=True)
class Exchange:
    """State of one request. Moments are of ``time.monotonic``; ``accepted_ms`` is Unix time."""

    id: bytes  # UUIDv7
    route_id: str  # the same as text
    accepted: float
    accepted_ms: int  # the time inside the id
    method: str
    path: str  # as the client sent it, without query
    query: bytes
    headers: list[tuple[bytes, bytes]]  # names in lower case, client's order; values decode as UTF-8
    client_ip: str = ""
    user_agent: str = ""
    operation: str = ""  # routes.engine.types.Operation
    resource: str = ""  # what follows the provider's base_url: "/chat/completions"
    endpoint: str = "other"  # route template: the metric label, never what the client sent
    wire: str = "openai"  # the client's wire format
    key: AccessKey | None = None
    snapshot: Snapshot | None = None  # the one revision this request sees
    profile: Profile | None = None
    debug: bool = False  # asked for with ``x-route-debug`` by a key that may
    body: bytes = b""
    form: Form | None = None  # where the fields of an upload are
    answers: Answers = "document"  # what a whole answer is
    asked_for_usage: bool = False  # the client wants its stream to say what was used
    received: float = 0.0  # when the body was complete; our own overhead counts from here
    model: str = ""
    stream: bool = False
    thinking: bool = False  # asks for thinking or reasoning: longer time-outs
    session: str | None = None
    region: str | None = None  # requested one: header, else the key's, else where the client is
    tags: frozenset[str] = frozenset()
    facts: Facts | None = None  # once a rule or a strategy asked for one
    decision: Decision | None = None
    selection_us: int = 0
    started_written: bool = False
    announced: bool = False  # and the journal has it, so that it is owed the end
    #: place of the ranking that answered, or was tried last; set before each attempt
    place: Ranked | None = None
    attempts: list[Attempt] = field(default_factory=list)
    first_sent: float | None = None  # when the first attempt was sent; set by the recorder
    ttfb_us: int | None = None  # from accept to the first byte for the client
    usage: Usage = field(default_factory=Usage)
    copy: AnswerCopy | None = None  # of its answer, where payloads are kept
    trace: Trace | None = None  # which it belongs to, where there are traces
    admission: Admission | None = None  # what its key and profile let it take, until it is given back
    note: str = ""  # for the record's message: malformed events dropped and the like
    #: what was measured beside durations: (name, value, unit)
    metrics: list[tuple[str, float, str]] = field(default_factory=list)
    client_gone: bool = False
    finished: bool = False
