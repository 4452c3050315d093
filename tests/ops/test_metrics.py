"""``/metrics`` of a whole installation: every name from the start, nothing lost with a process, nothing made up."""

from __future__ import annotations

import http.client
import json
import os
import signal
import time
from contextlib import ExitStack, closing
from typing import TYPE_CHECKING, Any

import pytest
import websockets.sync.client

from routes.engine import circuit, strategies
from routes.engine.circuit import Circuit
from routes.engine.settings import CircuitSettings
from routes.engine.types import ERROR_CLASSES, MODEL_TYPES
from routing_project.console.metrics.zeros import TRANSITIONS
from routing_project.metrics.catalogue import DJANGO_FAMILIES, FAMILIES
from tests.documents import CIRCUIT
from tests.gateways import Answer, wait_until
from tests.series import Series
from tests.simulators import ProviderHandle, Simulator
from tests.stack import Stack, document

if TYPE_CHECKING:
    from collections.abc import Iterator

    from routes.engine.types import Transition

TOKEN = "a token for prometheus"
#: That the parser lets through, and nobody takes.
METHODS = ("PURGE", "PROPFIND", "LOCK", "REPORT", "MKCOL", "SUBSCRIBE", "UNLINK", "M-SEARCH")


class Installation(Stack):
    """One that shows its metrics to whoever has the token."""

    provider: ProviderHandle
    services: ProviderHandle

    def metrics(self) -> str:
        answer = self.scrape(f"Bearer {TOKEN}")
        assert answer.status == 200, answer.body
        return answer.body.decode()

    def scrape(self, authorization: str | None, **headers: str) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        with closing(connection):
            if authorization is not None:
                headers["Authorization"] = authorization
            connection.request("GET", "/metrics", headers=headers)
            response = connection.getresponse()
            return Answer(response.status, dict(response.getheaders()), response.read())

    def series(self) -> Series:
        return Series.parse(self.metrics())

    def wait_for(self, name: str, expected: float, **labels: str) -> Series:
        """Counters are flushed once a second."""
        last = Series()

        def there() -> bool:
            nonlocal last
            last = self.series()
            if last.of(name, **labels) == expected:
                return True
            time.sleep(0.2)  # a scrape is work, for whoever asks too
            return False

        wait_until(there, 20, f"{name}{labels} = {expected}")
        return last

    def settled(self) -> Series:
        """When what was sent before has been handed over: two looks, more than a flush apart, see the same."""
        seen: list[float] = []

        def still() -> Series | None:
            series = self.series()
            seen.append(series.of("http_requests_total"))
            if len(seen) > 1 and seen[-1] == seen[-2]:
                return series
            time.sleep(1.2)
            return None

        found: Series = wait_until(still, 20, "nothing is counted any more")
        return found


@pytest.fixture(scope="module")
def simulator() -> Iterator[Simulator]:
    with Simulator(process=True) as running:
        yield running


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """Two gateways; nothing is published yet."""
    folder = tmp_path_factory.mktemp("metrics")
    with Installation(
        folder,
        workers=2,
        SIGNALBOX_METRICS_TOKEN=TOKEN,
        SIGNALBOX_METRICS_NETWORKS="192.0.2.0/24",
        SIGNALBOX_ALLOWED_HOSTS="router.example.org,127.0.0.1",
    ) as running:
        yield running


@pytest.fixture(scope="module")
def installed(started: Installation, simulator: Simulator) -> Installation:
    started.provider = simulator.add("acme", models=["gpt-4o"])
    started.services = simulator.add("tools", "generic")
    config = document(started.provider, started.services, provider={"models": {"gpt-4o": "gpt-4o"}, "region": "eu"})
    config["providers"][1].pop("models", None)
    started.import_config(config)
    return started


# -- names -------------------------------------------------------------------------------------------------------
def test_every_family_is_there_before_anything_is_published(started: Installation) -> None:
    text = started.metrics()
    told = {line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")}
    assert {family.name for family in FAMILIES} <= told
    series = Series.parse(text)
    configured = {"provider", "target", "service", "profile"}
    for family in FAMILIES:
        if not configured & set(family.labels):
            assert set(family.series) <= series.names(), family.name
    for name in ("routing_decisions_total", "head_registrations_total", "journal_dropped_total", "sse_connections"):
        assert series.of(name) == 0


def test_every_value_of_a_label_that_is_out_of_a_closed_list_is_there_with_0(installed: Installation) -> None:
    series = installed.series()
    kinds = [*sorted(set(MODEL_TYPES.values())), "other"]
    assert len(kinds) == 11
    for kind in kinds:
        for strategy in (*strategies.NAMES, "none"):
            assert series.of("routing_decisions_total", strategy=strategy, model_type=kind, region="none") == 0
    for queue in ("celery", "live", "journal"):
        for status in ("published", "consumed", "failed", "dropped"):
            assert series.of("message_queue_messages_total", queue=queue, status=status) >= 0
    for cache in ("affinity", "key", "price"):
        assert series.of("cache_hits_total", cache=cache) >= 0
        assert series.of("cache_misses_total", cache=cache) >= 0
    for provider in ("acme", "tools"):
        for outcome in ("ok", *ERROR_CLASSES):
            assert series.of("route_attempts_total", provider=provider, outcome=outcome) == 0
        assert series.of("external_service_calls_total", service=provider, status="200") == 0
        assert series.of("route_ttfb_seconds_count", provider=provider) == 0
    targets = {dict(labels)["target"]: value for (name, labels), value in series.items() if name == "circuit_state"}
    assert set(targets.values()) == {0}
    assert {dict(labels)["target"] for name, labels in series if name == "route_target_info"} == set(targets)
    for target in targets:
        for to, reason in TRANSITIONS:
            assert series.of("circuit_transitions_total", target=target, to=to, reason=reason) == 0


def moves() -> set[tuple[str, str]]:
    """Every (state, reason) that a circuit comes to, as the engine makes them."""
    always = CircuitSettings(**CIRCUIT | {"failure_threshold": 1, "success_threshold": 1})
    rate = CircuitSettings(**CIRCUIT | {"failure_threshold": 99, "min_results": 2})
    found = set()

    def see(moved: Transition | None) -> None:
        assert moved is not None
        found.add((moved.after, moved.reason))

    one = Circuit("t")
    see(one.failed(always, one.period, 1.0, 0.5))
    see(one.due(1e6))
    see(one.failed(always, one.period, 1e6, 0.5))
    see(one.probed(1e6))
    see(one.succeeded(always, one.period, 1e6))
    one.succeeded(rate, one.period, 1e6)
    see(one.failed(rate, one.period, 1e6, 0.5))
    see(one.succeeded(rate, one.period, 1e6))  # a degraded decision
    see(one.act("open", 2e6, 1.0, 1e6))
    see(one.due(2e6))
    see(one.act("closed", 3e6, 2.0, 2e6))
    see(one.act("reset", 0.0, 3.0, 2e6))
    for state in ("open", "half_open", "closed"):
        see(one.adopt(state, 3e6, 4e6, 0, 3e6))
    return found


def test_how_circuits_move_is_what_the_engine_says() -> None:
    assert {reason for _, reason in moves()} == set(circuit.REASONS) - {""}
    assert set(TRANSITIONS) <= moves()
    people = {"forced_open", "forced_closed", "force_ended", "reset", "another_host"}
    assert moves() - set(TRANSITIONS) == {each for each in moves() if each[1] in people}


def test_what_django_prometheus_exports_is_what_the_catalogue_lists(installed: Installation) -> None:
    installed.request("GET", "/api/v1/providers/")
    text = installed.metrics()
    told = {line.split()[2] for line in text.splitlines() if line.startswith("# TYPE django_")}
    listed = {family.name for family in DJANGO_FAMILIES}
    # Prometheus's own way: a counter's family is called without its ending in some formats.
    assert {name.removesuffix("_total") for name in told} <= {name.removesuffix("_total") for name in listed}
    series = Series.parse(text)
    assert series.of("django_http_requests_total_by_view_transport_method_total") > 0
    assert series.of("django_db_execute_total", alias="default", vendor="sqlite") > 0
    assert series.of("django_db_query_duration_seconds_count", alias="default", vendor="sqlite") > 0
    assert series.of("django_cache_get_total", backend="database") > 0


# -- who may -----------------------------------------------------------------------------------------------------
def test_the_token_opens_through_the_gateway_and_nobody_claims_to_be_in_the_network(installed: Installation) -> None:
    assert installed.scrape(f"Bearer {TOKEN}").status == 200
    for authorization, headers in (
        (None, {}),
        ("Bearer wrong", {}),
        (TOKEN, {}),
        (None, {"X-Forwarded-For": "192.0.2.7"}),
        (None, {"Forwarded": "for=192.0.2.7"}),
        (f"Bearer {installed.key}", {}),
    ):
        answer = installed.scrape(authorization, **headers)
        assert answer.status == 403
        assert answer.headers["content-type"].startswith("text/plain")
        assert b"SIGNALBOX_METRICS_TOKEN" in answer.body


def test_a_scrape_need_not_call_the_host_by_a_name_that_people_type(installed: Installation) -> None:
    """Prometheus names it by its address; pages answer to none but the allowed names."""
    host = {"Host": "10.20.0.11:8000"}
    answer = installed.scrape(f"Bearer {TOKEN}", **host)
    assert answer.status == 200
    assert b"routing_decisions_total" in answer.body
    assert answer.headers["x-request-id"]
    assert installed.scrape(None, **host).status == 403
    assert installed.request("GET", "/admin/login/", headers=host).status == 400


def test_scrapes_and_health_calls_are_not_counted(installed: Installation) -> None:
    earlier = installed.series().of("http_requests_total")
    installed.request("GET", "/v1/models")
    before = installed.wait_for("http_requests_total", earlier + 1)
    for path in ("/healthz", "/readyz", "/health", "/metrics"):
        assert installed.request("GET", path).status in (200, 403)
        installed.request("HEAD", path)
    installed.request("GET", "/v1/models")
    series = installed.wait_for("http_requests_total", earlier + 2)
    name = "django_http_requests_before_middlewares_total"
    assert series.of(name) == before.of(name)
    assert not [labels for name, labels in series if {"/metrics", "/healthz", "/health"} & set(dict(labels).values())]


# -- nothing from outside ----------------------------------------------------------------------------------------
def hostile(number: int) -> list[tuple[str, str, Any, dict[str, str]]]:
    """What a client may make up, different for each number: (method, path, body, headers)."""
    word = f"made-up-{number}"
    chat = {"model": word, "messages": [{"role": "user", "content": word}]}
    wishes = {"X-Route-Region": word, "X-Route-Session": word, "X-Route-Tags": word, "User-Agent": word}
    decision = {"profile": "default", "route_type": "inference", "model_type": word, "model": "gpt-4o"}
    decision |= {"region": word, "session": word, "tags": [word]}
    console = [
        ("POST", "/api/v1/decisions/", decision, {}),
        ("GET", f"/{word}/{word}", None, {"Host": f"{word}.example"}),
        ("GET", f"/admin/{word}/", None, {}),
        ("GET", f"/api/v1/providers/{word}/", None, {}),
        (METHODS[number % len(METHODS)], "/api/v1/providers/", None, {}),
        ("POST", f"/webhook/{word}", decision, {}),
        ("GET", f"/static/{word}.css", None, {}),
        ("GET", f"/events/{word}", None, {}),
    ]
    return [
        console[number // len(METHODS) % len(console)],
        ("POST", "/v1/chat/completions", chat, wishes),
        ("POST", "/v1/chat/completions", {**chat, "model": "gpt-4o"}, {**wishes, "Host": f"{word}.example"}),
        ("POST", f"/v1/{word}", chat, wishes),
        ("POST", f"/p/{word}/v1/chat/completions", chat, wishes),
        ("POST", f"/p/default/s/{word}/v1/chat/completions", chat, wishes),
        ("POST", f"/svc/default/{word}?{word}={word}", {}, wishes),
        ("GET", f"/v1/models/{word}", None, wishes),
        (METHODS[number % len(METHODS)], "/v1/models", None, wishes),
    ]


@pytest.mark.slow
def test_what_2000_clients_make_up_adds_no_series(installed: Installation) -> None:
    def send(number: int) -> None:
        for method, path, body, headers in hostile(number):
            content = None if body is None else json.dumps(body)
            named = {"Authorization": f"Bearer {installed.key}", "Content-Type": "application/json", **headers}
            connection.request(method, path, content, named)
            connection.getresponse().read()

    kinds, known = len(hostile(0)), len(METHODS) ** 2  # by then each was sent once
    with closing(http.client.HTTPConnection("127.0.0.1", installed.port, timeout=60)) as connection:
        earlier = installed.series().of("http_requests_total")
        for number in range(known):
            send(number)
        installed.wait_for("http_requests_total", earlier + known * kinds)
        before = installed.series()
        for number in range(known, known + 2000 // kinds):
            send(number)
    expected = before.of("http_requests_total") + 2000 // kinds * kinds
    series = installed.wait_for("http_requests_total", expected)
    assert set(series) - set(before) == set()
    assert "made-up" not in repr(series)


# -- connections -------------------------------------------------------------------------------------------------
@pytest.mark.slow
def test_a_hundred_streams_and_a_hundred_sockets_come_and_go(installed: Installation) -> None:
    """Of both planes: most are watchers of the console, which the gateways relay; they count once."""
    key = installed.request("POST", "/api/v1/access-keys/", {"name": "more", "scopes": ["read"]}).json()["value"]
    installed.provider.behave(tokens_per_second=1, output_tokens=600)

    def stream(number: int) -> http.client.HTTPConnection:
        connection = http.client.HTTPConnection("127.0.0.1", installed.port, timeout=60)
        if number < 90:
            connection.request("GET", "/events/routing-decisions", headers={"Authorization": f"Bearer {key}"})
        else:
            headers = {"Authorization": f"Bearer {installed.key}", "Content-Type": "application/json"}
            body = {"model": "gpt-4o", "stream": True, "messages": [{"role": "user", "content": "go on"}]}
            connection.request("POST", "/v1/chat/completions", json.dumps(body), headers)
        response = connection.getresponse()
        assert response.status == 200
        response.readline()
        return connection

    def socket(number: int) -> Any:
        path = "/ws/live" if number < 90 else "/svc/default/echo"
        return websockets.sync.client.connect(
            f"ws://127.0.0.1:{installed.port}{path}",
            additional_headers={"Authorization": f"Bearer {installed.key}"},
            proxy=None,
        )

    wait_until(lambda: installed.request("GET", "/api/v1/providers/", key=key).status == 200, 10)
    opened = ExitStack()
    with opened:
        for number in range(100):
            opened.callback(stream(number).close)
            opened.enter_context(socket(number))
        installed.wait_for("sse_connections", 100)
        series = installed.wait_for("websocket_connections", 100)
        assert series.of("http_requests_total", endpoint="/ws/live", status="101") >= 90
    installed.wait_for("sse_connections", 0)
    installed.wait_for("websocket_connections", 0)
    installed.provider.reset()


# -- processes that die ------------------------------------------------------------------------------------------
def test_a_process_that_was_killed_and_is_back_counts_as_started_again(installed: Installation) -> None:
    """It is there at nearly every scrape: nothing else shows that it dies again and again."""

    def restarts() -> dict[str, float]:
        series = installed.series().items()
        return {dict(labels)["process"]: value for (name, labels), value in series if name == "process_restarts_total"}

    before = restarts()
    assert set(before) == {"redis", "gateway-1", "gateway-2", "console", "worker", "beat", "shipper"}
    installed.wait_replaced(**{"gateway-2": installed.kill("gateway-2")})
    assert restarts() == before | {"gateway-2": before["gateway-2"] + 1}


def test_the_lag_of_a_gateway_that_hangs_grows_until_it_goes_on(installed: Installation) -> None:
    """Its own last word of it is that all is well."""
    series = ("loop_lag_seconds", frozenset({("process", "gateway-2")}))
    wait_until(lambda: series in installed.series(), 20, "it runs")  # it may have been killed just now
    pid = installed.kill("gateway-2", signal.SIGSTOP)
    try:
        wait_until(lambda: installed.series()[series] > 3, 20, "it is seen to hang")
    finally:
        os.kill(pid, signal.SIGCONT)
    wait_until(lambda: installed.series()[series] < 1, 20, "it goes on")


@pytest.mark.slow
def test_what_was_counted_survives_the_end_of_every_process(installed: Installation) -> None:
    installed.request("POST", "/api/v1/decisions/", {"profile": "default", "route_type": "inference"})
    for _ in range(5):
        assert installed.chat().status == 200
    watched = (
        ("http_requests_total", {}),
        ("routing_decisions_total", {}),
        ("message_queue_messages_total", {"queue": "journal", "status": "consumed"}),
        ("message_queue_messages_total", {"queue": "celery", "status": "published"}),
        ("message_queue_messages_total", {"queue": "celery", "status": "consumed"}),
        ("message_queue_messages_total", {"queue": "live", "status": "published"}),
        ("journal_shipped_total", {}),
        ("django_db_execute_total", {}),
        ("process_cpu_seconds_total", {}),
    )

    def counts() -> list[float]:
        series = installed.series()
        return [series.of(name, **labels) for name, labels in watched]

    shipped = installed.series().of("journal_shipped_total")
    before = wait_until(lambda: (now := counts()) and now[6] >= shipped and now, 20)
    assert all(before)
    pids = {name: installed.kill(name) for name in ("gateway-1", "gateway-2", "worker", "beat", "shipper", "console")}
    installed.wait_replaced(**pids)
    wait_until(lambda: installed.scrape(f"Bearer {TOKEN}").status == 200, 30, "the console is back")
    for _ in range(5):
        assert installed.chat().status == 200
    least = [before[0] + 5, before[1] + 5, *before[2:6], before[6] + 5, *before[7:]]

    def goes_on() -> bool:
        time.sleep(0.2)
        return all(now >= then for now, then in zip(counts(), least, strict=True))

    wait_until(goes_on, 30, f"all is at least {least}")
    # What they left behind is in one file: six processes, and what belongs to them.
    names = [path.name for path in (installed.folder / "metrics").iterdir()]
    assert len([name for name in names if name.endswith(".lock") and name != ".lock"]) == 6
    assert "dead.json" in names


@pytest.mark.slow
def test_counters_equal_what_was_sent_and_what_the_provider_saw_although_a_gateway_is_killed(
    installed: Installation,
) -> None:
    """Full size: ``python -m bench.metrics``."""
    installed.provider.forget()
    chat = {"method": "POST", "endpoint": "/v1/chat/completions"}
    counted = ("routing_decisions_total", "http_requests_total", "external_service_calls_total")

    def counts(series: Series) -> list[float]:
        return [
            series.of("routing_decisions_total", strategy="failover", model_type="chat"),
            series.of("routing_decisions_total", strategy="none", model_type="chat"),
            series.of("http_requests_total", **chat, status="200"),
            series.of("http_requests_total", **chat, status="404") if refused else 0,
            series.of("external_service_calls_total", service="acme", status="200"),
        ]

    refused = 0
    before = counts(installed.settled())
    sent = 0
    for half in range(2):
        for number in range(150):
            if number % 10:
                assert installed.chat().status == 200
                sent += 1
            else:
                assert installed.chat("nobody serves this").status == 404
                refused += 1
        everything = before[0] + sent
        installed.wait_for("routing_decisions_total", everything, strategy="failover", model_type="chat")
        installed.wait_for("routing_decisions_total", before[1] + refused, strategy="none", model_type="chat")
        if half == 0:
            pid = installed.kill("gateway-1")
            installed.wait_replaced(**{"gateway-1": pid})
            assert [installed.series().of(name) for name in counted]
    now = counts(installed.series())
    assert installed.provider.count() == sent
    assert now[0] - before[0] == now[2] - before[2] == now[4] - before[4] == sent
    assert now[1] - before[1] == refused
