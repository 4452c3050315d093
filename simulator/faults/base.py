"""What all faults share: when they strike, and what they are given to play themselves with.

A fault never sees the socket: it returns a `Script`, and the connection plays it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, NamedTuple, Protocol

import msgspec

from simulator.script import Answer, Script, honest

if TYPE_CHECKING:
    from simulator.connection import Request
    from simulator.wire.base import Wire

Seconds = Annotated[float, msgspec.Meta(ge=0, le=86_400)]
Count = Annotated[int, msgspec.Meta(ge=0, le=1_000_000_000)]
Positive = Annotated[int, msgspec.Meta(ge=1, le=1_000_000_000)]
HttpStatus = Annotated[int, msgspec.Meta(ge=200, le=599)]


class Answering(Protocol):
    """Makes the honest answer, which may itself be a refusal (a wrong key, an unknown model)."""

    def __call__(self, *, stream: bool | None = None) -> Answer:
        """`stream` overrides what the client asked for."""


class Scene(NamedTuple):
    """What a fault may use: the wire, the headers of every answer, and the honest answer if it wants to bend one."""

    wire: Wire
    headers: list[tuple[bytes, bytes]]
    answer: Answering

    def refuse(
        self,
        status: int,
        message: str,
        *,
        code: str | None = None,
        headers: tuple[tuple[bytes, bytes], ...] = (),
        delay: float = 0.0,
    ) -> Script:
        """An honest error answer."""
        body = self.wire.error(status, message, code=code)
        return honest(
            Answer(status, [(b"content-type", b"application/json"), *self.headers, *headers], body=body, delay=delay)
        )


class Fault(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="name", kw_only=True):
    """When a fault strikes: the first `times` matching requests (None: always), each with `probability`.

    `path` (its end), `model` and `stream` narrow it to some requests.
    """

    times: Positive | None = None
    probability: Annotated[float, msgspec.Meta(gt=0, le=1)] = 1.0
    path: str | None = None
    model: str | None = None
    stream: bool | None = None

    # Whether it can strike ordinary requests, and requests to upgrade to a WebSocket.
    on_requests = True
    on_upgrades = True
    # The content filter's second form leaves the answer whole but has the model refuse in it.
    refuses = False

    def only_knows(self, *fields: str) -> None:
        """Refuse the common fields that mean nothing for a fault which no request brings about."""
        for field, neutral in (
            ("times", None),
            ("probability", 1.0),
            ("path", None),
            ("model", None),
            ("stream", None),
        ):
            if field not in fields and getattr(self, field) != neutral:
                raise ValueError(f"{field} means nothing for {self.__struct_config__.tag}")

    def matches(self, request: Request, model: str | None, stream: bool) -> bool:
        return (
            (self.on_upgrades if request.upgrade else self.on_requests)
            and (self.path is None or request.path.endswith(self.path))
            and (self.model is None or self.model == model)
            and (self.stream is None or self.stream == stream)
        )

    def play(self, scene: Scene) -> Script:
        """The bytes this fault sends instead of the honest answer."""
        raise NotImplementedError
