"""Traces are off unless they are asked for, and what cannot work is refused at the start, in one line."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from importlib import metadata
from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry.util.re import parse_env_headers

from routing_project import preflight, redaction
from routing_project.env import Env, EnvError, get_env
from tests.gateways import ROOT

if TYPE_CHECKING:
    from pathlib import Path


def env(data_dir: Path, **settings: Any) -> Env:
    return Env(data_dir=data_dir, **settings)


@pytest.mark.parametrize(
    ("settings", "refused"),
    [
        ({}, None),
        ({"traces": "otlp"}, None),
        ({"trace_sampler": "xray", "trace_protocol": "grpc"}, None),  # somebody else's: ours are off
        ({"traces": "otlp", "trace_sampler": "xray"}, "signalbox.E008"),
        ({"traces": "otlp", "trace_sampler": "traceidratio", "trace_sampler_argument": "2"}, "signalbox.E008"),
        ({"traces": "otlp", "trace_sampler": "traceidratio", "trace_sampler_argument": "nan"}, "signalbox.E008"),
        ({"traces": "otlp", "trace_sampler": "always_on", "trace_sampler_argument": "?"}, None),
        ({"traces": "otlp", "trace_protocol": "grpc"}, "signalbox.E007"),
        ({"exporter_headers": "team: key"}, None),
        ({"traces": "otlp", "exporter_headers": "a=b%20c, Api-Key = d=e==,"}, None),
        ({"traces": "otlp", "exporter_headers": "authorization=Bearer not encoded"}, None),
        ({"traces": "otlp", "exporter_headers": "a=b,team: key"}, "signalbox.E009"),
        ({"traces": "otlp", "exporter_headers": 'authorization="quoted"'}, "signalbox.E009"),
        ({"traces": "otlp", "exporter_headers": "team: key", "trace_headers": "team=key"}, None),
        ({"traces": "otlp", "exporter_headers": "team=key", "trace_headers": "team:key"}, "signalbox.E009"),
    ],
)
def test_settings_that_cannot_work_are_refused(data_dir: Path, settings: dict[str, Any], refused: str | None) -> None:
    found = [finding.id for finding in preflight.findings(env(data_dir, **settings)) if finding.refuses]
    assert found == ([refused] if refused else [])


@pytest.mark.parametrize(
    ("sampler", "argument", "parent_based", "ratio"),
    [
        ("parentbased_always_on", "", True, 1.0),
        ("always_off", "", False, 0.0),
        ("ParentBased_TraceIdRatio", "0.25", True, 0.25),
        ("traceidratio", "1", False, 1.0),
    ],
)
def test_samplers_are_named_as_opentelemetry_names_them(
    data_dir: Path, sampler: str, argument: str, parent_based: bool, ratio: float
) -> None:
    made = env(data_dir, trace_sampler=sampler, trace_sampler_argument=argument)
    assert made.trace_sampling == (parent_based, ratio)


def test_what_the_variables_say_is_read(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = data_dir / "headers"
    secret.write_text("authorization=Bearer%20from-a-file\n")
    for name, value in {
        "SIGNALBOX_DATA_DIR": str(data_dir),
        "SIGNALBOX_TRACES": "otlp",
        "OTEL_TRACES_SAMPLER": "traceidratio",
        "OTEL_TRACES_SAMPLER_ARG": "0.5",
        "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc",
        "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/protobuf",
        "OTEL_EXPORTER_OTLP_HEADERS_FILE": str(secret),
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "")
    get_env.cache_clear()
    try:
        made = get_env()
    finally:
        get_env.cache_clear()
    assert (made.traces, made.trace_sampling, made.trace_protocol) == ("otlp", (False, 0.5), "http/protobuf")
    assert os.environ["OTEL_EXPORTER_OTLP_HEADERS"] == "authorization=Bearer%20from-a-file"


def test_missing_packages_are_named_before_anything_starts(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(name: str) -> Any:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "distribution", none)
    preflight.check_settings(env(data_dir))
    with pytest.raises(preflight.Fatal) as caught:
        preflight.check_settings(env(data_dir, traces="otlp"))
    assert str(caught.value) == (
        "SIGNALBOX_TRACES=otlp needs packages that are not installed: opentelemetry-sdk, "
        "opentelemetry-exporter-otlp-proto-http. Install them with: python -m pip install opentelemetry-sdk "
        "opentelemetry-exporter-otlp-proto-http"
    )


def run(data_dir: Path, code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if name not in ("DATABASE_URL", "DJANGO_SETTINGS_MODULE")}
    environment = {**kept, "SIGNALBOX_DATA_DIR": str(data_dir), **environment}
    return subprocess.run([sys.executable, "-c", code], env=environment, cwd=ROOT, capture_output=True, text=True)


def test_a_shipper_by_itself_says_so_in_one_line(data_dir: Path) -> None:
    code = (
        "import sys; sys.modules['opentelemetry.sdk'] = None; sys.argv = ['shipper', '--once']\n"
        "from history.shipper.__main__ import main; sys.exit(main())"
    )
    ended = run(data_dir, code, SIGNALBOX_TRACES="otlp")
    assert ended.returncode == 1
    (line,) = ended.stderr.strip().splitlines()
    assert line.startswith("history.shipper: SIGNALBOX_TRACES=otlp needs the packages of the extra 'otel'")


SHIP = "import sys; sys.argv = ['shipper', '--once']\nfrom history.shipper.__main__ import main; sys.exit(main())"
#: As people write them who mean a header; the last word is the credential.
MISWRITTEN = ["x-honeycomb-team: hcaik01abcdefghij", 'authorization="Bearer hcaik01abcdefghij"', "hcaik01abcdefghij"]


@pytest.mark.parametrize("headers", MISWRITTEN)
def test_the_exporter_takes_no_headers_that_are_refused(headers: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "opentelemetry.util.re"):
        assert parse_env_headers(headers, liberal=True) == {}
    assert headers in caplog.text, "which is why it is never asked"


@pytest.mark.parametrize("variable", ["OTEL_EXPORTER_OTLP_HEADERS", "OTEL_EXPORTER_OTLP_TRACES_HEADERS"])
@pytest.mark.parametrize("file", [False, True])
def test_headers_that_are_no_list_end_a_shipper_with_one_line_that_does_not_quote_them(
    data_dir: Path, variable: str, file: bool
) -> None:
    value = f"a=b,{MISWRITTEN[0]}"
    if file:
        (data_dir / "headers").write_text(value)
    given = {f"{variable}_FILE": str(data_dir / "headers")} if file else {variable: value}
    ended = run(data_dir, SHIP, SIGNALBOX_TRACES="otlp", **given)
    assert ended.returncode == 1
    (line,) = ended.stderr.strip().splitlines()
    assert line == f"history.shipper: {variable}: entry 2 must be name=value, with a space as %20"


@pytest.mark.parametrize(
    "headers", [*MISWRITTEN, "a=b, Api-Key = hcaik01abcdefghij", "authorization=Bearer%20hcaik01abcdefghij"]
)
def test_headers_are_secret_however_they_are_written(data_dir: Path, headers: str) -> None:
    redaction.know(env(data_dir, exporter_headers=headers).known_secrets())
    try:
        assert "hcaik01abcdefghij" not in redaction.redact_text(f"it says: {headers}, with hcaik01abcdefghij")
        assert redaction.redact_text("signalbox.access: in production") == "signalbox.access: in production"
    finally:
        redaction.know([])


def test_plain_words_in_headers_are_left_alone(data_dir: Path) -> None:
    known = env(data_dir, trace_headers="x-dataset=signalbox,x-scope=production").known_secrets()
    assert not {"signalbox", "production"} & set(known)


def test_nothing_quotes_headers_once_logging_is_set_up() -> None:
    code = (
        "from routing_project import logs; logs.configure('shipper')\n"
        "from opentelemetry.util.re import parse_env_headers\n"
        f"print(parse_env_headers({MISWRITTEN[0]!r}, liberal=True))"
    )
    ended = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert (ended.stdout, ended.stderr) == ("{}\n", "")


@pytest.mark.parametrize("limit", ["x", "-1", "1.5"])
def test_a_limit_of_spans_that_is_no_number_is_refused_at_the_start(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch, limit: str
) -> None:
    traced = env(data_dir, traces="otlp")
    monkeypatch.setenv("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "64")
    preflight.check_settings(traced)
    monkeypatch.setenv("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", limit)
    preflight.check_settings(env(data_dir))  # nobody reads it
    with pytest.raises(preflight.Fatal, match="OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT: must be a whole number"):
        preflight.check_settings(traced)


@pytest.mark.parametrize(
    ("variable", "said"),
    [
        ("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT: must be a whole number"),
        ("OTEL_PYTHON_EXPORTER_OTLP_HTTP_CREDENTIAL_PROVIDER", "SIGNALBOX_TRACES=otlp: traces cannot be set up: "),
    ],
)
def test_what_opentelemetry_does_not_take_ends_a_shipper_with_one_line(
    data_dir: Path, variable: str, said: str
) -> None:
    ended = run(data_dir, SHIP, SIGNALBOX_TRACES="otlp", **{variable: "nobody"})
    assert ended.returncode == 1
    (line,) = ended.stderr.strip().splitlines()
    assert line.startswith(f"history.shipper: {said}")


def test_what_is_off_is_not_imported(data_dir: Path) -> None:
    """The client of Redis looks for OpenTelemetry's metrics by itself, so not even its packages' names say much."""
    code = (
        "import sys; sys.argv = ['shipper', '--once']\n"
        "import routes.gateway.app, routes.gateway.tracing, routes.gateway.__main__\n"
        "from history.shipper.__main__ import main; main()\n"
        "names = 'opentelemetry.exporter', 'google.protobuf', 'history.tracing.spans', 'history.tracing.export'\n"
        "print([name for name in sys.modules if name.startswith(names)])"
    )
    assert run(data_dir, code).stdout.strip().endswith("[]")


def test_a_wrong_sampler_ends_a_gateway_with_one_line(data_dir: Path) -> None:
    code = (
        "import socket, sys; s = socket.create_server(('127.0.0.1', 0))\n"
        "from routes.gateway.__main__ import main; sys.exit(main(['--fd', str(s.fileno())]))"
    )
    ended = run(data_dir, code, SIGNALBOX_TRACES="otlp", OTEL_TRACES_SAMPLER="xray", REDIS_URL="")
    assert ended.returncode == 1
    assert "OTEL_TRACES_SAMPLER: must be one of always_on" in ended.stderr.splitlines()[-1]
    assert EnvError.__name__ not in ended.stderr
