"""One measurement: a subject under one load, with the CPU time of its processes and what its journal holds.

The load runs in a process of its own (bench.load, or wrk when it is there and fits), on the upstream's core.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.machine import ROOT, cpu_seconds, on_core, resident_mb
from bench.scenarios import PATH, body

if TYPE_CHECKING:
    from bench.scenarios import Scenario
    from bench.subjects import Running, Subject, Upstream

_UNITS = {"us": 0.001, "ms": 1.0, "s": 1000.0, "m": 60_000.0}


class MeasurementError(Exception):
    """The load did not run, or not every answer was good."""


def measure(
    scenario: Scenario, subject: Subject, upstream: Upstream, cores: tuple[int | None, int | None], *, wrk: bool
) -> dict[str, Any]:
    """Start the subject, warm it up, load it, and take it down again. Raises MeasurementError."""
    with subject.run(upstream, cores[0]) as running:
        if wrk and scenario.mode == "closed":
            result = _with_wrk(scenario, running, cores[1])
        else:
            result = _with_own_generator(scenario, running, cores[1])
        result["memory_mb"] = resident_mb(running.pids) if running.pids else None
        if result["errors"]:
            raise MeasurementError(f"{subject.name}, {scenario.name}: {result['errors']} bad answers: {result}")
        if running.gateway is not None:
            result["rows"] = _rows(running, result["requests"])
    per = result.get("events") or result["requests"]
    used = result.pop("cpu_seconds")
    if running.pids and used is not None and per:
        result["cpu_us"] = used / per * 1e6
        result["busy"] = used / result["seconds"]
    return result


def _rows(running: Running, answered: int) -> int:
    """Finished rows in the journal: at least one for each answer counted, or the bench measured something else."""
    assert running.gateway is not None
    rows = len(running.gateway.finished())
    if rows < answered:
        raise MeasurementError(f"{answered} requests were answered, but the journal holds {rows}")
    return rows


# -- the own generator -----------------------------------------------------------------------
def _with_own_generator(scenario: Scenario, running: Running, core: int | None) -> dict[str, Any]:
    with on_core(core):
        child = subprocess.Popen(
            [sys.executable, "-m", "bench.load"], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
    assert child.stdin is not None
    assert child.stdout is not None
    child.stdin.write(json.dumps(scenario.specification(running)))
    child.stdin.close()
    if child.stdout.readline() != "begin\n":
        raise MeasurementError(f"the load generator ended with {child.wait()}")
    before = cpu_seconds(running.pids)
    line = child.stdout.readline()
    after = cpu_seconds(running.pids)
    if line == "end\n":  # streams are still being read to their end
        line = child.stdout.readline()
    child.stdout.close()
    if child.wait() or not line:
        raise MeasurementError("the load generator failed")
    result: dict[str, Any] = json.loads(line)
    result["cpu_seconds"] = None if before is None or after is None else after - before
    result["generator"] = "own"
    return result


# -- wrk -------------------------------------------------------------------------------------
def available() -> bool:
    return shutil.which("wrk") is not None


def _with_wrk(scenario: Scenario, running: Running, core: int | None) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "body").write_bytes(body(scenario.body_bytes))
        headers = {"user-agent": "bench", "content-type": "application/json", **running.headers}
        lines = "".join(f"wrk.headers[{json.dumps(key)}] = {json.dumps(value)}\n" for key, value in headers.items())
        script = folder / "load.lua"
        script.write_text(
            f'wrk.method = "POST"\n{lines}wrk.body = io.open({json.dumps(str(folder / "body"))}):read("*a")\n'
        )

        def run(seconds: float) -> str:
            command = ["wrk", "-t1", f"-c{scenario.connections}", f"-d{max(1, round(seconds))}s", "--latency"]
            url = f"http://127.0.0.1:{running.port}{PATH}"
            with on_core(core):
                ended = subprocess.run([*command, "-s", str(script), url], capture_output=True, text=True, check=False)
            if ended.returncode:
                raise MeasurementError(f"wrk: {ended.stderr or ended.stdout}")
            return ended.stdout

        run(scenario.warmup)
        before, started = cpu_seconds(running.pids), time.perf_counter()
        output = run(scenario.seconds)
        seconds, after = time.perf_counter() - started, cpu_seconds(running.pids)
    result = read_wrk(output)
    result["cpu_seconds"] = None if before is None or after is None else after - before
    result["seconds"] = seconds
    result["generator"] = "wrk"
    return result


def read_wrk(output: str) -> dict[str, Any]:
    """The figures in wrk's report. Raises MeasurementError when it holds none."""
    total = re.search(r"(\d+) requests in ([\d.]+)(us|ms|s|m)", output)
    rate = re.search(r"Requests/sec:\s+([\d.]+)", output)
    if total is None or rate is None:
        raise MeasurementError(f"wrk said: {output}")
    errors = sum(
        int(number)
        for pattern in (r"Non-2xx or 3xx responses: (\d+)", r"(?:connect|read|write|timeout) (\d+)")
        for number in re.findall(pattern, output)
    )

    def latency(share: str) -> float | None:
        found = re.search(rf"^\s+{share}%\s+([\d.]+)(us|ms|s|m)\s*$", output, re.MULTILINE)
        return None if found is None else float(found[1]) * _UNITS[found[2]]

    requests = int(total[1]) - errors
    return {
        "requests": requests,
        "errors": errors,
        "rate": float(rate[1]),
        "p50_ms": latency("50"),
        "p99_ms": latency("99"),
    }
