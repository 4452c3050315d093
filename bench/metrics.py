"""Whether counters are exact: ``python -m bench.metrics [--requests N]``. Exit code 1 when one is not.

10,000 requests over two gateways of a whole installation, one of which is killed in a pause of three seconds half-way.
Every tenth asks for a model that nobody serves. Compared are the numbers sent, the log of the simulated provider, and
``/metrics``; our own history is not asked. Then what a scrape costs, as it is and with 200 providers.
"""

from __future__ import annotations

import argparse
import http.client
import json
import sys
import tempfile
import threading
import time
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench import machine
from bench.promises import Promise, markdown
from tests.gateways import wait_until
from tests.series import Series
from tests.simulators import Simulator
from tests.stack import Stack, document

if TYPE_CHECKING:
    from collections.abc import Sequence

CLIENTS = 8
PAUSE_SECONDS = 3.0
MANY = 200


def send(stack: Stack, requests: int) -> Counter[int]:
    """So many over some kept connections; how many of each status. A connection that breaks fails the run."""
    statuses: Counter[int] = Counter()
    numbers = iter(range(requests))
    lock = threading.Lock()

    def client() -> None:
        headers = {"Authorization": f"Bearer {stack.key}", "Content-Type": "application/json"}
        with closing(http.client.HTTPConnection("127.0.0.1", stack.port, timeout=60)) as connection:
            while True:
                with lock:
                    number = next(numbers, None)
                if number is None:
                    return
                model = "gpt-4o" if number % 10 else f"nobody-serves-{number}"
                body = {"model": model, "messages": [{"role": "user", "content": "Hello"}]}
                connection.request("POST", "/v1/chat/completions", json.dumps(body), headers)
                response = connection.getresponse()
                response.read()
                with lock:
                    statuses[response.status] += 1

    threads = [threading.Thread(target=client) for _ in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return statuses


def exact(requests: int) -> list[Promise]:
    with (
        tempfile.TemporaryDirectory() as folder,
        Simulator(process=True) as simulator,
        Stack(Path(folder), workers=2) as stack,
    ):
        acme = simulator.add("acme", log=True)
        stack.import_config(document(acme, provider={"models": {"gpt-4o": "gpt-4o"}}))
        seen = 0
        statuses: Counter[int] = Counter()
        for half in range(2):
            # The provider's log keeps the last 2,000: it is counted and emptied as we go.
            for _ in range(requests // 2 // 1000):
                statuses += send(stack, 1000)
                seen += acme.count()
                acme.forget()
            if half == 0:
                time.sleep(PAUSE_SECONDS / 2)
                killed = stack.kill("gateway-1")
                time.sleep(PAUSE_SECONDS / 2)
                stack.wait_replaced(**{"gateway-1": killed})
        time.sleep(PAUSE_SECONDS)
        series = Series.parse(stack.metrics())
        chat = {"method": "POST", "endpoint": "/v1/chat/completions"}
        answered, refused = statuses[200], statuses[404]
        found = [
            ("provider's log", seen, answered),
            ("external_service_calls_total", series.of("external_service_calls_total", status="200"), answered),
            ("http_requests_total, 200", series.of("http_requests_total", **chat, status="200"), answered),
            ("http_requests_total, 404", series.of("http_requests_total", **chat, status="404"), refused),
            ("http_request_duration_seconds", series.of("http_request_duration_seconds_count", **chat), requests),
            ("routing_decisions_total", series.of("routing_decisions_total", strategy="failover"), answered),
            ('routing_decisions_total, "none"', series.of("routing_decisions_total", strategy="none"), refused),
            ("answers in all", sum(statuses.values()), requests),
        ]
        costs = [("two gateways, one provider", *scrape(stack))]
        stack.import_config(_many(document(acme)))
        costs.append((f"the same with {MANY} providers", *scrape(stack)))
    for name, milliseconds, lines in costs:
        print(f"a scrape, {name}: {milliseconds:.0f} ms, {lines} lines")
    return [Promise(name, f"{expected}", f"{value:.0f}", value == expected) for name, value, expected in found]


def _many(config: dict[str, Any]) -> dict[str, Any]:
    """The same provider by many names."""
    [provider], [profile] = config["providers"], config["profiles"]
    slugs = [f"provider-{number}" for number in range(MANY)]
    return {
        **config,
        "providers": [{**provider, "slug": slug} for slug in slugs],
        "profiles": [{**profile, "targets": [{"provider": slug} for slug in slugs]}],
    }


def scrape(stack: Stack) -> tuple[float, int]:
    """(milliseconds as whoever scrapes sees them, the best of ten; lines)"""
    wait_until(lambda: stack.metrics(), 10)
    times, lines = [], 0
    for _ in range(10):
        begun = time.perf_counter()
        lines = len(stack.metrics().splitlines())
        times.append(time.perf_counter() - begun)
    return min(times) * 1000, lines


def main(given: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.metrics", description="Whether counters are exact.")
    parser.add_argument("--requests", type=int, default=10_000, help="a multiple of 2,000 (default 10,000)")
    options = parser.parse_args(given)
    facts, promises = machine.facts(), exact(options.requests)
    sys.stdout.write(markdown(facts, f"python -m bench.metrics --requests {options.requests}", promises))
    return 0 if all(promise.kept for promise in promises) else 1


if __name__ == "__main__":
    sys.exit(main())
