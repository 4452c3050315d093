"""Which trace a request belongs to, and what its attempts tell their upstreams (W3C Trace Context). Used only where
there are traces (``SIGNALBOX_TRACES``); spans are made by the shipper, from the record that says where they belong.

A sound ``traceparent`` of the client makes the request a part of the client's trace; without one it begins a trace of
its own. Pure, some microseconds; must not import OpenTelemetry.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from history.tracing.ids import span_id, trace_id

if TYPE_CHECKING:
    from routes.gateway.exchange import Exchange

#: Version, trace, span, flags. A later version may say more after these; 255 is none.
_TRACEPARENT: Final = re.compile(
    rb"(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(-.*)?", re.DOTALL
)
_SAMPLED: Final = 0x01
#: The flags that we know, and so hand on: sampled, and that the trace's id was drawn at random.
_KNOWN_FLAGS: Final = 0x03
#: A longer ``tracestate`` need not be handed on, and would be kept with every record.
MAX_STATE: Final = 512
_HEADERS: Final = frozenset({b"traceparent", b"tracestate"})
_PARENT: Final = frozenset({b"traceparent"})
_NONE: Final[frozenset[bytes]] = frozenset()


class Sampler:
    """Whether a request has spans. ``ratio`` is decided by the trace's id, as OpenTelemetry's TraceIdRatioBased does,
    so that all who take part in a trace by the same ratio agree; ``parent_based``: only where the client has not."""

    __slots__ = ("_bound", "_parent_based")

    def __init__(self, parent_based: bool, ratio: float) -> None:
        self._parent_based = parent_based
        self._bound = round(ratio * 2**64)

    def samples(self, trace: bytes, flags: int | None) -> bool:
        """``flags`` are the client's; None = it has begun no trace."""
        if self._parent_based and flags is not None:
            return bool(flags & _SAMPLED)
        return int.from_bytes(trace[8:]) < self._bound


class Trace:
    """A request's place in its trace. ``recorded`` and ``state`` go into its records; empty = it has no spans.
    ``dropped``: the client's headers that do not go on."""

    __slots__ = ("_flags", "_route", "_trace", "dropped", "recorded", "state")

    def __init__(
        self, route: bytes, trace: bytes, parent: bytes, flags: int, state: str, dropped: frozenset[bytes]
    ) -> None:
        sampled = flags & _SAMPLED
        self._route = route
        self._trace = trace.hex()
        self._flags = flags
        self.recorded = trace + parent if sampled else b""
        self.state = state if sampled else ""
        self.dropped = dropped

    def traceparent(self, ordinal: int) -> bytes:
        """What the upstream of the ``ordinal``-th attempt is told: its spans hang below that attempt's."""
        return f"00-{self._trace}-{span_id(self._route, ordinal).hex()}-{self._flags:02x}".encode()


class Tracing:
    """Of a gateway process."""

    def __init__(self, sampler: Sampler) -> None:
        self._sampler = sampler

    def join(self, exchange: Exchange, index: dict[bytes, bytes]) -> None:
        """Find the request's trace. The client's ``traceparent`` ends here, its ``tracestate`` goes on with its trace;
        one that is not sound counts as none."""
        given = index.get(b"traceparent")
        route = exchange.id
        if given is not None and (found := _parsed(given, exchange.headers)) is not None:
            trace, parent, flags = found
            state = _state(exchange.headers) if b"tracestate" in index else ""
            dropped = _PARENT if state else _HEADERS
        else:
            trace, parent, flags, state = trace_id(route), b"", None, ""
            dropped = _HEADERS if given is not None or b"tracestate" in index else _NONE
        known = (flags or 0) & _KNOWN_FLAGS & ~_SAMPLED
        sampled = _SAMPLED if self._sampler.samples(trace, flags) else 0
        exchange.trace = Trace(route, trace, parent, known | sampled, state, dropped)


def _parsed(given: bytes, headers: list[tuple[bytes, bytes]]) -> tuple[bytes, bytes, int] | None:
    """Trace, span and flags; None = not a traceparent, or more than one."""
    found = _TRACEPARENT.fullmatch(given.strip(b" \t"))
    if found is None or (found[1] == b"00" and found[5] is not None):
        return None
    if sum(1 for name, _ in headers if name == b"traceparent") > 1:
        return None
    return bytes.fromhex(found[2].decode()), bytes.fromhex(found[3].decode()), int(found[4], 16)


def _state(headers: list[tuple[bytes, bytes]]) -> str:
    """The client's ``tracestate``, which may be repeated; "" = none that can be handed on."""
    state = b",".join([value for name, value in headers if name == b"tracestate"])
    return state.decode("ascii") if len(state) <= MAX_STATE and state.isascii() else ""
