"""The thread of a worker that asks: one event loop, one set of connections, so many probes at a time.

Tasks hand over what they have claimed and end; a provider that hangs until the time limit holds none of the worker's
few threads. What was found is written down in a thread of its own, one after the other. One per process: what sockets
are read into is shared by all that a process has open.
"""

from __future__ import annotations

import asyncio
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Final

from django.db import close_old_connections
from django.utils import timezone

from health.probes import ask, results
from routes import live
from routes.gateway.upstream import Upstream
from routing_project.env import get_env
from routing_project.logs import get_logger

if TYPE_CHECKING:
    from health.probes.claims import Job
    from health.probes.questions import Finding
    from routes.engine.live import Observed
    from routes.gateway.overlay import Credential

#: Probes under way in a process. At 30 s between probes that is enough for thousands of endpoints.
AT_ONCE: Final = 200

log = get_logger("health")


class Runner:
    """Started with the first probe; ``stop`` is for tests, a worker's ends with its process."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._lock = threading.Lock()
        self._under_way = 0
        self._upstream: Upstream | None = None
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="probe-results")
        self._thread = threading.Thread(target=self._loop.run_forever, name="probes", daemon=True)
        self._thread.start()

    @property
    def room(self) -> int:
        """How many more may be asked now."""
        return AT_ONCE - self._under_way

    def start(self, job: Job, credential: Credential | None) -> Future[Observed | None]:
        """Ask, and write down what came of it. Nobody needs to wait."""
        with self._lock:
            self._under_way += 1
        return asyncio.run_coroutine_threadsafe(self._probe(job, credential), self._loop)

    async def _probe(self, job: Job, credential: Credential | None) -> Observed | None:
        try:
            if self._upstream is None:
                self._upstream = Upstream(get_env().upstream_network_ceiling)
            finding = await ask.ask(self._upstream, job.subject, job.kind, credential)
            return await self._loop.run_in_executor(self._writer, _write, job, finding)
        finally:
            with self._lock:
                self._under_way -= 1

    def stop(self) -> None:
        """What is under way is given up."""
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        self._writer.shutdown()

    async def _end(self) -> None:
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._upstream is not None:
            await self._upstream.close()
        await self._loop.shutdown_default_executor()


def _write(job: Job, finding: Finding) -> Observed | None:
    """In the thread for results, which has a database connection of its own."""
    close_old_connections()
    try:
        return results.record(job, finding, live.current(), timezone.now(), time.monotonic())
    except Exception as error:
        # The claim lapses, and it is asked again; nobody waits for this outcome.
        log.error("probe_result_lost", check=job.subject.label, error=repr(error))
        raise
    finally:
        close_old_connections()


_runner: Runner | None = None
_making = threading.Lock()


def runner() -> Runner:
    """This process's."""
    global _runner
    with _making:
        if _runner is None:
            _runner = Runner()
        return _runner
