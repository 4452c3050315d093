"""What `bench.faults` and `bench.soak` share: a gateway in front of providers that misbehave, a load process, and the
table of what was promised and what was measured."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench import report
from bench.machine import ROOT, on_core
from bench.scenarios import request
from bench.subjects import Running
from tests.documents import document, provider
from tests.gateways import KEY, Gateways
from tests.simulators import Simulator

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.simulators import ProviderHandle

#: core of the gateway, core of load and upstream
Cores = tuple[int | None, int | None]


@dataclass(frozen=True)
class Promise:
    """One line of the table. ``kept`` None = nothing was promised about this figure."""

    row: str
    promised: str
    measured: str
    kept: bool | None = None


@dataclass(frozen=True)
class Bench:
    """A running gateway and its providers by name."""

    gateway: Gateways
    providers: dict[str, ProviderHandle]

    @property
    def running(self) -> Running:
        """As the load generator wants it."""
        return Running(self.gateway.port, (), {"authorization": f"Bearer {KEY}"}, self.gateway)


@contextlib.contextmanager
def bench(
    cores: Cores,
    entries: dict[str, dict[str, Any]],
    *,
    processes: int = 1,
    behaviour: dict[str, Any] | None = None,
    **of_profile: Any,
) -> Iterator[Bench]:
    """Simulated providers in a process of their own, and gateway processes with one profile over all of them.
    ``entries``: name -> fields of its entry in the revision."""
    with contextlib.ExitStack() as stack:
        with on_core(cores[1]):
            simulator = stack.enter_context(Simulator(process=True))
            simulator.add_all([{"name": name, "behaviour": behaviour or {}} for name in entries])
        handles = simulator.providers
        gateway = Gateways(Path(stack.enter_context(tempfile.TemporaryDirectory())), processes)
        stack.callback(gateway.stop)
        gateway.publish(
            document(
                [provider(name, base_url=handles[name].base_url, **fields) for name, fields in entries.items()],
                **of_profile,
            )
        )
        with on_core(cores[0]):
            gateway.start()
        yield Bench(gateway, handles)


def load(cores: Cores, bench: Bench, mode: str, content: bytes, **more: Any) -> dict[str, Any]:
    """One run of the load generator (`bench.load`) to its end; its figures."""
    text = request(bench.running, content)
    spec = {"mode": mode, "host": "127.0.0.1", "port": bench.gateway.port, "warmup": 0.3, "request": text, **more}
    if mode == "scheduled":
        spec["bodies"] = [text]
    with on_core(cores[1]):
        done = subprocess.run(
            [sys.executable, "-m", "bench.load"],
            cwd=ROOT, input=json.dumps(spec), stdout=subprocess.PIPE, text=True, check=True,
        )  # fmt: skip
    figures: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return figures


def markdown(facts: dict[str, Any], command: str, promises: list[Promise]) -> str:
    """The report."""
    words = {True: "yes", False: "**no**", None: ""}
    rows = [[each.row, each.promised, each.measured, words[each.kept]] for each in promises]
    lines = [*report.heading(facts, command), "", *report.table(["", "promised", "measured", "kept"], rows)]
    return "\n".join(lines) + "\n"
