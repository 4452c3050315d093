"""What an upstream's error answer is about, where its status does not say: context, content filter, billing. Pure.

Read from the error's code and type first, from its words only where providers give no code. Words are matched
narrowly: a wrong "no" surfaces the answer as it is, a wrong "yes" would hide a client's own mistake.
"""

from __future__ import annotations

import re
from typing import Any, Literal, NamedTuple

import msgspec

from routes.gateway.wire.reading import NOT_JSON, error_message

Cause = Literal["context_length", "content_filter", "billing"]

CONTEXT_CODES = frozenset({"context_length_exceeded", "context_window_exceeded", "model_context_window_exceeded"})
FILTER_CODES = frozenset({"content_filter", "content_policy_violation", "responsibleaipolicyviolation"})
BILLING_CODES = frozenset(
    {
        "insufficient_quota",
        "billing_hard_limit_reached",
        "billing_not_active",
        "billing_error",
        "insufficient_balance",
        "insufficient_credits",
        "payment_required",
    }
)

_CONTEXT_WORDS = re.compile(
    r"maximum context length|context window|context length exceeded|exceeds? the (?:model'?s )?context"
    r"|(?:prompt|input) is too long|reduce the length of the (?:messages|prompt|input)"
    r"|input length and .{0,20}max_tokens.{0,20} exceed context limit",
    re.IGNORECASE,
)
_FILTER_WORDS = re.compile(
    r"content management policy|content filtering policy|flagged by (?:our|the) safety system", re.IGNORECASE
)
_BILLING_WORDS = re.compile(
    r"credit balance is too low|exceeded your current quota|billing hard limit|insufficient (?:balance|credits?|funds)",
    re.IGNORECASE,
)


class Problem(NamedTuple):
    """``cause`` None = nothing special: the status alone decides. ``message`` is the upstream's, cut."""

    cause: Cause | None
    message: str


class _Document(msgspec.Struct):
    error: Any = None
    message: Any = None
    detail: Any = None
    code: Any = None
    type: Any = None


_document = msgspec.json.Decoder(_Document).decode


def recognise(body: bytes) -> Problem:
    """Read an error document of either wire format, or of neither. Never raises."""
    try:
        document = _document(body)
    except NOT_JSON:
        return Problem(None, "")
    error = document.error
    if error is None:
        error = {"message": document.message or document.detail, "code": document.code, "type": document.type}
    codes = {
        value.lower()
        for value in ((error.get("code"), error.get("type")) if isinstance(error, dict) else ())
        if isinstance(value, str)
    }
    message = error_message(error)
    cause: Cause | None = None
    if codes & CONTEXT_CODES or _CONTEXT_WORDS.search(message):
        cause = "context_length"
    elif codes & FILTER_CODES or _FILTER_WORDS.search(message):
        cause = "content_filter"
    elif codes & BILLING_CODES or _BILLING_WORDS.search(message):
        cause = "billing"
    return Problem(cause, message)
