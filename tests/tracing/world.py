"""What the tests of traces need around the product: a collector that takes OTLP over HTTP, and a gateway and a shipper
that send it what they trace."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, NamedTuple

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from routing_project.console.metrics.counted import CountedCollector
from tests.gateways import ROOT, Gateways, wait_until

if TYPE_CHECKING:
    from pathlib import Path


class Span(NamedTuple):
    """As the collector got it; ids in hexadecimal, times in nanoseconds."""

    name: str
    kind: str
    trace: str
    id: str
    parent: str  # "" = none
    state: str
    failed: bool
    start: int
    end: int
    attributes: dict[str, Any]
    service: str


class Collector:
    """Takes spans on ``url``; ``answer`` is the status it answers with, ``held`` keeps it from answering."""

    def __init__(self) -> None:
        self.spans: list[Span] = []
        self.headers: list[dict[str, str]] = []
        self.answer = 200
        self.asked = 0
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                collector._take(self.path, {name.lower(): value for name, value in self.headers.items()}, body)
                self.send_response(collector.answer)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None: ...

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    def _take(self, path: str, headers: dict[str, str], body: bytes) -> None:
        self.asked += 1
        if self.answer != 200:
            return
        assert path == "/v1/traces"
        self.headers.append(headers)
        for group in ExportTraceServiceRequest.FromString(body).resource_spans:
            resource = {each.key: each.value.string_value for each in group.resource.attributes}
            for scope in group.scope_spans:
                self.spans += [_span(each, resource["service.name"]) for each in scope.spans]

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def of_route(self, route: str, count: int) -> list[Span]:
        """The spans of a route once ``count`` have come: the request's, then its attempts'."""

        def found() -> list[Span]:
            return [span for span in list(self.spans) if span.attributes["signalbox.route_id"] == route]

        wait_until(lambda: len(found()) >= count, 20, f"{count} spans of {route}")
        return sorted(found(), key=lambda span: span.attributes.get("signalbox.attempt", 0))


def _span(given: Any, service: str) -> Span:
    return Span(
        given.name,
        {2: "SERVER", 3: "CLIENT"}[given.kind],
        given.trace_id.hex(),
        given.span_id.hex(),
        given.parent_span_id.hex(),
        given.trace_state,
        given.status.code == 2,
        given.start_time_unix_nano,
        given.end_time_unix_nano,
        {each.key: _value(each.value) for each in given.attributes},
        service,
    )


def _value(given: Any) -> Any:
    kind = given.WhichOneof("value")
    if kind == "array_value":
        return [_value(each) for each in given.array_value.values]
    return getattr(given, kind)


class World:
    """A gateway, a shipper with a database of its own, and a collector."""

    def __init__(self, data: Path, database: Path, **environment: str) -> None:
        self.data = data
        shutil.copyfile(database, data / "signalbox.sqlite3")
        self.collector = Collector()
        self.environment = {
            "SIGNALBOX_TRACES": "otlp",
            "OTEL_EXPORTER_OTLP_ENDPOINT": self.collector.url,
            "OTEL_EXPORTER_OTLP_TIMEOUT": "2",
            **environment,
        }
        self.gateway = Gateways(data, 1, self.environment)
        self.gateway.start()
        self.shipper = self._start_shipper()

    def _start_shipper(self) -> subprocess.Popen[bytes]:
        environment = {**os.environ, "SIGNALBOX_DATA_DIR": str(self.data), "REDIS_URL": "", **self.environment}
        for name in ("DATABASE_URL", "DJANGO_SETTINGS_MODULE"):
            environment.pop(name, None)
        with self._log.open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "history.shipper"], env=environment, cwd=ROOT, stderr=log, stdout=log
            )

    @property
    def _log(self) -> Path:
        return self.data / "shipper.log"

    def log(self) -> str:
        return self._log.read_text()

    def rows(self, routes: list[str]) -> int:
        """How many of them are in the history."""
        marks = ", ".join("?" * len(routes))
        with closing(sqlite3.connect(self.data / "signalbox.sqlite3", timeout=10)) as connection:
            found = connection.execute(
                f"SELECT count(*) FROM route_history WHERE id IN ({marks})",
                [route.replace("-", "") for route in routes],
            )
            return int(found.fetchone()[0])

    def spans(self, outcome: str) -> float:
        """How many ``/metrics`` would count."""
        found = {
            sample.labels["outcome"]: sample.value
            for family in CountedCollector(self.data / "metrics", None).collect()
            for sample in family.samples
            if sample.name == "trace_spans_total"
        }
        return found[outcome]

    def end_shipper(self) -> int:
        self.shipper.terminate()
        return self.shipper.wait(20)

    def close(self) -> None:
        self.gateway.stop()
        self.shipper.kill()
        self.shipper.wait()
        self.collector.close()
