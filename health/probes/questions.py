"""What a probe asks, and what an answer to it means. Pure.

The verdict is what the observed state hears: a refused credential is a failure there (the target serves nobody), while
an answer that is about the question (a rate limit, a request that this model does not take) says neither that the
target works nor that it does not. The circuit hears only of failures that it would count from traffic (``counts``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal, NamedTuple

import orjson

from routes.engine.cost import cost_micro_usd
from routes.gateway.wire import problems
from routes.gateway.wire.formats import read_answer
from routes.gateway.wire.reading import InvalidAnswer

if TYPE_CHECKING:
    from routes.engine.cost import Price
    from routes.engine.settings import ProbeSettings

Verdict = Literal["success", "failure", "neutral"]

#: Statuses by which a server says that it has no list of models.
NO_SUCH_LIST: Final = frozenset({404, 405, 501})
_PROMPT: Final = "ping"
#: What the prompt, and the answer to it, count at most: reserved under the day's cap before the answer says better.
TOKENS: Final = (32, 16)
_NEUTRAL: Final = frozenset({"rate_limited", "client_error", "context_length", "content_filter", "internal"})
#: Failures that are about the credential: the circuit takes no notice, as with traffic.
OF_THE_CREDENTIAL: Final = frozenset({"auth_failed", "quota_exhausted"})
_VERSION: Final = ((b"anthropic-version", b"2023-06-01"),)
_JSON: Final = ((b"content-type", b"application/json"),)
#: Newer models of OpenAI take the limit under another name only, and may spend a few tokens on thinking.
_OTHER_NAME: Final = "max_completion_tokens"
_SPENT: Final = "max_tokens or model output limit was reached"


class Question(NamedTuple):
    method: str
    resource: str  # below the base URL
    query: bytes
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes


class Finding(NamedTuple):
    """What came of one probe. ``kind``: what was asked in the end. ``ok``: the answer was as it should be."""

    kind: str
    ok: bool
    latency_ms: float | None
    http_status: int | None = None
    error_class: str | None = None
    message: str = ""
    micro_usd: int = 0

    @property
    def verdict(self) -> Verdict:
        if self.ok:
            return "success"
        return "neutral" if self.error_class in _NEUTRAL else "failure"

    @property
    def counts(self) -> bool:
        """Whether the circuit counts it as a failure."""
        return self.verdict == "failure" and self.error_class not in OF_THE_CREDENTIAL


def list_of_models(wire: str) -> Question:
    return Question("GET", "/models", b"", _VERSION if wire == "anthropic" else (), b"")


def page(path: str | None) -> Question:
    """Of kind ``http``; without a path the base URL itself."""
    resource, _, query = (path or "").partition("?")
    return Question("GET", resource, query.encode("ascii"), (), b"")


def completion(wire: str, model: str, *, other_name: bool = False) -> Question:
    """The smallest request a model answers."""
    limit = {_OTHER_NAME: TOKENS[1]} if other_name else {"max_tokens": 1}
    body = orjson.dumps({"model": model, "messages": [{"role": "user", "content": _PROMPT}], **limit})
    if wire == "anthropic":
        return Question("POST", "/messages", b"", (*_JSON, *_VERSION), body)
    return Question("POST", "/chat/completions", b"", _JSON, body)


def wants_other_name(status: int, body: bytes) -> bool:
    """Whether a completion was refused for the name of its limit alone."""
    return status == 400 and _OTHER_NAME.encode() in body


def judge_list(status: int, body: bytes, latency_ms: float) -> Finding:
    """Of kind ``models``, but for ``NO_SUCH_LIST``: any JSON document is a list, the formats of lists differ."""
    if not 200 <= status < 300:
        return _refused("models", status, body, latency_ms)
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        return Finding("models", False, latency_ms, status, "invalid_response", "the list of models is not JSON")
    if isinstance(document, dict) and document.get("error"):
        return Finding("models", False, latency_ms, status, "error_in_200", problems.recognise(body).message)
    return Finding("models", True, latency_ms, status)


def judge_page(status: int, probe: ProbeSettings, latency_ms: float) -> Finding:
    if status == probe.expect:
        return Finding("http", True, latency_ms, status)
    error_class = _class_of(status, b"") if not 200 <= status < 300 else "invalid_response"
    # Whoever names a status wants no other: one that says little elsewhere is a failure here.
    error_class = "invalid_response" if error_class in _NEUTRAL - {"rate_limited"} else error_class
    return Finding("http", False, latency_ms, status, error_class, f"HTTP {status} instead of {probe.expect}")


def judge_completion(wire: str, status: int, body: bytes, price: Price | None, latency_ms: float) -> Finding:
    if not 200 <= status < 300:
        if status == 400 and _SPENT.encode() in body:  # it thought, and the limit left nothing to say
            return Finding("completion", True, latency_ms, status, micro_usd=reserved(price))
        return _refused("completion", status, body, latency_ms)
    try:
        answer = read_answer(wire, body)
    except InvalidAnswer:
        return Finding("completion", False, latency_ms, status, "invalid_response", "the answer is not JSON")
    if answer.error is not None:
        return Finding("completion", False, latency_ms, status, "error_in_200", answer.error)
    used = answer.usage
    cost = cost_micro_usd(price, used.input, used.output, used.cached)
    return Finding("completion", True, latency_ms, status, micro_usd=reserved(price) if cost is None else cost)


def reserved(price: Price | None) -> int:
    """Millionths of a dollar that one completion costs at most; 0 where nobody knows the price."""
    return cost_micro_usd(price, *TOKENS, None) or 0


def _refused(kind: str, status: int, body: bytes, latency_ms: float) -> Finding:
    told = problems.recognise(body).message
    message = f"HTTP {status}: {told}" if told else f"HTTP {status}"
    return Finding(kind, False, latency_ms, status, _class_of(status, body), message)


def _class_of(status: int, body: bytes) -> str:
    """The error class of an answer that is no 2xx."""
    if status == 429:
        return "quota_exhausted" if problems.recognise(body).cause == "billing" else "rate_limited"
    if status in (401, 403):
        return "auth_failed"
    if status == 402 or (status == 400 and problems.recognise(body).cause == "billing"):
        return "quota_exhausted"
    if status < 400:
        return "upstream_redirect"
    return "client_error" if status < 500 else "overloaded" if status == 529 else "upstream_5xx"
