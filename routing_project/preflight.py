"""What must hold before ``serve`` starts anything: settings that make sense, the port, the data folder, the database.

Every refusal is a ``Fatal`` whose message is one line. The findings about settings are plain data, so that
Django's system checks (``checks.py``) say the same. Must not import Django: the supervisor stays small.
"""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import sqlite3
from dataclasses import dataclass
from importlib import metadata
from typing import TYPE_CHECKING, Final, TextIO

from routing_project.env import EnvError

if TYPE_CHECKING:
    from pathlib import Path

    from routing_project.env import Env

NETWORKS = frozenset({"public", "private", "loopback"})
#: What the extra ``otel`` brings, and the one protocol it speaks.
OTEL_PACKAGES: Final = ("opentelemetry-sdk", "opentelemetry-exporter-otlp-proto-http")
OTEL_PROTOCOL: Final = "http/protobuf"
BACKLOG = 2048
SQLITE_WAIT_SECONDS = 5.0
DATABASE_AWAY = 3  # setup's exit code when nobody answers at DATABASE_URL


class Fatal(Exception):
    """``serve`` cannot go on; the message is the one line the operator reads."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One setting that cannot work (``refuses``: ``serve`` will not start) or should be looked at."""

    id: str
    message: str
    hint: str
    refuses: bool


def findings(env: Env) -> list[Finding]:
    """Misconfigurations visible in the environment alone; no I/O."""
    found = []
    unknown = sorted(set(env.upstream_networks) - NETWORKS)
    if unknown:
        found.append(
            Finding(
                "signalbox.E001",
                f"SIGNALBOX_UPSTREAM_NETWORKS names an unknown network: {', '.join(unknown)}.",
                "Use a comma list of public, private, loopback.",
                refuses=True,
            )
        )
    if not env.bound_to_loopback and not env.metrics_token and not env.metrics_networks:
        found.append(
            Finding(
                "signalbox.E002",
                f"SIGNALBOX_HOST={env.host} would show /metrics to everybody.",
                "Set SIGNALBOX_METRICS_TOKEN or SIGNALBOX_METRICS_NETWORKS.",
                refuses=True,
            )
        )
    if not env.bound_to_loopback and not env.allowed_hosts:
        found.append(
            Finding(
                "signalbox.E003",
                f"SIGNALBOX_HOST={env.host} without SIGNALBOX_ALLOWED_HOSTS: the console would refuse every request.",
                "Set SIGNALBOX_ALLOWED_HOSTS to the names people type, for example router.example.org.",
                refuses=True,
            )
        )
    if "*" in env.allowed_hosts:
        found.append(
            Finding(
                "signalbox.W001",
                "SIGNALBOX_ALLOWED_HOSTS allows every host name.",
                "Name the hosts; a forged Host header can end up in links.",
                refuses=False,
            )
        )
    if not env.bound_to_loopback and not env.trusted_proxies:
        found.append(
            Finding(
                "signalbox.W002",
                "No trusted proxy: nothing terminates TLS, so passwords and keys cross the network in the clear.",
                "Put a TLS proxy in front and name it in SIGNALBOX_TRUSTED_PROXIES.",
                refuses=False,
            )
        )
    if env.traces != "off":
        found += _trace_findings(env)
    return found


def _trace_findings(env: Env) -> list[Finding]:
    found = []
    missing = [name for name in OTEL_PACKAGES if not _is_installed(name)]
    if missing:
        found.append(
            Finding(
                "signalbox.E006",
                f"SIGNALBOX_TRACES={env.traces} needs packages that are not installed: {', '.join(missing)}.",
                f"Install them with: python -m pip install {' '.join(missing)}",
                refuses=True,
            )
        )
    if env.trace_protocol != OTEL_PROTOCOL:
        found.append(
            Finding(
                "signalbox.E007",
                f"OTEL_EXPORTER_OTLP_PROTOCOL={env.trace_protocol} is not spoken here.",
                f"Set it to {OTEL_PROTOCOL}, or leave it out; collectors take that on port 4318.",
                refuses=True,
            )
        )
    try:
        env.trace_sampling  # noqa: B018 - reading is what checks it
    except EnvError as error:
        found.append(Finding("signalbox.E008", f"{error}.", "Leave it out to trace every request.", refuses=True))
    try:
        env.check_trace_variables()
    except EnvError as error:
        found.append(Finding("signalbox.E009", f"{error}.", "Correct it, or leave it out.", refuses=True))
    return found


def _is_installed(package: str) -> bool:
    """Without importing any of it."""
    try:
        metadata.distribution(package)
    except metadata.PackageNotFoundError:
        return False
    return True


def check_settings(env: Env) -> None:
    """Refuse settings that cannot work; the first one is the reason."""
    for finding in findings(env):
        if finding.refuses:
            raise Fatal(f"{finding.message} {finding.hint}")


def bind(env: Env) -> socket.socket:
    """Take the port, without listening yet: clients are refused, not left hanging, until there is a gateway."""
    try:
        family, kind, proto, _name, address = socket.getaddrinfo(
            env.host, env.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except OSError as error:
        raise Fatal(f"SIGNALBOX_HOST: cannot resolve {env.host}: {error.strerror}") from None
    # The protocol is named because asyncio sets TCP_NODELAY only on sockets that say they are TCP.
    listener = socket.socket(family, kind, proto or socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except OSError as error:
        listener.close()
        raise Fatal(_port_reason(env, error)) from None
    return listener


def listen(listener: socket.socket, env: Env) -> None:
    """From here on connections wait in the backlog, also while a gateway restarts."""
    try:
        listener.listen(BACKLOG)
    except OSError as error:
        raise Fatal(_port_reason(env, error)) from None


def _port_reason(env: Env, error: OSError) -> str:
    where = f"{env.host}:{env.port}"
    if error.errno == errno.EADDRINUSE:
        return f"{where} is taken by another program; stop it or set SIGNALBOX_PORT."
    if error.errno == errno.EACCES:
        return f"{where}: this user may not open that port; choose one above 1023 with SIGNALBOX_PORT."
    return f"{where}: cannot listen there: {error.strerror}."


def lock_data_folder(env: Env) -> TextIO:
    """Hold the data folder for as long as the returned file is open: one ``serve`` each."""
    try:
        env.make_folders()
        file = (env.data / "serve.lock").open("a+")
    except OSError as error:
        raise Fatal(f"SIGNALBOX_DATA_DIR: cannot write to {env.data}: {error.strerror}.") from None
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.seek(0)
        owner = file.read().strip() or "unknown"
        file.close()
        raise Fatal(f"another serve (process {owner}) runs on {env.data}; stop it or set SIGNALBOX_DATA_DIR.") from None
    file.seek(0)
    file.truncate()
    file.write(f"{os.getpid()}\n")
    file.flush()
    return file


def database_problem(env: Env) -> str | None:
    """Why the database cannot be used now, in one line; None when it can. Waits up to 5 s for a lock."""
    url = env.database_url
    if not url or url.startswith("sqlite:"):
        return _sqlite_problem(env.database_path if not url else _sqlite_path(env))
    import psycopg  # only where it is used: the default installation has SQLite

    try:
        with psycopg.connect(url, connect_timeout=5) as connection:
            row = connection.execute("SELECT to_regclass('django_migrations')").fetchone()
            return None if row and row[0] else _NO_TABLES
    except psycopg.Error as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        return f"DATABASE_URL: cannot use the database: {reason}"


_NO_TABLES = "the database has no tables yet; run `make run`, or `python manage.py setup` first."


def _sqlite_path(env: Env) -> Path:
    from pathlib import Path

    return Path((env.database_url or "").removeprefix("sqlite:///"))


def _sqlite_problem(path: Path) -> str | None:
    if not path.exists():
        return f"there is no database at {path}; run `make run`, or `python manage.py setup` first."
    try:
        connection = sqlite3.connect(path, timeout=SQLITE_WAIT_SECONDS, isolation_level=None)
        try:
            connection.execute("BEGIN IMMEDIATE")
            tables = connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'django_migrations'").fetchone()
            connection.execute("ROLLBACK")
        finally:
            connection.close()
    except sqlite3.Error as error:
        if "locked" in str(error):
            return f"the database {path} is locked by another program; close it and start again."
        return f"cannot use the database {path}: {error}."
    return None if tables else _NO_TABLES
