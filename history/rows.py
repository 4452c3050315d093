"""Journal records as rows: plain tuples in column order, the same for both databases. No Django, no I/O.

Ids are 32 hex digits, times naive UTC text as Django's SQLite backend writes it (PostgreSQL sessions run in UTC),
JSON is text. Everything that came from outside is cut to its column and cleared of NUL, which PostgreSQL refuses:
one odd client must not hold up a batch. This runs once per request in the shipper, so it favours speed over looks.
"""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, Literal

import orjson

from history.ids import child_id, milliseconds, session_bytes
from history.packing import kept
from history.records import Finished

if TYPE_CHECKING:
    from history.records import Attempt, Excerpt, Payload, Started, Update

Row = tuple[Any, ...]
MetricsPolicy = Literal["failures", "all", "off"]

# fmt: off
ROUTE_COLUMNS: Final = (
    "id", "created_at", "route_id", "profile", "session_id", "session_key", "endpoint_id", "route_type", "status",
    "error_code", "message", "http_status", "latency_ms", "selection_us", "ttfb_ms", "provider", "model",
    "requested_model", "strategy", "source", "rule", "attempt_count", "recovered", "degraded", "input_tokens",
    "output_tokens", "cached_tokens", "usage_estimated", "cost_micro_usd", "revision", "access_key_id", "access_key",
    "source_info", "target_info", "routing_decision",
)
ATTEMPT_COLUMNS: Final = (
    "id", "history_id", "ordinal", "provider", "model", "endpoint_id", "endpoint", "http_status", "error_class",
    "message", "started_at", "ttfb_ms", "latency_ms", "bytes", "transitions",
)
#: The list row of the contract, in its order.
ROW_FIELDS: Final = (
    "id", "created_at", "route_id", "profile", "session_id", "session_key", "endpoint_id", "route_type", "status",
    "error_code", "message", "http_status", "latency_ms", "selection_us", "ttfb_ms", "provider", "model",
    "requested_model", "strategy", "source", "rule", "attempt_count", "recovered", "degraded", "input_tokens",
    "output_tokens", "cached_tokens", "cost_micro_usd", "revision", "access_key",
)
ID_FIELDS: Final = frozenset({"id", "route_id", "session_id", "endpoint_id"})
METRIC_COLUMNS: Final = ("id", "history_id", "metric_name", "metric_value", "metric_unit", "timestamp")
PAYLOAD_COLUMNS: Final = (
    "id", "created_at", "redactions",
    "request_type", "request_size", "request_text", "request_tail", "request_cut",
    "response_type", "response_size", "response_text", "response_tail", "response_cut",
)
# fmt: on

INTERRUPTED_MESSAGE: Final = "The process that served this request ended before the answer did."
#: The three measurements every route has, in the order detail lists them.
OWN_METRICS: Final = ("selection_time", "backend_response_time", "request_latency")

_INT_MAX: Final = 2**31 - 1


class Rows:
    """What one transaction inserts."""

    __slots__ = ("attempts", "metrics", "payloads", "policy", "routes")

    def __init__(self, policy: MetricsPolicy) -> None:
        self.policy = policy
        self.routes: list[Row] = []
        self.attempts: list[Row] = []
        self.metrics: list[Row] = []
        self.payloads: list[Row] = []

    def add_finished(self, record: Finished) -> None:
        """The row of a finished route, and its children."""
        route = record.id
        created = _time(milliseconds(route))
        attempts = record.attempts
        reported = record.status != "decided"
        target: dict[str, Any] = {}
        if record.endpoint:
            target["endpoint"] = _cut(record.endpoint, 512)
        if record.region:
            target["region"] = record.region
        if record.head_id:
            target["head"] = record.head_id
        if len(attempts) == 1 and record.status == "routed" and not attempts[0].transitions:
            only = attempts[0]
            # Enough to show the attempt without a row of its own: see RouteAttempt.
            target["attempt"] = [
                max(0, only.started_ms - milliseconds(route)),
                _ms(only.ttfb_us),
                _ms(only.latency_us),
                only.bytes,
                only.http_status,
            ]
        elif attempts:
            self.attempts.extend(_attempt(route, ordinal, attempt) for ordinal, attempt in enumerate(attempts, 1))
        self.routes.append(
            (
                *_finished(record, created),
                _source(record.client_ip, record.user_agent, record.wire, record.path, record.operation, record.stream),
                _json(target) if target else "{}",
                _json(kept(record)) if record.decision else "{}",
            )
        )
        for place, (name, value, unit) in enumerate(record.metrics):
            identifier = child_id(route, "measured", place).hex
            self.metrics.append((identifier, route.hex(), _cut(name, 128), float(value), _cut(unit, 32), created))
        if reported and (self.policy == "all" or (self.policy == "failures" and record.status != "routed")):
            self._own_metrics(record, created)

    def add_interrupted(self, record: Started) -> None:
        """The row of a route whose process died: what was known when it began."""
        self.routes.append(
            (
                *_interrupted(record, _time(milliseconds(record.id))),
                _source(record.client_ip, "", "", record.path, record.operation, False),
                "{}",
                "{}",
            )
        )

    def add_payload(self, record: Payload) -> None:
        """The copies of what a route's client sent and was answered; they stand by themselves."""
        created = _time(milliseconds(record.id))
        request, response = _excerpt(record.request), _excerpt(record.response)
        self.payloads.append((record.id.hex(), created, record.redactions, *request, *response))

    def add_metrics(self, record: Update, key: str, now_ms: int) -> None:
        """Measurements somebody added to a recorded route; ``key`` tells one update of a route from another."""
        route = record.id
        for place, (name, value, unit) in enumerate(record.metrics):
            self.metrics.append(
                (
                    child_id(route, "update", f"{key}:{place}").hex,
                    route.hex(),
                    _cut(name, 128),
                    float(value),
                    _cut(unit, 32),
                    _time(now_ms),
                )
            )

    def _own_metrics(self, record: Finished, created: str) -> None:
        backend = record.attempts[-1].latency_us if record.attempts else None
        values = (record.selection_us, backend, record.latency_us)
        for place, (name, value) in enumerate(zip(OWN_METRICS, values, strict=True)):
            if value is not None:
                identifier = child_id(record.id, "metric", place).hex
                self.metrics.append((identifier, record.id.hex(), name, value / 1000, "ms", created))


def finished_row(record: Finished) -> dict[str, Any]:
    """The list row of the API (``render.row``) of a route that is not in the database yet."""
    return _listed(_finished(record, _moment(milliseconds(record.id))))


def interrupted_row(record: Started) -> dict[str, Any]:
    """As ``finished_row``, of a route whose process died."""
    return _listed(_interrupted(record, _moment(milliseconds(record.id))))


def _listed(row: Row) -> dict[str, Any]:
    columns = dict(zip(ROUTE_COLUMNS, row, strict=False))
    return {name: _dashed(columns[name]) if name in ID_FIELDS else columns[name] for name in ROW_FIELDS}


def _finished(record: Finished, created: str) -> Row:
    """The columns up to ``access_key``."""
    return (
        record.id.hex(),
        created,
        _hex(record.profile_id),
        _cut(record.profile, 128),
        _session(record.key_id, record.session_key),
        None if record.session_key is None else _cut(record.session_key, 256),
        _hex(record.endpoint_id),
        record.route_type,
        record.status,
        None if record.error_code is None else _cut(record.error_code, 64),
        _cut(record.message, 2000),
        _small(record.http_status),
        _ms(record.latency_us) if record.status != "decided" else None,
        _int(record.selection_us),
        _ms(record.ttfb_us),
        _cut(record.provider, 128),
        _cut(record.model, 256),
        _cut(record.requested_model, 256),
        _cut(record.strategy, 32),
        _cut(record.source, 32),
        None if record.rule is None else _cut(record.rule, 200),
        _small(record.attempt_count),
        record.recovered,
        record.degraded,
        _int(record.input_tokens),
        _int(record.output_tokens),
        _int(record.cached_tokens),
        record.usage_estimated,
        record.cost_micro_usd,
        _int(record.revision),
        _hex(record.key_id),
        _cut(record.key_name, 200),
    )


def _interrupted(record: Started, created: str) -> Row:
    """The columns up to ``access_key``."""
    return (
        record.id.hex(),
        created,
        _hex(record.profile_id),
        _cut(record.profile, 128),
        _session(record.key_id, record.session_key),
        None if record.session_key is None else _cut(record.session_key, 256),
        _hex(record.endpoint_id),
        record.route_type,
        "interrupted",
        "internal",
        INTERRUPTED_MESSAGE,
        None,
        None,
        0,
        None,
        _cut(record.provider, 128),
        _cut(record.model, 256),
        _cut(record.requested_model, 256),
        _cut(record.strategy, 32),
        "",
        None,
        1 if record.provider else 0,
        False,
        False,
        None,
        None,
        None,
        False,
        None,
        _int(record.revision),
        _hex(record.key_id),
        _cut(record.key_name, 200),
    )


def changes(record: Update) -> dict[str, Any]:
    """Columns an update sets, by name; what it leaves out stays."""
    values = {
        "status": record.status,
        "http_status": _small(record.http_status),
        "error_code": None if record.error_code is None else _cut(record.error_code, 64),
        "message": None if record.message is None else _cut(record.message, 2000),
        "latency_ms": _ms(record.latency_us),
        "ttfb_ms": _ms(record.ttfb_us),
        "input_tokens": _int(record.input_tokens),
        "output_tokens": _int(record.output_tokens),
    }
    return {name: value for name, value in values.items() if value is not None}


def essentials(record: Finished) -> Finished:
    """A copy with our own facts only: the last resort for a record the database does not take as it is."""
    return Finished(
        id=record.id,
        status=record.status,
        profile_id=record.profile_id,
        profile=record.profile,
        key_id=record.key_id,
        key_name=record.key_name,
        route_type=record.route_type,
        http_status=record.http_status,
        error_code=record.error_code,
        message="Parts of this record could not be stored.",
        endpoint_id=record.endpoint_id,
        provider=record.provider,
        strategy=record.strategy,
        source=record.source,
    )


def _attempt(route: bytes, ordinal: int, attempt: Attempt) -> Row:
    return (
        child_id(route, "attempt", ordinal).hex,
        route.hex(),
        ordinal,
        _cut(attempt.provider, 128),
        _cut(attempt.model, 256),
        _target(attempt.target),
        _cut(attempt.endpoint, 512),
        _small(attempt.http_status),
        None if attempt.error_class is None else _cut(attempt.error_class, 64),
        _cut(attempt.message, 2000),
        _time(attempt.started_ms or milliseconds(route)),
        _ms(attempt.ttfb_us),
        _ms(attempt.latency_us),
        attempt.bytes,
        _json(attempt.transitions) if attempt.transitions else "[]",
    )


def _target(identifier: str) -> str | None:
    plain = identifier.replace("-", "")
    return plain if len(plain) == 32 else None


@lru_cache(maxsize=8192)  # nearly all of it is names that come again and again
def _cut(text: str, limit: int) -> str:
    if "\x00" in text:
        text = text.replace("\x00", "\ufffd")
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _ms(microseconds: int | None) -> int | None:
    if microseconds is None or 0 <= microseconds < _INT_MAX:
        return None if microseconds is None else (microseconds + 500) // 1000
    return min(max(microseconds + 500, 0) // 1000, _INT_MAX)


def _int(value: int | None) -> int | None:
    return value if value is None or 0 <= value <= _INT_MAX else _INT_MAX if value > 0 else 0


def _small(value: int | None) -> int | None:
    return value if value is None or 0 <= value <= 32767 else 32767 if value > 0 else 0


def _hex(value: bytes | None) -> str | None:
    return None if value is None else value.hex()


def _dashed(value: str | None) -> str | None:
    """An id as the API writes it."""
    if value is None:
        return None
    return f"{value[:8]}-{value[8:12]}-{value[12:16]}-{value[16:20]}-{value[20:]}"


def _time(unix_ms: int) -> str:
    seconds, ms = divmod(unix_ms, 1000)
    text = _second(seconds)
    return f"{text}.{ms:03d}000" if ms else text


def _moment(unix_ms: int) -> str:
    """ISO 8601 in UTC with milliseconds, as the API writes times."""
    seconds, ms = divmod(unix_ms, 1000)
    return f"{_second(seconds).replace(' ', 'T')}.{ms:03d}Z"


@lru_cache(maxsize=64)
def _second(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S")


@lru_cache(maxsize=4096)
def _session(key_id: bytes | None, session_key: str | None) -> str | None:
    return None if session_key is None else session_bytes(key_id, session_key).hex()


@lru_cache(maxsize=1024)
def _source(client_ip: str, user_agent: str, wire: str, path: str, operation: str, stream: bool) -> str:
    source: dict[str, Any] = {"client_ip": client_ip, "path": _cut(path, 512)}
    if user_agent:
        source["user_agent"] = _cut(user_agent, 256)
    if wire:
        source["wire"] = wire
    if operation:
        source["operation"] = operation
    if stream:
        source["stream"] = True
    return _json(source)


def _json(value: Any) -> str:
    text = orjson.dumps(value, option=orjson.OPT_NON_STR_KEYS).decode()
    # jsonb holds no NUL; the six characters may also be an escaped backslash, so look at the values themselves.
    return orjson.dumps(_without_nul(value), option=orjson.OPT_NON_STR_KEYS).decode() if "\\u0000" in text else text


def _without_nul(value: Any) -> Any:
    if isinstance(value, str):
        return value.replace("\x00", "\ufffd")
    if isinstance(value, list | tuple):
        return [_without_nul(part) for part in value]
    if isinstance(value, dict):
        return {_without_nul(key): _without_nul(part) for key, part in value.items()}
    return value


def _excerpt(kept: Excerpt) -> Row:
    return _cut(kept.content_type, 128), kept.size, _text(kept.text), _text(kept.tail), kept.cut


def _text(text: str) -> str:
    return text.replace("\x00", "\ufffd") if "\x00" in text else text
