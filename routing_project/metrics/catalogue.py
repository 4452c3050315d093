"""Every metric family, declared once: name as exported, kind, unit, labels, help, buckets.

``FAMILIES`` is all of ours, ``DJANGO_FAMILIES`` what django-prometheus adds where Django runs. Names and labels of the
first are fixed by the contract; docs, alerts and dashboards are checked against both. Imports nothing, so that whoever
only wants to know the names pays for no library.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

Kind = Literal["counter", "gauge", "histogram"]
#: How a gauge of several processes becomes one number: their sum, or what was said last. Both end with the process.
Mode = Literal["", "livesum", "livemostrecent"]

#: Answers of a model take minutes, so the last bounds are far out.
DURATION_BUCKETS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)
TTFB_BUCKETS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)
OVERHEAD_BUCKETS: Final = (5e-5, 1e-4, 2e-4, 5e-4, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1)
STAGE_BUCKETS: Final = (1e-6, 2e-6, 5e-6, 1e-5, 2e-5, 5e-5, 1e-4, 2e-4, 5e-4, 0.001, 0.005, 0.025)
#: Of pages, queries and calls of the control plane.
DJANGO_BUCKETS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, float("inf"))


@dataclass(frozen=True, slots=True)
class Family:
    """``name`` is what PromQL says; a histogram's series are it with ``_bucket``, ``_count`` and ``_sum``. ``mode``:
    of a gauge that processes set themselves; without one a gauge is worked out at each scrape."""

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()
    unit: str = ""
    buckets: tuple[float, ...] = ()
    mode: Mode = ""

    @property
    def series(self) -> tuple[str, ...]:
        """Names of what is scraped."""
        if self.kind != "histogram":
            return (self.name,)
        return tuple(f"{self.name}_{part}" for part in ("bucket", "count", "sum"))


def _counter(name: str, text: str, *labels: str, unit: str) -> Family:
    return Family(name, "counter", text, labels, unit)


def _gauge(name: str, text: str, *labels: str, unit: str, mode: Mode = "") -> Family:
    return Family(name, "gauge", text, labels, unit, mode=mode)


def _histogram(name: str, text: str, *labels: str, buckets: tuple[float, ...], unit: str = "seconds") -> Family:
    return Family(name, "histogram", text, labels, unit, buckets)


# -- decisions and answers ---------------------------------------------------------------------------------
ROUTING_DECISIONS: Final = _counter(
    "routing_decisions_total",
    "Routing decisions by the strategy that ranked, or would have; none: nothing was chosen.",
    *("strategy", "model_type", "region"),
    unit="decisions",
)
HTTP_REQUESTS: Final = _counter(
    "http_requests_total",
    "HTTP requests and WebSocket handshakes answered, by route template.",
    *("method", "endpoint", "status"),
    unit="requests",
)
HTTP_DURATION: Final = _histogram(
    "http_request_duration_seconds",
    "Time to the end of the answer; of a WebSocket, to that of its handshake.",
    *("method", "endpoint"),
    buckets=DURATION_BUCKETS,
)
PROFILE_REQUESTS: Final = _counter(
    "profile_requests_total",
    "Requests of the data plane by profile and how they ended: routed, failed, timeout, rejected, cancelled, "
    "interrupted.",
    *("profile", "status"),
    unit="requests",
)
CACHE_HITS: Final = _counter(
    "cache_hits_total", "Look-ups in memory that found what they looked for.", "cache", unit="look-ups"
)
CACHE_MISSES: Final = _counter("cache_misses_total", "Look-ups in memory that did not.", "cache", unit="look-ups")

# -- providers ---------------------------------------------------------------------------------------------
SERVICE_CALLS: Final = _counter(
    "external_service_calls_total",
    "Requests sent to providers on behalf of clients, by the status they answered or the class of the failure; checks "
    "are not in it.",
    *("service", "status"),
    unit="requests",
)
ROUTE_ATTEMPTS: Final = _counter(
    "route_attempts_total",
    "Attempts by how they ended: ok, or the class of the failure.",
    *("provider", "outcome"),
    unit="attempts",
)
ROUTE_LATENCY: Final = _histogram(
    "route_latency_seconds", "Whole routes, from accept to the last byte.", buckets=DURATION_BUCKETS
)
ROUTE_TTFB: Final = _histogram(
    "route_ttfb_seconds", "From accept to the first byte for the client.", "provider", buckets=TTFB_BUCKETS
)
ROUTE_OVERHEAD: Final = _histogram(
    "route_overhead_seconds",
    "Our own time, from the complete request to its first attempt.",
    buckets=OVERHEAD_BUCKETS,
)
ROUTE_STAGE: Final = _histogram(
    "route_stage_seconds", "Time spent in one stage of a decision.", "stage", buckets=STAGE_BUCKETS
)
ROUTE_TOKENS: Final = _counter(
    "route_tokens_total", "Tokens used: input, output, cached.", "provider", "direction", unit="tokens"
)
ROUTE_COST: Final = _counter("route_cost_usd_total", "Cost of answered requests.", "provider", unit="USD")
PAYLOAD_COPIES: Final = _counter(
    "payload_copies_total", "Requests whose copies were to be kept: kept, dropped, failed.", "outcome", unit="requests"
)

# -- health ------------------------------------------------------------------------------------------------
CIRCUIT_STATE: Final = _gauge(
    "circuit_state",
    "Circuit of a target in force now: 0 closed, 1 half-open, 2 open.",
    "target",
    unit="state",
)
CIRCUIT_TRANSITIONS: Final = _counter(
    "circuit_transitions_total",
    "Circuits that changed state, by the new state and why: traffic, checks, people, other hosts, time.",
    *("target", "to", "reason"),
    unit="transitions",
)
TARGET_INFO: Final = _gauge(
    "route_target_info",
    "Always 1: whose the id of a target is. Join it to circuit_state and circuit_transitions_total on target.",
    *("target", "provider", "model", "head"),
    unit="info",
)
HEALTH_CHECK_AGE: Final = _gauge(
    "health_check_age_seconds",
    "Since the provider was last asked how it is, or traffic told; before that, since the revision came into use. "
    "Absent where probes are off.",
    "provider",
    unit="seconds",
)
HEAD_REGISTRATIONS: Final = _counter(
    "head_registrations_total", "Registrations of heads, first ones and new ones.", unit="registrations"
)
HEAD_UPDATES: Final = _counter("head_status_updates_total", "Heartbeats of heads that were taken.", unit="heartbeats")
HEADS_REGISTERED: Final = _gauge("heads_registered", "Heads that are registered, approved or not.", unit="heads")
ACTIVE_HEADS: Final = _gauge("active_heads", "Heads that are approved, online and active.", unit="heads")

# -- connections and queues --------------------------------------------------------------------------------
SSE_CONNECTIONS: Final = _gauge(
    "sse_connections",
    "Event streams that are open: answers of the data plane, and watchers of the console.",
    unit="connections",
    mode="livesum",
)
WEBSOCKET_CONNECTIONS: Final = _gauge(
    "websocket_connections",
    "WebSockets that are open: of the data plane, and of the console.",
    unit="connections",
    mode="livesum",
)
WATCHERS_REFUSED: Final = _counter(
    "watchers_refused_total",
    "Event streams and WebSockets refused because their access key or person had too many open.",
    "kind",
    unit="connections",
)
QUEUE_MESSAGES: Final = _counter(
    "message_queue_messages_total",
    "Messages by queue (celery, live, journal) and what became of them (published, consumed, failed, dropped).",
    *("queue", "status"),
    unit="messages",
)

# -- history -----------------------------------------------------------------------------------------------
JOURNAL_DEPTH: Final = _gauge("journal_depth", "History in the journal that is not in the database yet.", unit="bytes")
JOURNAL_DATABASE_UP: Final = _gauge(
    "journal_database_up", "Whether history gets into the database: 1 or 0.", unit="state"
)
JOURNAL_DROPPED: Final = _counter("journal_dropped_total", "History records lost.", "reason", unit="records")
JOURNAL_SHIPPED: Final = _counter("journal_shipped_total", "Rows put into the database.", unit="rows")
JOURNAL_INTERRUPTED: Final = _counter(
    "journal_interrupted_total", "Requests whose process died before they ended.", unit="requests"
)
JOURNAL_TORN: Final = _counter("journal_torn_total", "Damaged pieces of the journal that were skipped.", unit="pieces")
JOURNAL_UNREADABLE: Final = _counter(
    "journal_unreadable_total",
    "Records that were set aside, because they cannot be read or stored.",
    unit="records",
)
JOURNAL_CONFLICTS: Final = _counter(
    "journal_conflicts_total", "Reported outcomes that came after another one.", unit="reports"
)
JOURNAL_ABANDONED: Final = _counter(
    "journal_abandoned_total", "Reported outcomes of routes that never came.", unit="reports"
)
JOURNAL_TOLD: Final = _counter("journal_told_total", "Routes that were told to the live feed.", unit="routes")
JOURNAL_UNTOLD: Final = _counter(
    "journal_untold_total", "Routes that were not told to the live feed, because Redis was away.", unit="routes"
)

TRACE_SPANS: Final = _counter(
    "trace_spans_total",
    "Spans of traces: exported to the collector, dropped because it did not take them in time.",
    "outcome",
    unit="spans",
)

# -- processes ---------------------------------------------------------------------------------------------
PROCESS_CPU: Final = _counter("process_cpu_seconds_total", "User and system CPU time.", "process", unit="seconds")
PROCESS_MEMORY: Final = _gauge("process_resident_memory_bytes", "Resident memory.", "process", unit="bytes")
PROCESS_RESTARTS: Final = _counter(
    "process_restarts_total",
    "How often serve had to start the process again since serve itself was started.",
    "process",
    unit="restarts",
)
CONFIG_REVISION: Final = _gauge(
    "config_revision", "Number of the revision in use.", "process", unit="revision", mode="livemostrecent"
)
#: How often a loop tells its lag.
LOOP_LAG_SECONDS: Final = 1.0
LOOP_LAG: Final = _gauge(
    "loop_lag_seconds",
    "How late the event loop was, at worst in the last second; of one that hangs, since when.",
    "process",
    unit="seconds",
    mode="livemostrecent",
)

LOG_LINES_DROPPED: Final = _counter(
    "log_lines_dropped_total", "Log lines that nobody took, so that nothing had to wait for them.", unit="lines"
)

#: All of ours.
FAMILIES: Final[tuple[Family, ...]] = tuple(value for value in list(globals().values()) if isinstance(value, Family))

#: What django-prometheus counts: requests of the console; statements of console, worker and shipper; look-ups in
#: the cache. It declares them itself; a test compares.
DJANGO_FAMILIES: Final[tuple[Family, ...]] = (
    _counter("django_http_requests_before_middlewares_total", "Requests of the console.", unit="requests"),
    _counter("django_http_responses_before_middlewares_total", "Its answers.", unit="responses"),
    _histogram(
        "django_http_requests_latency_including_middlewares_seconds",
        "Time of a request, middleware included.",
        buckets=DJANGO_BUCKETS,
    ),
    _histogram(
        "django_http_requests_latency_seconds_by_view_method",
        "Time of a request in its view.",
        *("view", "method"),
        buckets=DJANGO_BUCKETS,
    ),
    _counter("django_http_requests_total_by_method_total", "Requests by method.", "method", unit="requests"),
    _counter("django_http_requests_total_by_transport_total", "By http or https.", "transport", unit="requests"),
    _counter(
        "django_http_requests_total_by_view_transport_method_total",
        "Requests by view.",
        *("view", "transport", "method"),
        unit="requests",
    ),
    _counter("django_http_responses_total_by_status_total", "Answers by status.", "status", unit="responses"),
    _counter(
        "django_http_responses_total_by_status_view_method_total",
        "Answers by status and view.",
        *("status", "view", "method"),
        unit="responses",
    ),
    _counter("django_http_exceptions_total_by_type_total", "Exceptions of views.", "type", unit="exceptions"),
    _counter("django_http_exceptions_total_by_view_total", "The same by view.", "view", unit="exceptions"),
    _counter("django_db_new_connections_total", "Connections made.", "alias", "vendor", unit="connections"),
    _counter("django_db_new_connection_errors_total", "Those that failed.", "alias", "vendor", unit="connections"),
    _counter("django_db_execute_total", "Statements, those in bulk too.", "alias", "vendor", unit="statements"),
    _counter("django_db_execute_many_total", "Statements in bulk.", "alias", "vendor", unit="statements"),
    _counter("django_db_errors_total", "Statements that failed.", "alias", "vendor", "type", unit="statements"),
    _histogram("django_db_query_duration_seconds", "Time of a statement.", "alias", "vendor", buckets=DJANGO_BUCKETS),
    _counter("django_cache_get_total", "Look-ups in Django's cache.", "backend", unit="look-ups"),
    _counter("django_cache_get_hits_total", "Those that found something.", "backend", unit="look-ups"),
    _counter("django_cache_get_misses_total", "Those that did not.", "backend", unit="look-ups"),
)
