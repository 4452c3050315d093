"""The only reader of ``os.environ``: every setting of the process, typed, with its default.

Secrets may also come from a file named by ``NAME_FILE``. ``SIGNALBOX_SECRET_KEY`` and
``SIGNALBOX_ENCRYPTION_KEYS`` are generated on first use (mode 0600, in the data folder) when unset.
Imported by both planes, so it must not import Django or anything else of the project.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import os
import re
import secrets
import tempfile
from functools import cache
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple
from urllib.parse import unquote, urlsplit

from pydantic import AliasChoices, BeforeValidator, Field, ValidationError
from pydantic_settings import BaseSettings, NoDecode, PydanticBaseSettingsSource, SettingsConfigDict

if TYPE_CHECKING:
    from collections.abc import Iterable

PREFIX = "SIGNALBOX_"
SECRET_NAMES = (
    "SIGNALBOX_ADMIN_PASSWORD",
    "SIGNALBOX_SECRET_KEY",
    "SIGNALBOX_ENCRYPTION_KEYS",
    "SIGNALBOX_METRICS_TOKEN",
    "SIGNALBOX_WEBHOOK_SECRET",
    "SIGNALBOX_EMAIL_URL",
    "OTEL_EXPORTER_OTLP_HEADERS",
    "OTEL_EXPORTER_OTLP_TRACES_HEADERS",
    "DATABASE_URL",
    "REDIS_URL",
)
# sun_path holds 108 bytes with its terminator on Linux and 104 on macOS.
SOCKET_PATH_MAX = 100


class EnvError(Exception):
    """A setting is missing, malformed or unreadable; the message is one line that names it."""


def _split(value: Any) -> Any:
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return value


def _networks(value: Any) -> Any:
    return tuple(_network(part) for part in _split(value))


def _network(text: str) -> IPv4Network | IPv6Network:
    """An IPv4 one that is written as IPv6 (``::ffff:10.0.0.0/104``) is itself: so are addresses that come so."""
    network = ip_network(text, strict=False)
    if isinstance(network, IPv6Network) and network.prefixlen >= 96 and network.network_address.ipv4_mapped:
        return IPv4Network((network.network_address.ipv4_mapped, network.prefixlen - 96))
    return network


class TraceSampling(NamedTuple):
    """Which requests have spans: ``ratio`` of them, or, if ``parent_based``, of those whose client decided nothing."""

    parent_based: bool
    ratio: float


#: The values of ``OTEL_TRACES_SAMPLER``; None = the ratio is in ``OTEL_TRACES_SAMPLER_ARG``.
_SAMPLERS = {"always_on": 1.0, "always_off": 0.0, "traceidratio": None}
_PARENT_BASED = "parentbased_"
_SPAN_LIMITS = (
    "OTEL_ATTRIBUTE_COUNT_LIMIT",
    "OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT",
    "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT",
    "OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT",
    "OTEL_SPAN_EVENT_COUNT_LIMIT",
    "OTEL_SPAN_LINK_COUNT_LIMIT",
    "OTEL_EVENT_ATTRIBUTE_COUNT_LIMIT",
    "OTEL_LINK_ATTRIBUTE_COUNT_LIMIT",
)
#: One entry of a list of headers, as the exporter takes it.
_HEADER = re.compile(r"[ \t]*[\w!#$%&'*+.^`|~-]+[ \t]*=[ !#-+\--:<-\[\]-~]*", re.ASCII)


class MailServer(NamedTuple):
    """Where e-mail is handed in. ``security``: "" (plain text), "starttls" or "tls"."""

    host: str
    port: int
    user: str
    password: str
    security: str


_MAIL_SCHEMES = {"smtp": ("", 25), "smtp+starttls": ("starttls", 587), "smtps": ("tls", 465)}


def _mail_server(value: Any) -> Any:
    """``smtp+starttls://user:password@host:587``; an error never quotes it."""
    if not isinstance(value, str):
        return value
    try:
        parts = urlsplit(value)
        security, usual = _MAIL_SCHEMES[parts.scheme]
        host, port = parts.hostname or "", parts.port or usual
    except (KeyError, ValueError):
        host = ""
    if not host or parts.path.strip("/") or parts.query or parts.fragment:
        raise ValueError("must be like smtp+starttls://user:password@host:587, or smtp:// or smtps://")
    return MailServer(host, port, unquote(parts.username or ""), unquote(parts.password or ""), security)


def _address(value: Any) -> Any:
    if isinstance(value, str):
        parts = urlsplit(value)
        if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query or parts.fragment:
            raise ValueError("must be an http or https URL without query and fragment")
        return value.rstrip("/")
    return value


Words = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split)]
Networks = Annotated[tuple[IPv4Network | IPv6Network, ...], NoDecode, BeforeValidator(_networks)]


class Env(BaseSettings):
    """One immutable reading of the environment. Durations are seconds, sizes are MiB."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, frozen=True, extra="ignore", env_ignore_empty=True, populate_by_name=True
    )

    host: str = "127.0.0.1"
    port: int = Field(default=8000, ge=1, le=65535)
    data_dir: Path = Path("var")
    workers: int = Field(default=2, ge=1, le=64)
    admin_user: str = "admin"
    admin_password: str | None = None
    demo: bool = True
    secret_key_value: str | None = Field(default=None, alias="SIGNALBOX_SECRET_KEY")
    encryption_keys_value: Words = Field(default=(), alias="SIGNALBOX_ENCRYPTION_KEYS")
    allowed_hosts: Words = ()
    trusted_proxies: Networks = ()
    upstream_networks: Words = ()
    metrics_token: str | None = None
    metrics_networks: Networks = ()
    webhook_secret: Words = ()  # any of them signs; a second one while they are rotated
    max_body_mb: int = Field(default=32, ge=1, le=1024)
    drain_seconds: float = Field(default=30, ge=0)
    shutdown_delay: float = Field(default=2, ge=0)
    head_interval: float = Field(default=5, gt=0, le=600)  # heads are offline after three without a heartbeat
    history_metrics: Literal["failures", "all", "off"] = "failures"
    history_payloads: Literal["off", "failures", "all"] = "off"  # copies of prompts and answers
    payload_days: float = Field(default=7, gt=0, le=36_500)
    history_days: float = Field(default=30, gt=0, le=36_500)  # rows of requests; their statistics stay
    journal_max_mb: int = Field(default=1024, ge=1)
    geoip_db: Path | None = None  # a MaxMind database of countries; needs the ``geo`` extra
    audit_log: Path | None = None
    access_log: bool = False
    traces: Literal["off", "otlp"] = "off"  # OpenTelemetry's; need the ``otel`` extra
    trace_sampler: str = Field(default="parentbased_always_on", alias="OTEL_TRACES_SAMPLER")
    trace_sampler_argument: str = Field(default="1.0", alias="OTEL_TRACES_SAMPLER_ARG")
    trace_protocol: str = Field(
        default="http/protobuf",
        validation_alias=AliasChoices("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"),
    )
    trace_headers: str | None = Field(default=None, alias="OTEL_EXPORTER_OTLP_TRACES_HEADERS")
    exporter_headers: str | None = Field(default=None, alias="OTEL_EXPORTER_OTLP_HEADERS")
    log_format: Literal["console", "json"] = "console"
    email_url: Annotated[MailServer | None, NoDecode, BeforeValidator(_mail_server)] = None
    email_from: str = "signalbox@localhost"
    public_url_value: Annotated[str | None, BeforeValidator(_address)] = Field(
        default=None, alias="SIGNALBOX_PUBLIC_URL"
    )
    database_url: str | None = Field(default=None, alias="DATABASE_URL")
    redis_url: str | None = Field(default=None, alias="REDIS_URL")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return (init_settings, env_settings)

    # -- where things live -------------------------------------------------------------------
    @property
    def data(self) -> Path:
        """The data folder, absolute."""
        return self.data_dir.expanduser().absolute()

    @property
    def database_path(self) -> Path:
        return self.data / "signalbox.sqlite3"

    @property
    def journal_dir(self) -> Path:
        return self.data / "journal"

    @property
    def metrics_dir(self) -> Path:
        """Prometheus multiprocess files; emptied when ``serve`` starts and nobody is at work in it."""
        return self.data / "metrics"

    @property
    def log_dir(self) -> Path:
        return self.data / "log"

    @property
    def audit_log_path(self) -> Path:
        """The audit log as JSON lines. A relative path is one in the data folder: the same from wherever a process is
        started."""
        return self.data / self.audit_log.expanduser() if self.audit_log else self.log_dir / "routing_audit.log"

    @property
    def revision_path(self) -> Path:
        return self.data / "revision.json"

    @property
    def overlay_path(self) -> Path:
        return self.data / "overlay.bin"

    @property
    def live_path(self) -> Path:
        """Memory that the processes of this host share: circuits, pins, what is in flight."""
        return self.data / "live.state"

    @property
    def socket_dir(self) -> Path:
        """Folder for Unix sockets: in the data folder, or in the temporary folder when that path is too long."""
        wanted = self.data / "run"
        if len(os.fsencode(wanted / "console.sock")) <= SOCKET_PATH_MAX:
            return wanted
        digest = hashlib.sha256(os.fsencode(self.data)).hexdigest()[:16]
        return Path(tempfile.gettempdir()) / f"signalbox-{os.getuid()}-{digest}"

    @property
    def heartbeat_path(self) -> Path:
        """What the Celery worker touches every few seconds: an old one means that beat or worker are away."""
        return self.socket_dir / "celery-heartbeat"

    @property
    def console_socket(self) -> Path:
        return self.socket_dir / "console.sock"

    @property
    def redis_socket(self) -> Path:
        return self.socket_dir / "redis.sock"

    @property
    def effective_redis_url(self) -> str:
        """``REDIS_URL``, or the embedded server's socket."""
        return self.redis_url or f"unix://{self.redis_socket}?db=0"

    @property
    def max_body_bytes(self) -> int:
        return self.max_body_mb * 1024 * 1024

    @property
    def bound_to_loopback(self) -> bool:
        return self.host in {"localhost", "::1"} or self.host.startswith("127.")

    @property
    def public_url(self) -> str:
        """What links in messages begin with: as it is set, else the best guess at what people type."""
        if self.public_url_value:
            return self.public_url_value
        name = self.page_name
        if name is not None and self.trusted_proxies:
            return f"https://{name}"
        host = name or ("127.0.0.1" if self.host in {"0.0.0.0", "::"} else self.host)  # noqa: S104
        return f"http://[{host}]:{self.port}" if ":" in host and host[0] != "[" else f"http://{host}:{self.port}"

    @property
    def page_name(self) -> str | None:
        """A name that pages answer to, as people would type it; None = any that leads here, or this machine's own."""
        names = [name for name in self.allowed_hosts if "*" not in name]
        whole = [name for name in names if not name.startswith(".")]
        return next(iter(whole or [name.removeprefix(".") for name in names]), None)

    @property
    def upstream_network_ceiling(self) -> frozenset[str]:
        """Which networks any provider may reach: subset of ``public private loopback``."""
        if self.upstream_networks:
            return frozenset(self.upstream_networks)
        if self.bound_to_loopback:
            return frozenset({"public", "private", "loopback"})
        return frozenset({"public", "private"})

    @property
    def trace_sampling(self) -> TraceSampling:
        """Looked at only where there are traces: the variables are everybody's. Raises EnvError."""
        name = self.trace_sampler.strip().lower()
        if name.removeprefix(_PARENT_BASED) not in _SAMPLERS:
            known = ", ".join((*_SAMPLERS, *(f"{_PARENT_BASED}{each}" for each in _SAMPLERS)))
            raise EnvError(f"OTEL_TRACES_SAMPLER: must be one of {known}")
        ratio = _SAMPLERS[name.removeprefix(_PARENT_BASED)]
        if ratio is None:
            try:
                ratio = float(self.trace_sampler_argument)
            except ValueError:
                ratio = -1.0
            if not 0.0 <= ratio <= 1.0:
                raise EnvError("OTEL_TRACES_SAMPLER_ARG: must be a number from 0 to 1")
        return TraceSampling(name.startswith(_PARENT_BASED), ratio)

    def check_trace_variables(self) -> None:
        """Whether OpenTelemetry's packages will take their variables. Headers that they do not take they would quote,
        and a limit that is no number keeps them from being imported. Raises EnvError."""
        for name in _SPAN_LIMITS:
            value = os.environ.get(name, "").strip()
            if value and not value.isdecimal():
                raise EnvError(f"{name}: must be a whole number")
        name, headers = "OTEL_EXPORTER_OTLP_TRACES_HEADERS", self.trace_headers
        if not headers:
            name, headers = "OTEL_EXPORTER_OTLP_HEADERS", self.exporter_headers
        for position, entry in enumerate((headers or "").split(",")):
            if entry.strip() and not _HEADER.fullmatch(entry.strip()):
                raise EnvError(f"{name}: entry {position + 1} must be name=value, with a space as %20")

    def make_folders(self) -> None:
        """Create the data folder and what lives in it; mode 0700, because it holds keys."""
        for folder in (self.data, self.journal_dir, self.metrics_dir, self.log_dir, self.socket_dir):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    # -- secrets -----------------------------------------------------------------------------
    def known_secrets(self) -> tuple[str, ...]:
        """What must appear nowhere, as far as this process knows it by now; generates nothing."""
        found = [self.admin_password, self.metrics_token, self.secret_key_value, *self.encryption_keys_value]
        found += [*self.webhook_secret, self.email_url.password if self.email_url else None]
        for headers in filter(None, (self.trace_headers, self.exporter_headers)):
            found += _secret_parts(headers)
        for url in filter(None, (self.database_url, self.redis_url)):
            with contextlib.suppress(ValueError):
                password = urlsplit(url).password or ""
                found += [password, unquote(password)]
        for name in ("secret_key", "encryption_keys"):
            with contextlib.suppress(OSError, UnicodeDecodeError):
                found += _split((self.data / name).read_text().strip())
        return tuple(secret for secret in found if secret)

    @property
    def secret_key(self) -> str:
        """Django's signing key."""
        return self.secret_key_value or _generated(self.data / "secret_key", lambda: secrets.token_urlsafe(50))

    @property
    def encryption_keys(self) -> tuple[bytes, ...]:
        """AES-256 key ring, 32 bytes each; the first encrypts, all decrypt. Written as base64."""
        values = self.encryption_keys_value or _split(
            _generated(self.data / "encryption_keys", lambda: base64.b64encode(secrets.token_bytes(32)).decode())
        )
        ring = []
        for position, value in enumerate(values):
            try:
                key = base64.b64decode(value.replace("-", "+").replace("_", "/"), validate=True)
            except ValueError:
                key = b""
            if len(key) != 32:
                raise EnvError(f"SIGNALBOX_ENCRYPTION_KEYS: entry {position + 1} is not 32 bytes in base64")
            ring.append(key)
        return tuple(ring)


def _secret_parts(headers: str) -> Iterable[str]:
    """Of a list of headers, well written or not, whatever may be quoted. Plain words in it are none: the name of a
    tenant or a data set would be taken out of every line."""
    found = {headers}
    for entry in headers.split(","):
        value = re.split("[=:]", entry, maxsplit=1)[-1].strip(" \t\"'")
        for form in (value, unquote(value)):
            found |= {entry.strip(), form, form.rpartition(" ")[2]}
    return [part for part in sorted(found) if not re.fullmatch("[a-z_./ -]*", part)]


def _generated(path: Path, make: Any) -> str:
    """Read a secret file, creating it first (once, whoever comes first) when it is missing."""
    try:
        return path.read_text().strip()
    except FileNotFoundError:
        pass
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as stream:
        stream.write(make() + "\n")
    try:
        os.link(temporary, path)
    except FileExistsError:
        pass
    finally:
        temporary.unlink()
    return path.read_text().strip()


def _read_secret_files() -> None:
    for name in SECRET_NAMES:
        path = os.environ.get(f"{name}_FILE")
        if not path or os.environ.get(name):
            continue
        try:
            os.environ[name] = Path(path).read_text().strip()
        except OSError as error:
            raise EnvError(f"{name}_FILE: cannot read {path}: {error.strerror}") from None


@cache
def get_env() -> Env:
    """The process's settings; read once. Raises EnvError with one line that names the setting."""
    _read_secret_files()
    try:
        return Env()
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0])
        name = name if name.isupper() else f"{PREFIX}{name.upper()}"
        raise EnvError(f"{name}: {first['msg']}") from None


def log_format() -> Literal["console", "json"]:
    """How lines are to be written, also when other settings cannot be read."""
    return "json" if os.environ.get(f"{PREFIX}LOG_FORMAT") == "json" else "console"


def read_secret_variable(name: str) -> str:
    """The value of a variable that a configuration document names. Raises EnvError, which never quotes it."""
    value = os.environ.get(name)
    if not value:
        raise EnvError(f"the environment variable {name} is not set")
    return value.strip()


def child_environment(**extra: str) -> dict[str, str]:
    """A copy of this process's environment with ``extra`` laid over it, for starting children."""
    return {**os.environ, **extra}


def use_metrics_folder(env: Env) -> None:
    """Point prometheus-client's multiprocess mode at the data folder. It reads the variable when it is first imported,
    so this comes before: see ``routing_project.metrics.joining``."""
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(env.metrics_dir)


def use_no_metrics_folder() -> None:
    """For commands: what they count ends with them, whatever the environment they are started in says."""
    os.environ.pop("PROMETHEUS_MULTIPROC_DIR", None)
