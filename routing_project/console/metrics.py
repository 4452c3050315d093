"""``/metrics``: one scrape for every process of the installation, and the console's own request counts.

Counters come from the files that all processes share (prometheus-client's multiprocess mode), which keep the
totals of dead processes; CPU and memory are read from ``/proc`` of the processes ``serve`` supervises. The gateway
counts what it answers itself; a relayed request is counted here, once.
"""

from __future__ import annotations

import hmac
import json
import os
import time
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

from asgiref.sync import iscoroutinefunction
from django.http import HttpResponse
from django.utils.decorators import sync_and_async_middleware
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from health.heads.metrics import HeadCollector
from history import status
from history.status import unshipped_bytes
from routes.gateway.metrics import DURATION_BUCKETS, METHODS
from routing_project.env import get_env

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from django.http import HttpRequest
    from django.http.response import HttpResponseBase
    from prometheus_client import Metric

    from routing_project.env import Env

# The same names, labels and buckets as in the gateway: the files are summed by name.
_own = CollectorRegistry()
_requests = Counter("http_requests_total", "HTTP requests answered.", ("method", "endpoint", "status"), registry=_own)
_durations = Histogram(
    "http_request_duration_seconds",
    "Time to the end of the answer.",
    ("method", "endpoint"),
    registry=_own,
    buckets=DURATION_BUCKETS,
)
_decisions = Counter(
    "routing_decisions_total",
    "Routing decisions by the strategy that ranked.",
    ("strategy", "model_type", "region"),
    registry=_own,
)
_refused = Counter(
    "watchers_refused_total",
    "Event streams and WebSockets refused because their access key or person had too many open.",
    ("kind",),
    registry=_own,
)


def count_refused(kind: str) -> None:
    """A stream (``sse``) or socket (``websocket``) too many of one key or person."""
    _refused.labels(kind).inc()


def count_decision(strategy: str, model_type: str, region: str | None) -> None:
    """A decision made in the console. All three are configured names: nothing a caller sends becomes a label."""
    _decisions.labels(strategy, model_type, region or "none").inc()


def count_stream(method: str, endpoint: str, status: int) -> None:
    """An event stream that was answered. How long it stays open is no time to an answer: it is not observed."""
    _requests.labels(method if method in METHODS else "other", endpoint, str(status)).inc()


class ConnectionCollector(Collector):
    """Sockets and event streams of the control plane; this process has all of them."""

    def collect(self) -> Iterable[Metric]:
        # Loaded when asked for: the sockets count their streams here.
        from routing_project.console.sockets.opened import opened

        counts = opened.counts()
        return [
            GaugeMetricFamily("sse_connections", "Event streams that are open.", value=counts["sse"]),
            GaugeMetricFamily("websocket_connections", "WebSockets that are open.", value=counts["websocket"]),
        ]


class JournalCollector(Collector):
    """How much history is still on its way to the database, and what the shipper has done since it started."""

    COUNTERS: Final = {
        "shipped": "Rows that the shipper has put into the database.",
        "interrupted": "Requests whose process died before they ended.",
        "torn": "Damaged pieces of the journal that were skipped.",
        "unreadable": "Records that were set aside, because they cannot be read or stored.",
        "conflicts": "Reported outcomes that came after another one.",
        "abandoned": "Reported outcomes of routes that never came.",
        "told": "Routes that were told to the live feed.",
        "untold": "Routes that were not told to the live feed, because Redis was away.",
    }

    def __init__(self, env: Env) -> None:
        self.folder = env.journal_dir

    def collect(self) -> Iterable[Metric]:
        help_text = "Bytes of history in the journal that are not in the database yet."
        yield GaugeMetricFamily("journal_depth", help_text, value=unshipped_bytes(self.folder))
        report = status.read(self.folder) or status.ShipperStatus()
        taken = report.database == "up"
        yield GaugeMetricFamily("journal_database_up", "Whether the database takes history (1 or 0).", value=taken)
        for name, words in self.COUNTERS.items():
            yield CounterMetricFamily(f"journal_{name}", words, value=getattr(report, name))


class ProcessCollector(Collector):
    """CPU and memory of ``serve`` and its children, as a sum that never falls when a child is replaced."""

    def __init__(self, env: Env) -> None:
        self.path = env.socket_dir / "processes.json"

    def collect(self) -> Iterable[Metric]:
        cpu = CounterMetricFamily("process_cpu_seconds", "User and system CPU time.", labels=["process"])
        memory = GaugeMetricFamily("process_resident_memory_bytes", "Resident memory.", labels=["process"])
        for name, entry in self._processes().items():
            usage = _usage(entry["pid"])
            dead = entry["dead_cpu_seconds"]
            cpu.add_metric([name], dead + (usage[0] if usage else 0.0))
            if usage:
                memory.add_metric([name], usage[1])
        return [cpu, memory]

    def _processes(self) -> dict[str, Any]:
        try:
            return cast("dict[str, Any]", json.loads(self.path.read_bytes()))
        except (OSError, ValueError):  # a console without serve: itself is all it knows
            return {"console": {"pid": os.getpid(), "dead_cpu_seconds": 0.0}}


def _usage(pid: int | None) -> tuple[float, int] | None:
    """CPU seconds and resident bytes from ``/proc``; None where there is none, or the process has gone."""
    if pid is None:
        return None
    try:
        # The second field is the program's name and may hold spaces: count from behind its parenthesis.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    ticks = os.sysconf("SC_CLK_TCK")
    return (int(fields[11]) + int(fields[12])) / ticks, int(fields[21]) * os.sysconf("SC_PAGE_SIZE")


def metrics(request: HttpRequest) -> HttpResponse:
    """The scrape. Costs some 10 ms; reads files, no database."""
    env = get_env()
    if not _allowed(request, env):
        return HttpResponse("metrics need the token or an allowed network\n", status=403, content_type="text/plain")
    env.make_folders()  # a console alone may be scraped before any process wrote there
    registry = CollectorRegistry()
    MultiProcessCollector(registry, str(env.metrics_dir))  # type: ignore[no-untyped-call]
    registry.register(ProcessCollector(env))
    registry.register(JournalCollector(env))
    registry.register(ConnectionCollector())
    registry.register(HeadCollector())
    return HttpResponse(generate_latest(registry), content_type=CONTENT_TYPE_LATEST)


def _allowed(request: HttpRequest, env: Env) -> bool:
    """Open to all until a token or a network is set; then either of them opens it."""
    if not env.metrics_token and not env.metrics_networks:
        return True
    given = request.headers.get("Authorization", "")
    if env.metrics_token and hmac.compare_digest(given.encode(), f"Bearer {env.metrics_token}".encode()):
        return True
    try:
        address = ip_address(request.META.get("REMOTE_ADDR", ""))
    except ValueError:
        return False
    return any(address in network for network in env.metrics_networks)


@sync_and_async_middleware
def count_requests(get_response: Callable[..., object]) -> Callable[..., object]:
    """Count console requests by route template: nothing a client sends becomes a label."""
    if iscoroutinefunction(get_response):

        async def asynchronous(request: HttpRequest) -> HttpResponseBase:
            begun = time.perf_counter()
            response = await cast("Awaitable[HttpResponseBase]", get_response(request))
            return _count(request, response, begun)

        return asynchronous

    def synchronous(request: HttpRequest) -> HttpResponseBase:
        begun = time.perf_counter()
        return _count(request, cast("HttpResponseBase", get_response(request)), begun)

    return synchronous


def _count(request: HttpRequest, response: HttpResponseBase, begun: float) -> HttpResponseBase:
    match = request.resolver_match
    endpoint = f"/{match.route}" if match else "other"
    if endpoint != "/metrics":
        method = request.method if request.method in METHODS else "other"
        _requests.labels(method, endpoint, str(response.status_code)).inc()
        _durations.labels(method, endpoint).observe(time.perf_counter() - begun)
    return response
