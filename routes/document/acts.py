"""Bodies of acts that are not configuration: what an operator sends. Free of Django."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from routes.document.access_key import Time
from routes.document.base import Later, Strict


class AdminStateRequest(Strict):
    """``until`` null = for good. States of single targets come in a later release."""

    state: Literal["active", "draining", "disabled"]
    until: Time | None = None
    reason: str = Field(default="", max_length=500)
    target: Annotated[Any, Later(None, "admin states of single targets are")] = None


class PublishRequest(Strict):
    message: str = Field(default="", max_length=2000)
