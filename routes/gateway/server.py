"""Runs the application on uvicorn with our own rules for stopping, and the process's background work.

SIGTERM: readiness off at once, the listener closes after the shutdown delay, requests and streams finish within
the drain time. SIGINT: no delay, at most 3 s. A second signal: now. A dead parent counts as SIGTERM. Exit code 0.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import time
from typing import TYPE_CHECKING, Final

import uvicorn

from routes.gateway.protocol import GatewayProtocol
from routes.gateway.socket_edge import SocketProtocol

if TYPE_CHECKING:
    import socket
    from collections.abc import Awaitable, Callable, Sequence
    from types import FrameType

    from routes.gateway.app import Gateway
    from routes.gateway.state import GatewayState

KEEP_ALIVE_SECONDS: Final = 75
INTERRUPT_DRAIN_SECONDS: Final = 3.0
#: A collection of the oldest generation costs milliseconds with all modules in it: frozen after start, and rarer.
GC_THRESHOLDS: Final = (10_000, 20, 50)

logger = logging.getLogger(__name__)


class GatewayServer(uvicorn.Server):
    """``background`` coroutines run from before the first request until after the last; ``prepare`` is awaited
    before listening, ``finish`` at the very end."""

    def __init__(
        self,
        app: Gateway,
        state: GatewayState,
        *,
        drain_seconds: float,
        shutdown_delay: float,
        prepare: Callable[[], Awaitable[None]],
        background: Sequence[Callable[[], Awaitable[None]]],
        finish: Callable[[], Awaitable[None]],
    ) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                interface="asgi3",
                loop="uvloop",
                http=GatewayProtocol,
                ws=SocketProtocol,
                ws_per_message_deflate=False,
                lifespan="off",
                access_log=False,
                log_config=None,
                proxy_headers=False,
                server_header=False,
                timeout_keep_alive=KEEP_ALIVE_SECONDS,
            )
        )
        self.state = state
        self.drain_seconds = drain_seconds
        self.shutdown_delay = shutdown_delay
        self.server_state.closing = False  # type: ignore[attr-defined]  # read by the protocol: no more keep-alive
        self.server_state.refused = self._refused  # type: ignore[attr-defined]  # told by the protocols
        self._prepare = prepare
        self._background = background
        self._finish = finish
        self._stop_at: float | None = None
        self._early: int | None = None  # a signal that came before uvicorn listened for it
        self._parent = os.getppid()

    def run(self, sockets: list[socket.socket] | None = None) -> None:
        # uvicorn raises the signal again once it has drained; with a handler of ours the exit code is 0.
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._remember)
        super().run(sockets)

    def _remember(self, number: int, _: FrameType | None) -> None:
        self._early = number

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        await self._prepare()
        tasks = [asyncio.create_task(_kept_running(work)) for work in self._background]
        gc.collect()
        gc.freeze()
        gc.set_threshold(*GC_THRESHOLDS)
        try:
            await super().serve(sockets)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            # Requests that the drain time cut off write their rows while they are cancelled; let them.
            leftover = list(self.server_state.tasks)
            for request in leftover:
                request.cancel()
            await asyncio.gather(*leftover, return_exceptions=True)
            await self._finish()

    def _refused(self, http_status: int) -> None:
        """The edge has answered something that never became a request."""
        self.state.recorder.unrouted("", http_status)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._captured_signals.append(sig)
        self._stop(interrupt=sig == signal.SIGINT)

    def _stop(self, *, interrupt: bool) -> None:
        if self._stop_at is not None:
            self.should_exit = self.force_exit = True
            return
        delay = 0.0 if interrupt else self.shutdown_delay
        drain = min(INTERRUPT_DRAIN_SECONDS, self.drain_seconds) if interrupt else self.drain_seconds
        self._stop_at = time.monotonic() + delay
        self.config.timeout_graceful_shutdown = drain  # type: ignore[assignment]  # wait_for takes fractions
        self.server_state.closing = True  # type: ignore[attr-defined]
        # A signal handler runs between any two instructions: wake the loop instead of touching its objects here.
        self._loop.call_soon_threadsafe(self.state.closing.set)

    async def on_tick(self, counter: int) -> bool:
        if self._stop_at is None:
            if self._early is not None:
                self._stop(interrupt=self._early == signal.SIGINT)
            elif counter % 10 == 0 and os.getppid() != self._parent:
                logger.warning("the parent process is gone: stopping")
                self._stop(interrupt=False)
        elif time.monotonic() >= self._stop_at:
            self.should_exit = True
        return await super().on_tick(counter)


async def _kept_running(work: Callable[[], Awaitable[None]]) -> None:
    """Background work must not end silently: what it did not expect is logged, and it starts again."""
    while True:
        try:
            await work()
        except Exception:
            logger.exception("background work failed; it starts again in a second")
        await asyncio.sleep(1)
