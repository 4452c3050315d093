"""Traces are off unless they are asked for, and what cannot work is refused at the start, in one line."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib import metadata
from typing import TYPE_CHECKING, Any

import pytest

from routing_project import preflight
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
