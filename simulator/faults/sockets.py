"""Faults of WebSockets: a wrong handshake, and what goes wrong once the connection is open.

They strike only requests to upgrade. `after_messages` counts messages received from the peer; each is answered first,
and 0 strikes as soon as the connection is open (after what the server says by itself).
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Annotated

import msgspec

from simulator.faults.base import Count, Fault, Scene, Seconds
from simulator.script import Script, honest

if TYPE_CHECKING:
    from simulator.script import Answer
    from simulator.websocket import Session

CloseCode = Annotated[int, msgspec.Meta(ge=1000, le=4999)]
Reason = Annotated[str, msgspec.Meta(max_length=30)]  # at four bytes a character it fits a control frame

# Codes that are never sent: RFC 6455, 7.4.1, and what it leaves unassigned below 3000.
_UNSENDABLE = frozenset({1004, 1005, 1006, *range(1015, 3000)})


class SocketFault(Fault, frozen=True):
    """A fault that strikes only requests to upgrade, which are never for a stream."""

    on_requests = False

    def __post_init__(self) -> None:
        if self.stream is not None:
            raise ValueError(f"stream means nothing for {self.__struct_config__.tag}")


class HandshakeFault(SocketFault, frozen=True):
    """Bends the head that accepts."""

    def play(self, scene: Scene) -> Script:
        answer = scene.answer()
        if answer.session is not None:  # else an honest refusal, such as a wrong key
            self.bend(answer)
        return honest(answer)

    def bend(self, answer: Answer) -> None:
        raise NotImplementedError


def _replace(answer: Answer, name: bytes, value: bytes) -> None:
    answer.headers = [header for header in answer.headers if header[0] != name] + [(name, value)]


class BadAccept(HandshakeFault, tag="ws_bad_accept", frozen=True):
    """A 101 whose Sec-WebSocket-Accept does not belong to the key."""

    def bend(self, answer: Answer) -> None:
        _replace(answer, b"sec-websocket-accept", b"c2ltdWxhdGVkIHNpbXVsYXRlZC4=")


class WrongSubprotocol(HandshakeFault, tag="ws_wrong_subprotocol", frozen=True):
    """A 101 that agrees on a subprotocol nobody offered."""

    def bend(self, answer: Answer) -> None:
        _replace(answer, b"sec-websocket-protocol", b"never-offered")


class OpenFault(SocketFault, frozen=True):
    """Strikes after the handshake."""

    after_messages: Count = 1

    def play(self, scene: Scene) -> Script:
        answer = scene.answer()
        if answer.session is not None:
            self.lay_on(answer.session)
        return honest(answer)

    def lay_on(self, session: Session) -> None:
        raise NotImplementedError


def _check_code(code: int) -> None:
    if code in _UNSENDABLE:
        raise ValueError(f"code: {code} is never sent in a close frame")


class Close(OpenFault, tag="ws_close", frozen=True):
    """A close frame with this code and reason."""

    code: CloseCode = 1011
    reason: Reason = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_code(self.code)

    def lay_on(self, session: Session) -> None:
        session.strike_after(self.after_messages, partial(session.close, self.code, self.reason))


class Reset(OpenFault, tag="ws_reset", frozen=True):
    """RST without a close frame."""

    def lay_on(self, session: Session) -> None:
        session.strike_after(self.after_messages, session.reset)


class Stall(OpenFault, tag="ws_stall", frozen=True):
    """Nothing is read or sent any more: for ever, or for `seconds`."""

    seconds: Seconds | None = None

    def lay_on(self, session: Session) -> None:
        session.strike_after(self.after_messages, partial(session.stall, self.seconds))


class NoPong(SocketFault, tag="ws_no_pong", frozen=True):
    """Pings are never answered; the rest works."""

    def play(self, scene: Scene) -> Script:
        answer = scene.answer()
        if answer.session is not None:
            answer.session.mute()
        return honest(answer)


class HalfClose(OpenFault, tag="ws_half_close", frozen=True):
    """A close frame, and then the connection stays open and unread."""

    code: CloseCode = 1000
    reason: Reason = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_code(self.code)

    def lay_on(self, session: Session) -> None:
        session.strike_after(self.after_messages, partial(session.half_close, self.code, self.reason))
