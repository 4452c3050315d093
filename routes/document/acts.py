"""Bodies of acts that are not configuration: what an operator sends. Free of Django."""

from __future__ import annotations

from typing import Annotated, Literal
from uuid import UUID

from pydantic import AfterValidator, Field

from routes.document.access_key import Time
from routes.document.base import Strict


def _uuid(value: str) -> str:
    try:
        return str(UUID(value))
    except ValueError:
        raise ValueError("must be the id of a target") from None


UUIDText = Annotated[str, AfterValidator(_uuid)]


class AdminStateRequest(Strict):
    """``until`` null = for good. ``target``: the id of one of the provider's targets; null = all of them."""

    state: Literal["active", "draining", "disabled"]
    until: Time | None = None
    reason: str = Field(default="", max_length=500)
    target: UUIDText | None = None


class ForceRequest(Strict):
    """Hold a circuit open or closed; ``until`` null = until it is reset."""

    state: Literal["open", "closed"]
    until: Time | None = None
    reason: str = Field(default="", max_length=500)


class ReasonRequest(Strict):
    """Of acts that need nothing but, perhaps, a reason."""

    reason: str = Field(default="", max_length=500)


class PublishRequest(Strict):
    message: str = Field(default="", max_length=2000)
