"""Command line: `python -m simulator --port N --name S [--wire W]` or `--config FILE`, until SIGINT or SIGTERM.

Prints one line `simulator ready …` once every port listens. `--behaviour` takes the fields of a behaviour as JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import uvloop

from simulator.runner import ConfigError, Simulation, read_config
from simulator.wire import WIRES

if TYPE_CHECKING:
    from collections.abc import Sequence


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options, shared with the management command."""
    parser.add_argument("--config", type=Path, metavar="FILE", help="JSON list of providers; excludes the next four")
    parser.add_argument("--name", default="simulated", help="the provider's name, which its answers begin with")
    parser.add_argument("--wire", choices=sorted(WIRES), default="openai", help="the wire format it speaks")
    parser.add_argument("--port", type=int, default=0, help="port on loopback; 0 takes a free one")
    parser.add_argument("--behaviour", default="{}", metavar="JSON", help="how it behaves, faults included")
    parser.add_argument("--control-port", type=int, default=0, help="port of the control endpoint; 0 takes a free one")


def run(options: argparse.Namespace) -> int:
    """Serve until a signal comes. Returns the exit code; problems are one line on stderr."""
    try:
        simulation = Simulation(read_config(_document(options)), control_port=options.control_port)
        uvloop.run(_serve(simulation))
    except ConfigError as error:
        sys.stderr.write(f"simulator: {error}\n")
        return 1
    return 0


def _document(options: argparse.Namespace) -> Any:
    try:
        if options.config is not None:
            document = json.loads(options.config.read_text())
            # The product keeps the control endpoint's port beside the providers.
            return document["providers"] if isinstance(document, dict) and "providers" in document else document
        behaviour = json.loads(options.behaviour)
    except OSError as error:
        raise ConfigError(f"{options.config}: {error.strerror}") from None
    except ValueError as error:
        raise ConfigError(f"{options.config or '--behaviour'}: not JSON: {error}") from None
    return [{"name": options.name, "wire": options.wire, "port": options.port, "behaviour": behaviour}]


async def _serve(simulation: Simulation) -> None:
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopping.set)
    await simulation.open()
    try:
        places = " ".join(f"{name}={provider.base_url}" for name, provider in simulation.providers.items())
        sys.stdout.write(f"simulator ready {places} control={simulation.control.url}\n")
        sys.stdout.flush()
        await stopping.wait()
    finally:
        await simulation.close()


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="simulator", description=__doc__.splitlines()[0] if __doc__ else None)
    add_arguments(parser)
    return run(parser.parse_args(arguments))


if __name__ == "__main__":
    sys.exit(main())
