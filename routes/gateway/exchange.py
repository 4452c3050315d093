"""One request's way through the gateway, as one slotted object that every step reads and fills in.

Created at accept by ``app``, filled by ``auth``, ``attempts`` and ``relay``, turned into journal records by
``recorder``. Holds no references after the answer is sent.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from history.records import Attempt
    from routes.engine.snapshot import Profile, Snapshot
    from routes.engine.types import Decision
    from routes.gateway.auth import AccessKey


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
    accepted_ms: int
    method: str
    path: str  # as the client sent it, without query
    query: bytes
    headers: list[tuple[bytes, bytes]]  # names in lower case, client's order
    client_ip: str = ""
    user_agent: str = ""
    operation: str = ""  # routes.engine.types.Operation
    resource: str = ""  # what follows the provider's base_url: "/chat/completions"
    wire: str = "openai"  # the client's wire format
    key: AccessKey | None = None
    snapshot: Snapshot | None = None  # the one revision this request sees
    profile: Profile | None = None
    body: bytes = b""
    model: str = ""
    stream: bool = False
    session: str | None = None
    decision: Decision | None = None
    selection_us: int = 0
    started_written: bool = False
    attempts: list[Attempt] = field(default_factory=list)
    ttfb_us: int | None = None
    usage: Usage = field(default_factory=Usage)
    note: str = ""  # for the record's message: malformed events dropped and the like
    finished: bool = False
