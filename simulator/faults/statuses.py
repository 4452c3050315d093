"""Faults that are answers: error statuses, rate limits, refusals for content or context, redirects, early hints."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from itertools import chain
from typing import Annotated, Literal

import msgspec

from simulator.faults.base import Fault, HttpStatus, Positive, Scene, Seconds
from simulator.script import Answer, Piece, Script, honest
from simulator.wire.base import too_long

RetryForm = Literal["seconds", "http-date", "ms", "none"]
_MESSAGES = {
    400: "The request could not be understood.",
    401: "Incorrect API key provided.",
    402: "Payment required: add credits to continue.",
    403: "You are not allowed to use this model.",
    404: "The requested resource does not exist.",
    409: "The resource is in conflict with the request.",
    413: "Request exceeds the maximum size.",
    422: "The request could not be processed.",
    429: "Rate limit reached for requests.",
    500: "The server had an error while processing your request.",
    502: "Bad gateway.",
    503: "The engine is currently overloaded, please try again later.",
    504: "Gateway time-out.",
    529: "Overloaded",
}


def _retry_header(seconds: float, form: RetryForm) -> tuple[tuple[bytes, bytes], ...]:
    if form == "seconds":
        return ((b"retry-after", f"{seconds:g}".encode()),)
    if form == "ms":
        return ((b"retry-after-ms", f"{seconds * 1000:g}".encode()),)
    if form == "http-date":
        when = datetime.now(UTC) + timedelta(seconds=seconds)
        return ((b"retry-after", format_datetime(when, usegmt=True).encode()),)
    return ()


class Status(Fault, tag="status", frozen=True):
    """Any status with the wire's error document, or `body` verbatim; `retry_after` seconds in the form asked for."""

    status: HttpStatus = 500
    message: str | None = None
    code: str | None = None
    body: str | None = None
    content_type: str = "application/json"
    retry_after: Seconds | None = None
    retry_form: RetryForm = "seconds"
    delay: Seconds = 0.0

    def play(self, scene: Scene) -> Script:
        extra = () if self.retry_after is None else _retry_header(self.retry_after, self.retry_form)
        if self.body is not None:
            headers = [(b"content-type", self.content_type.encode()), *scene.headers, *extra]
            return honest(Answer(self.status, headers, body=self.body.encode(), delay=self.delay))
        message = self.message or _MESSAGES.get(self.status, f"Simulated {self.status}.")
        return scene.refuse(self.status, message, code=self.code, headers=extra, delay=self.delay)


class RateLimited(Fault, tag="rate_limited", frozen=True):
    """429 with `retry_after` seconds as `seconds`, `http-date`, `ms` (retry-after-ms) or `none`."""

    retry_after: Seconds = 1.0
    retry_form: RetryForm = "seconds"

    def play(self, scene: Scene) -> Script:
        return scene.refuse(429, _MESSAGES[429], headers=_retry_header(self.retry_after, self.retry_form))


class Billing(Fault, tag="billing", frozen=True):
    """400 whose message is about money (`status: 429` gives OpenAI's `insufficient_quota`)."""

    status: HttpStatus = 400

    def play(self, scene: Scene) -> Script:
        if scene.wire.name == "anthropic":
            message = "Your credit balance is too low to access the Anthropic API. Please go to Plans & Billing."
            return scene.refuse(self.status, message)
        if self.status == 429:
            message = "You exceeded your current quota, please check your plan and billing details."
            return scene.refuse(429, message, code="insufficient_quota")
        return scene.refuse(self.status, "Billing hard limit has been reached", code="billing_hard_limit_reached")


class ContextLength(Fault, tag="context_length", frozen=True):
    """The refusal of a prompt, whatever its length, as longer than a window of `window` tokens."""

    window: Positive = 8192
    status: HttpStatus = 400

    def play(self, scene: Scene) -> Script:
        asked = self.window + 1808
        return scene.refuse(self.status, too_long(scene.wire.name, self.window, asked), code="context_length_exceeded")


class ContentFilter(Fault, tag="content_filter", frozen=True):
    """A content filter: `error`, a 400, or `answer`, a 200 whose finish reason says so."""

    form: Literal["error", "answer"] = "error"

    @property
    def refuses(self) -> bool:  # type: ignore[override]
        return self.form == "answer"

    def play(self, scene: Scene) -> Script:
        if self.form == "answer":
            return honest(scene.answer())
        if scene.wire.name == "anthropic":
            return scene.refuse(400, "Output blocked by content filtering policy")
        message = "The response was filtered due to the prompt triggering the content management policy."
        return scene.refuse(400, message, code="content_filter")


class Redirect(Fault, tag="redirect", frozen=True):
    """A redirect to `location`."""

    status: Annotated[int, msgspec.Meta(ge=300, le=399)] = 307
    location: str = "http://127.0.0.1:1/elsewhere"

    def play(self, scene: Scene) -> Script:
        return honest(Answer(self.status, [*scene.headers, (b"location", self.location.encode())], body=b""))


class EarlyHints(Fault, tag="early_hints", frozen=True):
    """The honest answer after `count` interim answers (100, 102 or 103)."""

    status: Literal[100, 102, 103] = 103
    count: Positive = 1

    def play(self, scene: Scene) -> Script:
        script = honest(scene.answer())
        lines = {
            100: b"HTTP/1.1 100 Continue\r\n\r\n",
            102: b"HTTP/1.1 102 Processing\r\n\r\n",
            103: b"HTTP/1.1 103 Early Hints\r\nlink: </style.css>; rel=preload\r\n\r\n",
        }
        script.pieces = chain((Piece(lines[self.status]) for _ in range(self.count)), script.pieces)
        return script
