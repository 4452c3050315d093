"""Faults of the connection itself: refused, reset, closed, silent, slow. No wire format is needed for any of them."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Annotated

import msgspec

from simulator.faults.base import Fault, Positive, Scene, Seconds
from simulator.script import Ending, Piece, Script, honest, own_head

if TYPE_CHECKING:
    from collections.abc import Iterator

    from simulator.connection import Request


class Refused(Fault, tag="refused", frozen=True):
    """The listener is closed and open connections are reset; `seconds`: until it comes back by itself."""

    seconds: Seconds | None = None

    def __post_init__(self) -> None:
        self.only_knows()

    def matches(self, request: Request, model: str | None, stream: bool) -> bool:
        return False  # the provider closes its listener: no request arrives


class ResetOnConnect(Fault, tag="reset_on_connect", frozen=True):
    """RST as soon as a connection is accepted."""

    def __post_init__(self) -> None:
        self.only_knows("times", "probability")

    def matches(self, request: Request, model: str | None, stream: bool) -> bool:
        return False  # taken when the connection is accepted


class ResetBeforeHeaders(Fault, tag="reset_before_headers", frozen=True):
    """RST once the request is read."""

    def play(self, scene: Scene) -> Script:
        return Script((), Ending.RESET)


class CloseBeforeHeaders(Fault, tag="close_before_headers", frozen=True):
    """FIN once the request is read."""

    def play(self, scene: Scene) -> Script:
        return Script((), Ending.CLOSE)


class HangBeforeHeaders(Fault, tag="hang_before_headers", frozen=True):
    """Nothing is answered; with `seconds`, the honest answer after that time."""

    seconds: Seconds | None = None

    def play(self, scene: Scene) -> Script:
        if self.seconds is None:
            return Script((), Ending.HANG)
        answer = scene.answer()
        answer.delay += self.seconds
        return honest(answer)


class HangAfterHeaders(Fault, tag="hang_after_headers", frozen=True):
    """The head of the honest answer, then nothing."""

    def play(self, scene: Scene) -> Script:
        answer = scene.answer()
        return Script((Piece(own_head(answer), answer.delay),), Ending.HANG, status=answer.status)


class KeepaliveRace(Fault, tag="keepalive_race", frozen=True):
    """A kept-alive connection is closed as its next request arrives; first requests are answered.

    `how`: `close` (FIN) or `reset` (RST).
    """

    how: Annotated[str, msgspec.Meta(pattern="^(close|reset)$")] = "close"

    def matches(self, request: Request, model: str | None, stream: bool) -> bool:
        return request.ordinal > 1 and super().matches(request, model, stream)

    def play(self, scene: Scene) -> Script:
        return Script((), Ending.RESET if self.how == "reset" else Ending.CLOSE)


class IdleClose(Fault, tag="idle_close", frozen=True):
    """The honest answer, and the connection closed `seconds` later although it was to be kept."""

    on_upgrades = False
    seconds: Seconds = 0.0

    def play(self, scene: Scene) -> Script:
        script = honest(scene.answer())
        script.close_after = self.seconds
        return script


class SlowDrip(Fault, tag="slow_drip", frozen=True):
    """The honest answer, head and all, `bytes` at a time with `seconds` between."""

    bytes: Positive = 1
    seconds: Seconds = 0.05

    def play(self, scene: Scene) -> Script:
        script = honest(scene.answer())
        script.pieces = self._dripped(script.pieces)
        return script

    def _dripped(self, pieces: Iterator[Piece]) -> Iterator[Piece]:
        for piece in pieces:
            cuts = range(self.bytes, len(piece.data) + self.bytes, self.bytes)
            first = Piece(piece.data[: self.bytes], piece.delay + self.seconds)
            rest = (Piece(piece.data[at : at + self.bytes], self.seconds) for at in cuts if at < len(piece.data))
            yield from chain((first,), rest)
            yield Piece(b"", 0.0, piece.events)
