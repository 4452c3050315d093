"""Which trace a request belongs to, and what its attempts tell their upstreams (W3C Trace Context). Used only where
there are traces (``SIGNALBOX_TRACES``); spans are made by the shipper, from the record that says where they belong.

A sound ``traceparent`` of the client makes the request a part of the client's trace; without one it begins a trace of
its own. Pure, some microseconds; must not import OpenTelemetry.
"""

from __future__ import annotations

import re
from binascii import hexlify, unhexlify
from typing import TYPE_CHECKING, Final

from history.tracing.ids import span_id, trace_id

if TYPE_CHECKING:
    from routes.gateway.exchange import Exchange

#: Trace, span, flags, behind the version.
_PARTS: Final = re.compile(rb"-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}").match
_VERSION: Final = re.compile(rb"(?!ff)[0-9a-f]{2}").match
#: Of all of it. A later version than the first may say more behind that, after another hyphen.
_SIZE: Final = 55
_SAMPLED: Final = 0x01
#: As they are sent -> those that we know, and so hand on: sampled, and that the trace's id was drawn at random.
_FLAGS: Final = {b"%02x" % flags: flags & 0x03 for flags in range(256)}
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

    def samples(self, low: bytes, flags: int | None) -> bool:
        """``low``: the second half of the trace's id. ``flags`` are the client's; None = it has begun no trace."""
        if self._parent_based and flags is not None:
            return bool(flags & _SAMPLED)
        return int.from_bytes(low, "big") < self._bound


class Trace:
    """A request's place in its trace. ``recorded`` and ``state`` go into its records; empty = it has no spans.
    ``dropped``: the client's headers that do not go on."""

    __slots__ = ("_flags", "_route", "_trace", "dropped", "recorded", "state")

    def __init__(
        self, route: bytes, trace: bytes, flags: int, recorded: bytes, state: str, dropped: frozenset[bytes]
    ) -> None:
        self._route = route
        self._trace = trace  # in hexadecimal, as it is sent
        self._flags = flags
        self.recorded = recorded
        self.state = state
        self.dropped = dropped

    def traceparent(self, ordinal: int) -> bytes:
        """What the upstream of the ``ordinal``-th attempt is told: its spans hang below that attempt's."""
        return b"00-%b-%016x-%02x" % (self._trace, span_id(self._route, ordinal), self._flags)


class Tracing:
    """Of a gateway process."""

    def __init__(self, sampler: Sampler) -> None:
        self._sampler = sampler

    def join(self, exchange: Exchange, index: dict[bytes, bytes]) -> None:
        """Find the request's trace. The client's ``traceparent`` ends here, its ``tracestate`` goes on with its trace;
        one that is not sound counts as none."""
        given, route = index.get(b"traceparent"), exchange.id
        if given is not None and (given := _sound(given, exchange.headers, index)) is not None:
            place, flags = unhexlify(given[3:35] + given[36:52]), _FLAGS[given[53:55]]
            state = _state(exchange.headers) if b"tracestate" in index else ""
            dropped = _PARENT if state else _HEADERS
            if self._sampler.samples(place[8:16], flags):
                exchange.trace = Trace(route, given[3:35], flags | _SAMPLED, place, state, dropped)
            else:
                exchange.trace = Trace(route, given[3:35], flags & ~_SAMPLED, b"", "", dropped)
            return
        own = trace_id(route)
        dropped = _HEADERS if b"traceparent" in index or b"tracestate" in index else _NONE
        if self._sampler.samples(own[8:], None):
            exchange.trace = Trace(route, hexlify(own), _SAMPLED, own, "", dropped)
        else:
            exchange.trace = Trace(route, hexlify(own), 0, b"", "", dropped)


def _sound(given: bytes, headers: list[tuple[bytes, bytes]], index: dict[bytes, bytes]) -> bytes | None:
    """A ``traceparent`` without the blanks around it; None = it is none, or there is more than one."""
    given = given.strip(b" \t")
    if _PARTS(given, 2) is None:
        return None
    if not given.startswith(b"00"):
        if _VERSION(given) is None or given[_SIZE : _SIZE + 1] not in (b"", b"-"):
            return None
    elif len(given) != _SIZE:
        return None
    repeated = len(index) != len(headers) and sum(1 for name, _ in headers if name == b"traceparent") > 1
    return None if repeated else given


def _state(headers: list[tuple[bytes, bytes]]) -> str:
    """The client's ``tracestate``, which may be repeated; "" = none that can be handed on."""
    state = b",".join([value for name, value in headers if name == b"tracestate"])
    return state.decode("ascii") if len(state) <= MAX_STATE and state.isascii() else ""
