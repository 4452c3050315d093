"""What a caller sends to have a request explained. Free of Django and of the database."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, Literal
from uuid import UUID

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError

from routes.actions.errors import Invalid
from routes.document import DocumentError
from routes.document.base import Slug, Strict

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_DRAWS = 10_000
#: As the gateway's own limits are: nobody sends more, and a page must not be stalled by it.
MAX_HEADERS = 200
MAX_HEADER_LENGTH = 16_384
MAX_OVERRIDES = 1_000
MAX_REVISION = 2**63 - 1

#: What a provider can be imagined to be: out of reach, refusing for rate, or ten times as slow.
Trouble = Literal["down", "429", "slow"]


def _moment(value: Any) -> Any:
    """ISO 8601 with a zone; a naive time would mean something else on every machine."""
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            raise ValueError("must be a time like 2026-11-20T09:30:00Z") from None
    if isinstance(value, datetime) and value.tzinfo is None:
        raise ValueError("must name its time zone, for example 2026-11-20T09:30:00Z")
    return value


def _identifier(value: Any) -> Any:
    if isinstance(value, str):
        try:
            return UUID(value)
        except ValueError:
            raise ValueError("must be the id of a recorded request, a UUID") from None
    return value


def _trouble(value: Any) -> Any:
    """YAML and shells like to make a number of it."""
    return "429" if value == 429 and not isinstance(value, bool) else value


def _revision(value: Any) -> Any:
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 20:
        value = int(value)
    if isinstance(value, bool) or not (value in ("live", "draft") or isinstance(value, int)):
        raise ValueError("must be live, draft or a revision's number")
    if isinstance(value, int) and not 0 < value <= MAX_REVISION:
        raise ValueError("must be live, draft or a revision's number")
    return value


def _headers(value: dict[str, str]) -> dict[str, str]:
    for name, text in value.items():
        if not name or not name.isascii() or any(sign in name for sign in " \t\r\n:"):
            raise ValueError(f"{name[:40]!r} is no header name")
        if len(text) > MAX_HEADER_LENGTH or "\n" in text or "\r" in text:
            raise ValueError(f"the value of {name!r} is too long or holds a line break")
    return value


class ImaginedRequest(Strict):
    """A request as a client would send it. ``body`` is JSON, or the text of it."""

    path: str = Field(
        default="/v1/chat/completions",
        min_length=1,
        max_length=2_000,
        description="Any address of the data plane, also /p/{profile}/… and /p/{profile}/s/{session}/….",
    )
    headers: Annotated[dict[str, str], Field(max_length=MAX_HEADERS), AfterValidator(_headers)] = Field(
        default_factory=dict, description="By name in any case; x-route-… work as they do at the gateway."
    )
    body: Any = Field(default=None, description="The JSON body, as an object or as its text.")


class ExplainOverrides(Strict):
    """What to imagine: nothing of it touches the running product."""

    providers: Annotated[dict[Slug, Annotated[Trouble, BeforeValidator(_trouble)]], Field(max_length=MAX_OVERRIDES)] = (
        Field(default_factory=dict, description="By slug: down, 429 or slow (ten times its latency).")
    )
    at: Annotated[datetime, BeforeValidator(_moment)] | None = Field(
        default=None, description="The time of day that rules see; now, or the recorded time, when absent."
    )


class ExplainRequest(Strict):
    """Either ``request`` or the ``id`` of a recorded one."""

    request: ImaginedRequest | None = None
    id: Annotated[UUID, BeforeValidator(_identifier)] | None = Field(
        default=None, description="A recorded request, explained from what was recorded of it."
    )
    profile: Slug | None = Field(
        default=None,
        description="Without one: the path's, the access key's, the recorded one, or `default`.",
    )
    revision: Annotated[int | Literal["live", "draft"], BeforeValidator(_revision)] | None = Field(
        default=None, description="live, draft or a number; without one: live, and for a recorded request its own."
    )
    key: str | None = Field(
        default=None, min_length=1, max_length=200, description="Name of the access key it is sent with."
    )
    overrides: ExplainOverrides = Field(default_factory=ExplainOverrides)
    draws: int = Field(default=1, ge=1, le=MAX_DRAWS, description="Decisions to make for the shares.")


def parse(data: Mapping[str, Any]) -> ExplainRequest:
    """What was sent, checked. Raises Invalid naming the fields."""
    try:
        wanted = ExplainRequest.model_validate(data)
    except ValidationError as error:
        raise Invalid.from_errors(DocumentError.from_pydantic(error).errors) from None
    if (wanted.request is None) == (wanted.id is None):
        raise Invalid.from_errors([("request", "give either a request or the id of a recorded one")])
    return wanted
