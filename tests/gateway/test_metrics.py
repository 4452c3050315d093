"""The data-plane series: there from the start, exact, and free of anything a client can choose."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
import websockets.sync.client
from prometheus_client import CollectorRegistry, Histogram

from routes.engine.snapshot import Snapshot
from routes.gateway.app import Gateway
from routes.gateway.console_relay import ConsoleRelay
from routes.gateway.metrics import Metrics
from routes.gateway.recorder import Recorder
from routing_project.console.metrics.counted import CountedCollector
from routing_project.metrics.catalogue import DURATION_BUCKETS
from routing_project.metrics.instruments import MOST_REGIONS
from tests.documents import document, head, provider
from tests.gateways import Gateways, wait_until
from tests.ops.test_metrics_folder import Child

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.simulators import Simulator

Series = dict[tuple[str, tuple[tuple[str, str], ...]], float]

#: Counters are flushed once a second, and some processes are killed.
pytestmark = pytest.mark.thorough


def scrape(gateway: Gateways) -> Series:
    """All series of all processes, as the console's /metrics sums them."""
    snapshot = Snapshot.from_document(gateway.document)
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for metric in CountedCollector(gateway.data / "metrics", snapshot).collect()
        for sample in metric.samples
    }


def value(series: Series, name: str, **labels: str) -> float | None:
    return series.get((name, tuple(sorted(labels.items()))))


def total(series: Series, name: str, **labels: str) -> float:
    return sum(
        number for (each, found), number in series.items() if each == name and labels.items() <= dict(found).items()
    )


def wait_for(gateway: Gateways, name: str, expected: float, **labels: str) -> Series:
    """Counters are flushed once a second."""
    wait_until(lambda: total(scrape(gateway), name, **labels) == expected, what=f"{name}{labels} = {expected}")
    return scrape(gateway)


def test_every_name_is_there_with_0_before_the_first_request(gateway: Gateways) -> None:
    gateway.publish(document([provider("a")]))
    names = (
        *("routing_decisions_total", "http_requests_total", "http_request_duration_seconds_count"),
        *("external_service_calls_total", "route_attempts_total", "route_latency_seconds_count"),
        *("route_ttfb_seconds_count", "route_overhead_seconds_count", "route_stage_seconds_count"),
        *("circuit_transitions_total", "route_tokens_total", "route_cost_usd_total", "journal_dropped_total"),
        *("message_queue_messages_total", "cache_hits_total", "cache_misses_total"),
    )
    series = scrape(gateway)
    present = {name for name, _ in series}
    assert set(names) <= present
    assert all(total(series, name) == 0 for name in names)
    assert value(series, "routing_decisions_total", strategy="none", model_type="chat", region="none") == 0
    assert value(series, "routing_decisions_total", strategy="consistent_hash", model_type="chat", region="none") == 0
    for cache in ("affinity", "key", "price"):
        assert value(series, "cache_hits_total", cache=cache) == value(series, "cache_misses_total", cache=cache) == 0
    for stage in ("admission", "health", "smart_routing", "affinity", "load_balancer"):
        assert value(series, "route_stage_seconds_count", stage=stage) == 0
    assert value(series, "config_revision", process="gateway-1") == 1
    assert ("loop_lag_seconds", (("process", "gateway-1"),)) in series


def test_heads_that_come_and_go_leave_no_series_behind(gateway: Gateways) -> None:
    gateway.publish(document([provider("a", heads=[head("one"), head("two")]), provider("b")]))
    series = scrape(gateway)
    assert value(series, "route_attempts_total", provider="a", outcome="ok") == 0
    assert len({dict(labels)["target"] for name, labels in series if name == "circuit_transitions_total"}) == 1


def test_counters_equal_what_was_sent(gateway: Gateways, simulator: Simulator) -> None:
    good, bad = simulator.add("good", cached_tokens=1), simulator.add("bad")
    bad.fail("status", status=503)
    prices = {"gpt-4o": {"input": 1000.0, "output": 1000.0, "cached": 1000.0}}
    gateway.publish(
        document(
            [provider("bad", base_url=bad.base_url), provider("good", base_url=good.base_url, prices=prices)],
            failover={"same_target_retries": 0},
        )
    )
    for _ in range(3):
        assert gateway.chat().status == 200
    assert gateway.chat("x" * 300).status == 400
    assert gateway.post("/v1/chat/completions", {}, key="sbx_" + "w" * 40).status == 401
    endpoint = {"method": "POST", "endpoint": "/v1/chat/completions"}
    series = wait_for(gateway, "http_requests_total", 5)
    assert value(series, "http_requests_total", **endpoint, status="200") == 3
    assert value(series, "http_requests_total", **endpoint, status="400") == 1
    assert value(series, "http_requests_total", **endpoint, status="401") == 1
    assert value(series, "http_request_duration_seconds_count", **endpoint) == 5
    assert value(series, "routing_decisions_total", strategy="failover", model_type="chat", region="none") == 3
    assert value(series, "external_service_calls_total", service="bad", status="503") == bad.count()
    assert value(series, "external_service_calls_total", service="good", status="200") == good.count()
    assert value(series, "route_attempts_total", provider="bad", outcome="upstream_5xx") == 3
    assert value(series, "route_attempts_total", provider="good", outcome="ok") == 3
    assert value(series, "route_latency_seconds_count") == 3
    assert value(series, "route_ttfb_seconds_count", provider="good") == 3
    assert value(series, "route_overhead_seconds_count") == 3
    rows = [row for row in gateway.finished() if row.status == "routed"]
    assert value(series, "route_tokens_total", provider="good", direction="output") == sum(
        row.output_tokens or 0 for row in rows
    )
    spent = sum(row.cost_micro_usd or 0 for row in rows)
    assert spent > 0
    assert value(series, "route_cost_usd_total", provider="good") == pytest.approx(spent / 1e6)
    assert value(series, "message_queue_messages_total", queue="journal", status="published") == len(gateway.records())
    # What was looked up: five keys, one of them unknown, and the price of each answer that reported tokens.
    assert value(series, "cache_hits_total", cache="key") == 4
    assert value(series, "cache_misses_total", cache="key") == 1
    assert value(series, "cache_hits_total", cache="price") == len(rows)
    assert value(series, "cache_misses_total", cache="price") == 0


def test_a_circuit_that_opens_is_counted_under_its_target(gateway: Gateways, simulator: Simulator) -> None:
    bad = simulator.add("bad")
    bad.fail("status", status=500)
    gateway.publish(
        document(
            [provider("bad", base_url=bad.base_url, circuit={"failure_threshold": 2})],
            failover={"same_target_retries": 0, "max_attempts": 1},
        )
    )
    for _ in range(2):
        gateway.chat()
    series = wait_for(gateway, "circuit_transitions_total", 1)
    [labels] = [
        dict(found) for (name, found), number in series.items() if name == "circuit_transitions_total" and number
    ]
    assert (dict(labels)["to"], dict(labels)["reason"]) == ("open", "consecutive_failures")


def test_what_a_gateway_answers_in_the_consoles_stead_is_counted(gateway: Gateways) -> None:
    gateway.publish(document([provider("a")]))
    assert gateway.request("GET", "/admin/", headers={"X-Name": "\xff"}).status == 400
    assert gateway.request("GET", "/metrics", headers={"X-Name": "\xff"}).status == 400
    assert gateway.request("GET", "/admin/").status == 503  # there is no console
    series = wait_for(gateway, "http_requests_total", 2)
    for status in ("400", "503"):
        assert value(series, "http_requests_total", method="GET", endpoint="other", status=status) == 1


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"nonsense\r\n\r\n", "400"),
        (b"POST /v1/x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n", "400"),
        (b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n", "400"),
        (b"GET /v1/realtime HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n", "400"),
        (b"GET /healthz HTTP/1.1\r\nHost: a\r\nX-Big: " + b"a" * 70_000 + b"\r\n\r\n", "431"),
        (b"GET /v1/models HTTP/1.1\r\nHost: a\r\nX-Slow: ", "408"),
    ],
    ids=["nonsense", "framing", "connect", "handshake", "too large", "too slow"],
)
def test_what_never_becomes_a_request_is_counted_by_its_answer(gateway: Gateways, sent: bytes, status: str) -> None:
    gateway.publish(document([provider("a")]))
    with gateway.connect() as connection:
        connection.sendall(sent)
        assert connection.recv(65536).startswith(f"HTTP/1.1 {status} ".encode())
    series = wait_for(gateway, "http_requests_total", 1)
    assert value(series, "http_requests_total", method="other", endpoint="other", status=status) == 1


@pytest.mark.parametrize(("begun", "counted"), [(False, [("GET", 500)]), (True, [])])
async def test_an_error_of_our_own_in_the_relay_is_counted_unless_the_console_has_answered(
    begun: bool, counted: list[tuple[str, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[tuple[str, int]] = []
    state: Any = SimpleNamespace(recorder=SimpleNamespace(unrouted=lambda *given: found.append(given)))
    relay = ConsoleRelay(state)
    cycle = SimpleNamespace(response_started=begun)
    scope = {"type": "http", "method": "GET", "raw_path": b"/admin/", "http_version": "1.1", "signalbox": cycle}
    scope["headers"] = [(b"host", b"a")]

    async def fail(*_: object) -> None:
        raise RuntimeError("our own fault")

    monkeypatch.setattr(relay, "http", fail)
    with pytest.raises(RuntimeError):
        await Gateway(state, relay)(scope, None, None)
    assert found == counted


def test_what_is_configured_no_more_has_no_series_and_goes_on_from_its_count_when_it_comes_back(
    gateway: Gateways, simulator: Simulator
) -> None:
    bad, good = simulator.add("bad"), simulator.add("good")
    bad.fail("status", status=500)

    circuit = {"failure_threshold": 1}
    failing = provider("bad", base_url=bad.base_url, circuit=circuit)
    working = provider("good", base_url=good.base_url)

    def configure(number: int, *providers: dict[str, Any]) -> None:
        gateway.publish(document([*providers], failover={"same_target_retries": 0, "max_attempts": 2}, number=number))

    def of_bad(series: Series) -> set[str]:
        return {name for name, labels in series if set(dict(labels).values()) & {"bad", target}}

    configure(1, failing, working)
    snapshot = Snapshot.from_document(gateway.document)
    target = next(each.id for each in snapshot.profile_list[0].targets if each.provider.slug == "bad")
    for _ in range(2):
        assert gateway.chat().status == 200
    series = wait_for(gateway, "external_service_calls_total", 2, service="good", status="200")
    wait_for(gateway, "circuit_transitions_total", 1, target=target, to="open")
    assert {"route_attempts_total", "circuit_transitions_total"} <= of_bad(series)
    configure(2, working)
    series = scrape(gateway)
    assert of_bad(series) == set()
    assert total(series, "external_service_calls_total", service="good", status="200") == 2
    configure(3, failing, working)
    series = scrape(gateway)
    assert total(series, "circuit_transitions_total", target=target, to="open") == 1
    assert total(series, "route_attempts_total", provider="bad", outcome="upstream_5xx") == 1


def test_a_decision_without_a_target_counts_as_none(shared_gateway: Gateways) -> None:
    gateway = shared_gateway
    gateway.publish(document([provider("a")]))
    gateway.overlay(admin_states={"a": "disabled"})
    gateway.chat()
    series = wait_for(gateway, "routing_decisions_total", 1)
    assert value(series, "routing_decisions_total", strategy="none", model_type="chat", region="none") == 1


def test_nothing_a_client_sends_makes_a_series(gateway: Gateways) -> None:
    gateway.publish(document([provider("a", models={"known": "known"}, region="eu")]))
    gateway.chat("known", x_route_region="eu")
    before = {each for each in wait_for(gateway, "http_requests_total", 1) if "_bucket" not in each[0]}
    for number in range(20):
        gateway.chat(f"model-{number}")
        gateway.chat("known", x_route_region=f"region-{number}", x_route_session=f"s-{number}")
        gateway.chat(path=f"/p/profile-{number}/v1/chat/completions")
        gateway.request("PURGE", f"/v1/path-{number}", headers={"Authorization": f"Bearer {gateway.key}"})
    series = wait_for(gateway, "http_requests_total", 81)
    new = {each for each in series if "_bucket" not in each[0]} - before
    text = repr(new)
    assert not [word for word in ("model-", "region-", "s-1", "profile-", "PURGE", "path-") if word in text]
    assert value(series, "http_requests_total", method="other", endpoint="other", status="404") == 20
    assert len(new) < 30


def test_what_heads_are_called_adds_no_series_for_good(tmp_path: Path) -> None:
    """Whoever registers heads makes up their types and regions."""
    counted = Child(tmp_path, 1)
    for kind, region in (("chat", "none"), ("other", "eu"), ("made-up", "eu"), ("chat", "moon"), ("other", "gone")):
        labels = ["failover", kind, region]
        counted.add("routing_decisions_total", ["strategy", "model_type", "region"], labels, 3)

    def shown(*heads: dict[str, Any]) -> set[tuple[str, str]]:
        snapshot = Snapshot.from_document(document([provider("a", region="eu", heads=[*heads])]))
        return {
            (sample.labels["model_type"], sample.labels["region"])
            for metric in CountedCollector(tmp_path, snapshot).collect()
            for sample in metric.samples
            if sample.name == "routing_decisions_total" and sample.value == 3
        }

    configured = {("chat", "none"), ("other", "eu")}
    assert shown(head("one", model_type="made-up", region="moon")) == configured | {("made-up", "eu"), ("chat", "moon")}
    assert shown(head("one", model_type="another", region="mars")) == configured
    assert shown(head("two", model_type="made-up")) == configured | {("made-up", "eu")}
    counted.kill()


def test_a_gateway_counts_so_many_regions_and_all_others_as_none() -> None:
    metrics = Metrics("gateway-1", CollectorRegistry())
    recorder = Recorder(None, metrics)  # type: ignore[arg-type]  # it writes nothing
    decision: Any = SimpleNamespace(source="pool", would_rank="failover", pin=None, stages=())
    regions = frozenset(f"region-{number:03}" for number in range(MOST_REGIONS + 50))
    for region in [*sorted(regions), "region-000", "made-up"]:
        exchange: Any = SimpleNamespace(region=region, operation="chat")
        recorder.decided(exchange, decision, regions)
    found = {region: count for (_, _, region), count in metrics.decisions.pending.items()}
    assert len(found) == MOST_REGIONS + 1
    assert (found["region-000"], found["region-001"], found["none"]) == (2, 1, 51)


def test_counters_of_a_killed_process_are_kept(start_gateways: Callable[..., Gateways]) -> None:
    gateway = start_gateways()
    gateway.publish(document([provider("a", models={})]))
    gateway.chat()
    wait_for(gateway, "http_requests_total", 1)
    gateway.kill()
    gateway.restart()
    gateway.chat()
    wait_for(gateway, "http_requests_total", 2)


def test_what_was_counted_in_the_last_second_is_flushed_at_the_end(gateway: Gateways) -> None:
    gateway.publish(document([provider("a", models={})]))
    gateway.chat()
    gateway.close_listener()
    assert gateway.kill(number=15) == 0
    assert total(scrape(gateway), "http_requests_total") == 1


def test_collected_observations_equal_observing_one_by_one() -> None:
    values = [0.0, 0.005, 0.0051, 0.1, 0.1, 7.0, 600.0, 601.0]
    registry, reference = CollectorRegistry(), CollectorRegistry()
    metrics = Metrics("test", registry)
    one_by_one = Histogram("route_latency_seconds", "reference", registry=reference, buckets=DURATION_BUCKETS)
    for number in values:
        metrics.latency.add((), number)
        one_by_one.observe(number)
    metrics.flush()

    def samples(source: CollectorRegistry) -> dict[tuple[str, str], float]:
        return {
            (sample.name, sample.labels.get("le", "")): sample.value
            for metric in source.collect()
            for sample in metric.samples
            if sample.name.startswith("route_latency") and not sample.name.endswith("_created")
        }

    assert samples(registry) == samples(reference)


def test_a_websocket_counts_as_101_and_takes_as_long_as_its_handshake(gateway: Gateways, simulator: Simulator) -> None:
    acme = simulator.add("acme", "generic")
    gateway.publish(document([provider("acme", wire="generic", base_url=acme.base_url)]))
    url, headers = f"ws://127.0.0.1:{gateway.port}/svc/default/x", {"Authorization": f"Bearer {gateway.key}"}
    connected = websockets.sync.client.connect(url, additional_headers=headers, proxy=None)
    with connected as connection, pytest.raises(TimeoutError):
        connection.recv(timeout=1.5)
    svc = {"method": "GET", "endpoint": "/svc/{profile}/{path}"}
    series = wait_for(gateway, "http_requests_total", 1, status="101", **svc)
    assert total(series, "http_request_duration_seconds_count", **svc) == 1
    assert total(series, "http_request_duration_seconds_sum", **svc) < 1


@pytest.mark.faults
def test_a_journal_that_is_full_costs_no_answer_and_every_lost_route_is_counted_once(
    start_gateways: Callable[..., Gateways], simulator: Simulator
) -> None:
    """Nobody ships. Two processes share a megabyte; long names fill it soon."""
    gateway = start_gateways(2, SIGNALBOX_JOURNAL_MAX_MB="1")
    gateway.publish(document([provider("a", base_url=simulator.add("a").base_url, network="loopback")]))
    sent = 600
    for _ in range(sent):
        assert gateway.chat("m" * 250).status == 200

    kept = {record.id for record in gateway.finished()}
    assert {record.id for record in gateway.started()} <= kept  # what has begun there, ends there
    assert len(kept) < sent
    wait_for(gateway, "journal_dropped_total", sent - len(kept))

    for segment in list((gateway.data / "journal").glob("*.seg")):
        segment.unlink()  # the shipper has caught up
    wait_until(lambda: gateway.chat().status == 200 and gateway.finished())
