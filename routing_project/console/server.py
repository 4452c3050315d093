"""The console's process: ``python -m routing_project.console.server [--fd N]``, uvicorn on a Unix socket.

Only the gateways reach the socket (mode 0600), and they replace what clients claim in ``X-Forwarded-*``, so those
headers are believed here. ``serve`` passes the listening socket; started alone, the process makes its own.
"""

from __future__ import annotations

import argparse
import logging
import os
import signal
import socket
import sys
from typing import TYPE_CHECKING

import uvicorn
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from routing_project import descriptors, logs
from routing_project.console.watchers import EndWatchers
from routing_project.env import EnvError, get_env
from routing_project.metrics.joining import join
from routing_project.preflight import BACKLOG

if TYPE_CHECKING:
    from types import FrameType

    from routing_project.env import Env

#: How long watchers may take to hear the last word.
WATCHERS_SECONDS = 5.0


class ConsoleServer(uvicorn.Server):
    """uvicorn that ends event streams and sockets on the signal, not after the last connection is closed."""

    def __init__(self, config: uvicorn.Config, watchers: EndWatchers) -> None:
        super().__init__(config)
        self.watchers = watchers

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self.watchers.end()
        super().handle_exit(sig, frame)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        # First, or uvicorn would close the sockets itself, with 1012.
        await self.watchers.ended(WATCHERS_SECONDS)
        await super().shutdown(sockets)


def own_socket(env: Env) -> socket.socket:
    """Listen on the console's address; for a console that runs without ``serve``."""
    env.make_folders()
    env.console_socket.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(env.console_socket))
    env.console_socket.chmod(0o600)
    listener.listen(BACKLOG)
    return listener


def main() -> int:
    """Serve until told to stop; 0 after a clean end."""
    parser = argparse.ArgumentParser(prog="python -m routing_project.console.server")
    parser.add_argument("--fd", type=int, default=None, help="an inherited listening Unix socket")
    options = parser.parse_args()
    try:
        env = get_env()
    except EnvError as error:
        print(f"console: {error}", file=sys.stderr)
        return 1
    descriptors.raise_limit()
    logs.configure("console", env.log_format)
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    join(env, "console")
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "routing_project.settings")
    from routing_project.asgi import application

    watchers = EndWatchers(application)
    config = uvicorn.Config(
        ProxyHeadersMiddleware(watchers, trusted_hosts="*"),  # type: ignore[arg-type]
        lifespan="off",
        proxy_headers=False,  # ours above: uvicorn's own would read its setting from the environment
        server_header=False,
        date_header=True,
        access_log=env.access_log,
        log_config=None,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=int(env.drain_seconds) or 1,
        ws_max_size=1024 * 1024,
    )
    # uvicorn puts these back at its end and raises the signal again: without them the exit code would be -15.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _number, _frame: None)
    listener = own_socket(env) if options.fd is None else socket.socket(fileno=options.fd)
    ConsoleServer(config, watchers).run(sockets=[listener])
    return 0


if __name__ == "__main__":
    sys.exit(main())
