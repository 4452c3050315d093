"""``python -m routes.gateway --fd N --name gateway-1``: one gateway process on an inherited listening socket.

Started by ``serve`` or any supervisor that passes a socket. Must not import Django: admin pages, exports and
replays cannot stall routing, and the request path cannot reach an ORM.
"""

from __future__ import annotations

import argparse
import logging
import random
import socket
import sys
import time
from typing import TYPE_CHECKING

from routing_project import descriptors, logs
from routing_project.env import EnvError, get_env
from routing_project.metrics.joining import join

if TYPE_CHECKING:
    from collections.abc import Sequence

    from routes.gateway.geo import Geo
    from routing_project.env import Env


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m routes.gateway", description="One Signalbox gateway process.")
    parser.add_argument("--fd", type=int, required=True, help="number of the inherited listening socket")
    parser.add_argument("--name", default="gateway-1", help="this process in logs and metrics")
    options = parser.parse_args(arguments)
    logs.start(options.name)
    try:
        env = get_env()
        descriptors.raise_limit()
        env.make_folders()
        join(env, options.name)
        _run(env, options.fd, options.name)
    except EnvError as error:
        logs.fatal(options.name, str(error))
        return 1
    return 0


def _run(env: Env, fd: int, name: str) -> None:
    from history.journal import JournalWriter
    from routes.gateway.app import Gateway
    from routes.gateway.console_relay import ConsoleRelay
    from routes.gateway.metrics import Metrics
    from routes.gateway.recorder import Recorder
    from routes.gateway.server import GatewayServer
    from routes.gateway.shared import ConfigKeeper
    from routes.gateway.state import Config, GatewaySettings, GatewayState
    from routes.gateway.upstream import Upstream
    from routes.gateway.watch import Pulse
    from routes.live import SharedLiveState, open_host_state
    from routes.live.exchange import Exchange

    journal = JournalWriter(env.journal_dir, env.journal_max_mb * 1024 * 1024)
    metrics = Metrics(name)
    settings = GatewaySettings(
        max_body_bytes=env.max_body_bytes,
        upstream_networks=env.upstream_network_ceiling,
        trusted_proxies=env.trusted_proxies,
        console_socket=env.console_socket,
    )
    recorder = Recorder(journal, metrics)
    if env.history_payloads != "off":
        from routes.gateway.payloads.recorder import PayloadRecorder

        # Credentials as of the moment: the state that knows them is made below.
        recorder = PayloadRecorder(journal, metrics, env.history_payloads, lambda provider: state.credential(provider))
    live = open_host_state(env.live_path, name)
    live.hear_moves(metrics.moved)
    upstream = Upstream(settings.upstream_networks)
    geo, geo_trouble = _geo(env)
    tracing = None
    if env.traces != "off":
        from routes.gateway.tracing import Sampler, Tracing

        tracing = Tracing(Sampler(*env.trace_sampling))
    state = GatewayState(
        settings=settings,
        live=live,
        recorder=recorder,
        metrics=metrics,
        rng=random.Random(),
        clock=time.monotonic,
        upstream=upstream,
        geo=geo,
        tracing=tracing,
    )
    # Not the one on disk, but the one that requests are decided by here.
    logs.follow_revision(lambda: None if state.config is None else state.config.snapshot.number)
    background = []
    if isinstance(live, SharedLiveState):
        if env.redis_url is not None:  # the embedded one is on a socket of this host: there is nobody else on it
            background.append(Exchange(live, env.redis_url, state.degraded).run)
    else:
        state.degraded["live"] = "the file that processes share cannot be used; each has circuits and pins of its own"
    if geo_trouble is not None:
        state.degraded["geoip"] = geo_trouble

    def on_change(config: Config) -> None:
        overlay, wall, now = config.overlay, time.time(), state.clock()  # in this order: see ``set_forced``
        live.published(config.snapshot)
        live.set_credentials(overlay.generations)
        live.set_admin_states(
            {key: (each.state, each.until) for key, each in overlay.admin_states.items()}, now=now, wall=wall
        )
        live.set_forced(overlay.circuits, now=now, wall=wall)
        live.set_key_limits(
            {key.id: key.limits for key in overlay.keys.values() if key.limits is not None}, now=now, wall=wall
        )
        metrics.revision(config.snapshot.number)

    keeper = ConfigKeeper(state, env.revision_path, env.overlay_path, env.effective_redis_url, on_change)
    relay = ConsoleRelay(state)
    pulse = Pulse(state, journal, env.heartbeat_path)

    async def finish() -> None:
        await relay.close()
        await upstream.close()
        pulse.flush()
        journal.close()
        if isinstance(live, SharedLiveState):
            live.close()

    server = GatewayServer(
        Gateway(state, relay),
        state,
        drain_seconds=env.drain_seconds,
        shutdown_delay=env.shutdown_delay,
        prepare=keeper.load,
        background=(keeper.run, pulse.tick, pulse.look, *background),
        finish=finish,
    )
    listener = socket.socket(fileno=fd)
    listener.setblocking(False)
    server.run([listener])


def _geo(env: Env) -> tuple[Geo | None, str | None]:
    """The database of countries, or why there is none although one is set."""
    from routes.gateway.geo import GeoError, open_database

    if env.geoip_db is None:
        return None, None
    try:
        return open_database(env.geoip_db), None
    except GeoError as error:
        logging.getLogger(__name__).error("no region will be found by address: %s", error)
        return None, str(error)


if __name__ == "__main__":
    sys.exit(main())
