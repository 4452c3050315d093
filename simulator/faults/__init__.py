"""Every way a simulated provider can misbehave, by name.

Each fault is a small typed record that also knows how to play itself; `CATALOGUE` is what behaviour documents are read
against and what the table in the documentation is checked against.
"""

from __future__ import annotations

from simulator.faults import bodies, connections, framing, sockets, statuses, streams
from simulator.faults.base import Fault, Scene

AnyFault = (
    connections.Refused
    | connections.ResetOnConnect
    | connections.ResetBeforeHeaders
    | connections.CloseBeforeHeaders
    | connections.HangBeforeHeaders
    | connections.HangAfterHeaders
    | connections.KeepaliveRace
    | connections.IdleClose
    | connections.SlowDrip
    | bodies.ResetMidBody
    | bodies.CutMidBody
    | bodies.StallMidBody
    | bodies.CutJson
    | bodies.InvalidJson
    | bodies.HtmlIn200
    | bodies.ErrorIn200
    | bodies.IgnoreStream
    | bodies.Gzip
    | bodies.HugeBody
    | bodies.EndlessBody
    | streams.ResetMidStream
    | streams.CutMidStream
    | streams.EndWithoutTerminator
    | streams.NoDone
    | streams.SlowFirstContent
    | streams.IdleStall
    | streams.MalformedEvent
    | streams.ErrorEvent
    | statuses.Status
    | statuses.RateLimited
    | statuses.Billing
    | statuses.ContextLength
    | statuses.ContentFilter
    | statuses.Redirect
    | statuses.EarlyHints
    | framing.Framing
    | sockets.BadAccept
    | sockets.WrongSubprotocol
    | sockets.Close
    | sockets.Reset
    | sockets.Stall
    | sockets.NoPong
    | sockets.HalfClose
)

CATALOGUE: dict[str, type[Fault]] = {str(kind.__struct_config__.tag): kind for kind in AnyFault.__args__}

__all__ = ["CATALOGUE", "AnyFault", "Fault", "Scene"]
