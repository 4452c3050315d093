"""What metrics cost the gateway per request: ``python -m bench.metrics_micro``.

Microseconds, the best of 300 short rounds: what it costs when nothing else runs. ``in the request`` is everything a
request adds, measured as the calls that the recorder makes with metrics and with something that counts nothing;
``flush`` is the second's work, and what of it falls to each request at 1,000 a second. Scrapes: ``bench.metrics``.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any, cast

from prometheus_client import CollectorRegistry

from bench.micro import best
from history.journal import JournalWriter
from history.records import Attempt
from routes.engine.types import Decision, StageEntry
from routes.gateway.exchange import Exchange
from routes.gateway.metrics import Metrics
from routes.gateway.recorder import Recorder

ROUNDS, CALLS = 300, 50
STAGES = ("admission", "health", "smart_routing", "affinity", "load_balancer")


class Provider:
    slug = "acme"


class Target:
    provider = Provider()
    id = "00000000-0000-0000-0000-000000000001"
    model = None


class Place:
    target = Target()
    model = "gpt-4o"


class Silent:
    """In the place of a family: hears of everything and keeps nothing."""

    def add(self, _labels: object, _value: object = 1) -> None:
        pass


class Without:
    """No metrics."""

    def __init__(self) -> None:
        for name in vars(Metrics("none", CollectorRegistry())):
            setattr(self, name, SILENT)

    def closed(self, _route: bytes) -> None:
        pass


SILENT = Silent()


def exchange() -> Exchange:
    made = Exchange(b"0" * 16, "", 0.0, 0, "POST", "/v1/chat/completions", b"", [])
    made.endpoint, made.operation, made.ttfb_us = "/v1/chat/completions", "chat", 250_000
    made.place = cast("Any", Place())
    made.attempts = [Attempt(provider="acme", model="gpt-4o", http_status=200, target=Target.id)]
    made.usage.input, made.usage.output = 900, 350
    return made


def request(recorder: Recorder, made: Exchange, decision: Decision) -> None:
    """Everything of a request that is counted: its key, its decision, its beginning, its end."""
    metrics = recorder.metrics
    metrics.cache_hits.add(("key",))
    recorder.decided(made, decision, frozenset())
    metrics.overhead.add((), 0.0002)
    metrics.cache_hits.add(("price",))
    recorder._count(made, "routed", 200, 0.9, 4321)
    metrics.closed(made.id)


def main() -> None:
    made = exchange()
    decision = Decision(
        profile=cast("Any", None),
        revision=1,
        source="load_balancer",
        strategy="weighted",
        excluded=[],
        stages=[StageEntry(stage, 1, 1, 3) for stage in STAGES],
        would_rank="weighted",
    )
    with tempfile.TemporaryDirectory() as folder:
        journal = JournalWriter(Path(folder), 1 << 30)
        metrics = Metrics("bench", CollectorRegistry())
        recorder, silent = Recorder(journal, metrics), Recorder(journal, cast("Any", Without()))
        counted = best(lambda: request(recorder, made, decision), ROUNDS, CALLS)
        without = best(lambda: request(silent, made, decision), ROUNDS, CALLS)

        def flush() -> None:
            request(recorder, made, decision)
            metrics.flush()

        flushed = best(flush, ROUNDS, CALLS) - counted
    print(f"in the request       {counted:6.2f} µs, of which {without:.2f} µs without metrics: {counted - without:.2f}")
    print(f"flush, once a second {flushed:6.2f} µs; at 1,000 requests a second {flushed / 1000:.3f} µs each")


if __name__ == "__main__":
    main()
