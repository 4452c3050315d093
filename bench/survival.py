"""What history survives, at full size: `python -m bench.survival`. Exit code 1 when a promise was broken.

Over the whole product with two gateway processes, real requests through it, and a ledger of what the client was
answered. Kills: gateways and the shipper die by `kill -9` at random moments under load. Outage: PostgreSQL is stopped
for minutes and started again under load. Full: the journal may hold 1 MB while the database is away. Prints a table of
what is promised and what was measured. Loads only 127.0.0.1.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import random
import re
import shlex
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg

from bench import machine
from bench.promises import Promise, markdown
from history import status
from tests import servers
from tests.gateways import wait_until
from tests.load import Load
from tests.simulators import Simulator
from tests.stack import Stack, document

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Sequence

    from tests.load import Seen
    from tests.servers import Postgres
    from tests.simulators import ProviderHandle

VICTIMS = ("gateway-1", "gateway-2", "shipper")


def arguments(given: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.survival", description="What history survives.")
    parser.add_argument("--scale", type=float, default=1.0, help="how much of each, in number and time (default 1)")
    parser.add_argument("--only", default="", metavar="A,B", help=f"of {', '.join(SCENES)}")
    return parser.parse_args(given)


class Scene:
    """A running product over its own PostgreSQL, and one simulated provider."""

    def __init__(self, stack: Stack, postgres: Postgres, provider: ProviderHandle) -> None:
        self.stack = stack
        self.postgres = postgres
        self.provider = provider

    def rows(self) -> dict[str, str]:
        """Status by id."""
        with psycopg.connect(self.postgres.url("signalbox")) as connection:
            return {str(route): state for route, state in connection.execute("SELECT id, status FROM route_history")}

    def shipper(self) -> status.ShipperStatus:
        report = status.read(self.stack.folder / "journal")
        assert report is not None
        return report

    def settle(self, seconds: float = 120) -> None:
        """Until nothing is on its way to the database."""
        path = self.stack.folder / "journal"
        since = time.time()
        wait_until(
            lambda: (
                (report := status.read(path)) is not None
                and report.at > since + 1
                and report.database == "up"
                and not report.backlog_bytes
            ),
            seconds,
            "the journal is in the database",
        )

    def dropped(self) -> int:
        found = re.findall(r"^journal_dropped_total\{.*\} (\S+)$", self.stack.metrics(), re.M)
        return int(sum(map(float, found)))


@contextlib.contextmanager
def scene(**environment: str) -> Iterator[Scene]:
    with contextlib.ExitStack() as stack:
        postgres = stack.enter_context(servers.own_postgres())
        with psycopg.connect(postgres.url(), autocommit=True) as connection:
            connection.execute("CREATE DATABASE signalbox")
        simulator = stack.enter_context(Simulator(process=True))
        provider = simulator.add("only", log=False)
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        url = postgres.url("signalbox")
        product = stack.enter_context(Stack(folder, workers=2, DATABASE_URL=url, **environment))
        product.import_config(document(provider))
        yield Scene(product, postgres, provider)


def drive(load: Load, meanwhile: Callable[[Load], Awaitable[None]]) -> list[Seen]:
    """The load, and what happens beside it; the load ends when that has ended."""

    async def both() -> list[Seen]:
        running = asyncio.create_task(load.run())
        try:
            await meanwhile(load)
        finally:
            load.stop()
        return await running

    return asyncio.run(both())


# -- kills -----------------------------------------------------------------------------------
def kills(scale: float) -> list[Promise]:
    """Processes die under load: whoever was answered has a row."""
    number, rate = max(3, round(20 * scale)), 200.0
    chance = random.Random(20261130)
    with scene() as running:
        stack = running.stack

        async def trouble(load: Load) -> None:
            await load.until(100)
            for place in range(number):
                await asyncio.sleep(chance.uniform(0.2, 1.5))
                name = VICTIMS[place % 3] if place < 3 else chance.choice(VICTIMS)
                pid = await asyncio.to_thread(stack.kill, name)
                await asyncio.to_thread(stack.wait_replaced, **{name: pid})

        seen = drive(Load(stack.url, stack.key, rate=rate), trouble)
        running.settle()
        rows = running.rows()
        answered = [each for each in seen if each.complete and each.status == 200]
        lost = [each for each in answered if rows.get(each.route_id or "") != "routed"]
        headed = [each for each in seen if each.route_id]
        unrecorded = [each for each in headed if each.route_id not in rows]
        # In flight: as many as hang at a provider that says nothing; then their process dies.
        waited, told = hanging(running)
    return [
        Promise(
            f"kills: {number} × kill -9 at {rate:g} requests/s", "> 0 answered", f"{len(answered)}", bool(answered)
        ),
        Promise("kills: answered requests without their row", "0", f"{len(lost)}", not lost),
        Promise("kills: begun answers without a row", "0", f"{len(unrecorded)}", not unrecorded),
        Promise("kills: rows", f"≤ {len(seen)} sent", f"{len(rows)}", len(rows) <= len(seen)),
        Promise(
            "kills: in flight when killed → interrupted", "all, ≤ 10 s", f"{told} of 20, {waited:.1f} s", told == 20
        ),
    ]


def hanging(running: Scene) -> tuple[float, int]:
    """Kill a gateway with requests in flight: how long until they are told, and how many are."""
    stack = running.stack
    before = {route for route, state in running.rows().items() if state == "interrupted"}
    running.provider.fail("hang_before_headers")

    async def hang(load: Load) -> None:
        await asyncio.sleep(1.5)
        for name in VICTIMS[:2]:
            await asyncio.to_thread(stack.kill, name)

    load = Load(stack.url, stack.key, rate=200, total=20, streams=False)
    drive(load, hang)
    begun = time.monotonic()
    with contextlib.suppress(AssertionError):
        wait_until(lambda: len(_interrupted(running) - before) >= 20, 10, "they are told")
    running.provider.heal()
    return time.monotonic() - begun, len(_interrupted(running) - before)


def _interrupted(running: Scene) -> set[str]:
    return {route for route, state in running.rows().items() if state == "interrupted"}


# -- outage ----------------------------------------------------------------------------------
def outage(scale: float) -> list[Promise]:
    """The database is away for minutes; then all of it arrives, while requests go on."""
    seconds, rate = max(10.0, 300 * scale), 50.0
    with scene() as running:
        stack = running.stack
        drained = waited = took = 0.0

        async def trouble(load: Load) -> None:
            nonlocal drained, waited, took
            await load.until(100)
            await asyncio.to_thread(running.settle)
            await asyncio.to_thread(running.postgres.stop)
            before = len(load.seen)
            await asyncio.sleep(seconds)
            running.postgres.start()  # not in a thread: it dies with the thread that started it
            begun, backlog = time.monotonic(), len(load.seen)
            seen = await asyncio.to_thread(_counts, running, backlog)
            moving = next(at for at, count in seen if count > seen[0][1])
            waited, took, drained = moving - begun, seen[-1][0] - moving, backlog - before
            await load.until(len(load.seen) + 50)

        seen = drive(Load(stack.url, stack.key, rate=rate), trouble)
        running.settle()
        rows = running.rows()
    bad = [each for each in seen if each.status != 200 or not each.complete]
    missing = [each for each in seen if rows.get(each.route_id or "") != "routed"]
    speed = drained / max(took, 0.001)
    return [
        Promise(f"outage: {seconds:g} s at {rate:g} requests/s", "0 errors", f"{len(bad)} of {len(seen)}", not bad),
        Promise("outage: requests without their row", "0", f"{len(missing)}", not missing),
        Promise("outage: rows", f"{len(seen)}", f"{len(rows)}", len(rows) == len(seen)),
        Promise("outage: the shipper is back after", "", f"{waited:.1f} s"),
        Promise("outage: drained under load", "≥ 1,000 rows/s", f"{speed:,.0f} rows/s of {drained:g}", speed >= 1000),
    ]  # fmt: skip


def _counts(running: Scene, wanted: int) -> list[tuple[float, int]]:
    """When there were how many rows, until there are as many as wanted."""
    found = []
    with psycopg.connect(running.postgres.url("signalbox"), autocommit=True) as connection:
        while not found or found[-1][1] < wanted:
            row = connection.execute("SELECT count(*) FROM route_history").fetchone()
            assert row is not None
            found.append((time.monotonic(), int(row[0])))
            time.sleep(0.01)
    return found


# -- a full journal --------------------------------------------------------------------------
def full(scale: float) -> list[Promise]:
    """The journal may hold 1 MB and the database is away: requests go on, what is not kept is counted."""
    total = max(3000, round(10_000 * scale))
    with scene(SIGNALBOX_JOURNAL_MAX_MB="1") as running:
        stack = running.stack

        async def trouble(load: Load) -> None:
            await load.until(100)
            await asyncio.to_thread(running.postgres.stop)
            await load.until(total - 500, 600)
            running.postgres.start()  # not in a thread: it dies with the thread that started it
            while running.shipper().database != "up" or running.shipper().backlog_bytes > 64 * 1024:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
            await load.until(len(load.seen) + 300)

        seen = drive(Load(stack.url, stack.key, rate=200.0), trouble)
        running.settle()
        wait_until(lambda: len(running.rows()) + running.dropped() >= len(seen), 5, "the counters are flushed")
        rows, dropped = running.rows(), running.dropped()
        states = sorted(set(rows.values()))
        after = stack.chat()
        recovered = stack.route(after.headers["x-route-id"])["status"]
    bad = [each for each in seen if each.status != 200 or not each.complete]
    missing = len(seen) - len(rows)
    return [
        Promise("full: a journal of 1 MB, database away", "0 errors", f"{len(bad)} of {len(seen)}", not bad),
        Promise("full: counted as dropped", f"{missing} without a row", f"{dropped}", dropped == missing > 0),
        Promise("full: states of the rows", "routed", ", ".join(states), states == ["routed"]),
        Promise("full: a request afterwards", "routed", recovered, recovered == "routed"),
    ]  # fmt: skip


SCENES: dict[str, Callable[[float], list[Promise]]] = {"kills": kills, "outage": outage, "full": full}


def main(given: Sequence[str] | None = None) -> int:
    options = arguments(given)
    names = [name for name in options.only.split(",") if name] or list(SCENES)
    if unknown := set(names) - set(SCENES):
        raise SystemExit(f"bench: no scene {', '.join(sorted(unknown))}; there are {', '.join(SCENES)}")
    facts, promises = machine.facts(), []
    for name in names:
        sys.stderr.write(f"bench: {name}\n")
        promises += SCENES[name](options.scale)
    command = shlex.join(["python", "-m", "bench.survival", *(given if given is not None else sys.argv[1:])])
    sys.stdout.write(markdown(facts, command, promises))
    return int(any(each.kept is False for each in promises))


if __name__ == "__main__":
    sys.exit(main())
