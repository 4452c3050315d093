"""The control endpoint, the request log and the command line."""

from __future__ import annotations

import http.client
import json
import signal
import socket
import ssl
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from simulator.connection import Request
from simulator.faults import CATALOGUE
from simulator.record import Record, RequestLog
from tests.simulator.raw import CHAT, ask, connected, request, streamed
from tests.simulators import Simulator

if TYPE_CHECKING:
    from tests.simulators import ProviderHandle

ROOT = Path(__file__).parents[2]


# -- the log ---------------------------------------------------------------------------------
def test_the_log_tells_what_was_asked_and_what_was_sent(acme: ProviderHandle) -> None:
    seen = ask(acme, streamed(acme).replace(b"host: x", b"Host: x\r\nX-Odd-Case: One\r\nX-Odd-Case: two"))

    (logged,) = acme.requests()
    assert (logged.method, logged.target, logged.status, logged.fault) == ("POST", "/v1/chat/completions", 200, None)
    assert [value for name, value in logged.headers if name == "X-Odd-Case"] == ["One", "two"]
    assert logged.json() == {**CHAT, "stream": True}
    assert logged.bytes_sent == len(seen.data)
    assert logged.events_sent == len(seen.events)
    assert (logged.finished, logged.disconnected) == (True, False)


def test_the_log_notes_a_client_that_hangs_up_in_the_middle_and_how_much_it_got(acme: ProviderHandle) -> None:
    acme.behave(tokens_per_second=50, output_tokens=500)

    with connected(acme) as wire:
        wire.send(streamed(acme))
        wire.read(until=b'"content":" ')

    (logged,) = acme.wait_for(lambda requests: requests[0].disconnected)
    assert logged.finished is False
    assert 3 <= logged.events_sent < 500


def test_a_query_and_a_body_that_is_no_text_are_logged_as_they_came(acme: ProviderHandle) -> None:
    body = b"\xff\x00\xfe"
    ask(acme, b"POST /v1/audio?x=%20y HTTP/1.1\r\nhost: x\r\ncontent-length: 3\r\n\r\n" + body)

    (logged,) = acme.requests()
    assert (logged.target, logged.path) == ("/v1/audio?x=%20y", "/v1/audio")
    assert logged.body == body


def test_the_log_is_bounded_by_number_and_by_bytes_but_counts_on() -> None:
    log = RequestLog(kept=3, kept_bytes=100)

    def add(size: int) -> None:
        entry = Request(1, 1)
        entry.body = b"x" * size
        log.add(Record(log.total + 1, entry, 0.0, 0.0))

    for _ in range(5):
        add(10)
    assert [entry["number"] for entry in log.as_document()["requests"]] == [3, 4, 5]
    add(95)
    assert [entry["number"] for entry in log.as_document()["requests"]] == [6]
    add(1_000)
    assert [entry["number"] for entry in log.as_document()["requests"]] == [7], "the last is always kept"
    assert log.as_document()["total"] == 7


def test_the_log_can_be_emptied_and_left_out(acme: ProviderHandle) -> None:
    ask(acme)
    acme.forget()
    assert (acme.requests(), acme.count()) == ([], 0)

    acme.behave(log=False)
    ask(acme)
    assert (acme.requests(), acme.count()) == ([], 1)


# -- connections -----------------------------------------------------------------------------
def test_requests_sent_ahead_are_answered_in_turn(acme: ProviderHandle) -> None:
    acme.behave(latency=0.05)
    with connected(acme) as wire:
        wire.send(request(acme) + streamed(acme) + request(acme))
        first, second, third = wire.exchange(b""), wire.exchange(b""), wire.exchange(b"")
    bodies = (first.data + second.data + third.data).split(b"HTTP/1.1 200 OK\r\n")[1:]

    assert [b"text/event-stream" in body for body in bodies] == [False, True, False]


def test_a_body_announced_with_expect_is_asked_for(acme: ProviderHandle) -> None:
    head, _, body = request(acme, headers="expect: 100-continue\r\n").partition(b"\r\n\r\n")
    with connected(acme) as wire:
        wire.send(head + b"\r\n\r\n")
        assert wire.read(until=b"\r\n\r\n").data == b"HTTP/1.1 100 Continue\r\n\r\n"
        assert wire.exchange(body).status == 200


def test_what_is_no_http_is_refused_and_closed(acme: ProviderHandle) -> None:
    with connected(acme) as wire:
        wire.send(b"\x16\x03\x01 this is no request\r\n\r\n")
        seen = wire.read()

    assert (seen.status, seen.ending) == (400, "fin")


@pytest.mark.parametrize(
    ("line", "status"),
    [
        ("GET /v1/chat/completions", 405),
        ("GET /v1/nothing", 404),
        ("DELETE /", 404),
        ("POST /v1/chat/completions", 400),
    ],
)
def test_other_methods_paths_and_bodies_are_refused(acme: ProviderHandle, line: str, status: int) -> None:
    assert ask(acme, f"{line} HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\n\r\n{{".encode()).status == status


def test_resources_are_there_with_and_without_v1(acme: ProviderHandle) -> None:
    assert ask(acme, request(acme, path="/chat/completions")).status == 200


# -- the endpoint ----------------------------------------------------------------------------
@pytest.fixture(scope="module")
def process() -> Any:
    with Simulator(process=True) as running:
        running.add_all([{"name": "acme"}, {"name": "claudia", "wire": "anthropic", "behaviour": {"usage": False}}])
        yield running


def call(simulator: Simulator, method: str, path: str, body: str | None = None) -> tuple[int, Any]:
    connection = http.client.HTTPConnection("127.0.0.1", simulator.control_port, timeout=5)
    connection.request(method, path, body)
    response = connection.getresponse()
    raw = response.read()
    connection.close()
    return response.status, json.loads(raw) if raw else None


def test_a_process_of_its_own_serves_several_providers(process: Simulator) -> None:
    acme, claudia = process.providers["acme"], process.providers["claudia"]

    assert (ask(acme).status, ask(claudia).status) == (200, 200)
    status, listing = call(process, "GET", "/")
    assert status == 200
    assert listing["providers"][0] == {
        "name": "acme",
        "wire": "openai",
        "base_url": acme.base_url,
        "listening": True,
        "requests": 1,
    }


def test_every_act_of_the_endpoint(process: Simulator) -> None:
    behaviour = "/providers/acme/behaviour"
    assert call(process, "PATCH", behaviour, '{"latency": 0.5}')[1]["latency"] == 0.5
    assert call(process, "PATCH", behaviour, '{"output_tokens": 3}')[1]["latency"] == 0.5
    assert call(process, "GET", behaviour)[1]["output_tokens"] == 3
    assert call(process, "DELETE", behaviour)[1]["output_tokens"] == 16
    assert call(process, "POST", "/providers/acme/stop")[1]["listening"] is False
    assert call(process, "POST", "/providers/acme/start")[1]["listening"] is True
    assert call(process, "GET", "/providers/acme/requests")[1] == {"total": 0, "requests": []}
    assert call(process, "DELETE", "/providers/acme/requests") == (204, None)


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "/nothing", None, 404),
        ("GET", "/providers/unknown/behaviour", None, 404),
        ("GET", "/providers/acme/unknown", None, 404),
        ("PUT", "/providers/acme/behaviour", "{}", 405),
        ("GET", "/providers/acme/stop", None, 405),
        ("PATCH", "/providers/acme/behaviour", "{", 400),
        ("PATCH", "/providers/acme/behaviour", "[]", 400),
        ("PATCH", "/providers/acme/behaviour", '{"x": 1}', 400),
    ],
)
def test_a_wrong_call_is_refused_in_words(
    process: Simulator, method: str, path: str, body: str | None, status: int
) -> None:
    answered, document = call(process, method, path, body)

    assert answered == status
    assert document["error"]


@pytest.mark.parametrize("header", ["origin: http://127.0.0.1:8000", "host: rebound.example:80"])
def test_no_web_page_may_call_the_endpoint(process: Simulator, header: str) -> None:
    name, _, value = header.partition(": ")
    connection = http.client.HTTPConnection("127.0.0.1", process.control_port, timeout=5)
    connection.request("POST", "/providers/acme/stop", headers={name: value})
    assert connection.getresponse().status == 403
    connection.close()

    assert ask(process.providers["acme"]).status == 200


def test_reset_returns_to_the_behaviour_it_was_started_with(process: Simulator) -> None:
    claudia = process.providers["claudia"]
    claudia.behave(usage=True, output_tokens=2)

    claudia.reset()

    assert claudia.behaviour()["usage"] is False
    assert claudia.behaviour()["output_tokens"] == 16


# -- the command line ------------------------------------------------------------------------
def run(*arguments: str, command: tuple[str, ...] = ("-m", "simulator")) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *command, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )


@pytest.mark.parametrize("command", [("-m", "simulator"), ("manage.py", "simulate")])
def test_the_command_says_when_it_is_ready_and_ends_at_a_signal(command: tuple[str, ...], data_dir: Path) -> None:
    child = subprocess.Popen(
        [sys.executable, *command, "--name", "solo", "--wire", "anthropic", "--behaviour", '{"output_tokens": 2}'],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        env={"SIGNALBOX_DATA_DIR": str(data_dir), "PATH": ""},
    )
    assert child.stdout is not None
    line = child.stdout.readline()
    child.send_signal(signal.SIGTERM)
    assert child.wait(30) == 0
    child.stdout.close()
    assert line.startswith("simulator ready solo=http://127.0.0.1:")
    assert " control=http://127.0.0.1:" in line


def test_a_taken_port_is_one_clear_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        provider = run("--port", str(port))
        control = run("--control-port", str(port))

    assert (provider.returncode, provider.stderr) == (1, f"simulator: simulated: port {port}: Address already in use\n")
    assert control.returncode == 1
    assert control.stderr.startswith(f"simulator: control endpoint: port {port}: ")
    assert control.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("[", "not JSON"),
        ("[]", "no providers"),
        ('[{"name": "a"}, {"name": "a"}]', "must differ"),
        ('[{"name": "a", "wire": "smoke"}]', "a: wire must be one of openai, anthropic, generic"),
        ('[{"name": "a", "port": "x"}]', "port"),
        ('[{"name": "a", "behaviour": {"faults": ["nope"]}}]', "a: Invalid value 'nope'"),
        ('[{"name": "a", "certificate": "/nowhere.pem"}]', "a: "),
    ],
)
def test_a_bad_configuration_is_one_clear_line(tmp_path: Path, content: str, words: str) -> None:
    config = tmp_path / "providers.json"
    config.write_text(content)

    ended = run("--config", str(config))

    assert ended.returncode == 1
    assert words in ended.stderr
    assert ended.stderr.count("\n") == 1


def test_a_provider_may_speak_tls(simulator: Simulator, certificate: tuple[Path, Path]) -> None:
    chain, key = certificate
    (acme,) = simulator.add_all([{"name": "acme", "certificate": str(chain), "private_key": str(key)}])
    trust = ssl.create_default_context(cafile=str(chain))

    connection = http.client.HTTPSConnection("127.0.0.1", acme.port, context=trust, timeout=5)
    connection.request("POST", "/v1/chat/completions", json.dumps(CHAT), {"content-type": "application/json"})
    assert connection.getresponse().status == 200
    connection.close()

    acme.fail("reset_before_headers")
    connection.request("POST", "/v1/chat/completions", json.dumps(CHAT))
    with pytest.raises(ConnectionResetError):
        connection.getresponse()
    connection.close()


# -- what is written about it ----------------------------------------------------------------
def test_the_table_in_the_documentation_names_every_fault_and_no_other() -> None:
    rows = (ROOT / "docs" / "simulator.md").read_text().split("## Faults")[1].split("\n## ")[0]
    named = [line.split("`")[1] for line in rows.splitlines() if line.startswith("| `")]

    assert named == list(CATALOGUE)
