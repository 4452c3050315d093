"""Logging of every process: structlog, one line an event on stderr, JSON or for people, secrets redacted.

Lines of the standard library's loggers (Django, Celery, uvicorn, aiohttp) go through the same processors, so a
line looks alike wherever it comes from, carries the process's name, the revision and the id of the request it is
about, and cannot hold a secret we know the shape of. What a line looks like is in ``log_lines``, what is a secret in
``redaction``, and in a process that serves it is written by ``log_writer``. Used by both planes: must not import
Django.
"""

from __future__ import annotations

import atexit
import contextlib
import logging
import sys
import threading
from typing import TYPE_CHECKING, Any, Final, TextIO

# structlog loads helpers for Twisted and rich when these happen to be there (daphne and test tools bring them). Nothing
# uses them here, and they would cost every process 10 to 20 MB: for the time of this import they are not there.
_hidden = [name for name in ("twisted", "rich") if name not in sys.modules]
sys.modules.update(dict.fromkeys(_hidden))  # type: ignore[arg-type]
import structlog  # noqa: E402

for _name in _hidden:
    del sys.modules[_name]

import orjson  # noqa: E402

from routing_project import log_lines, redaction  # noqa: E402 - behind structlog, which must come by itself
from routing_project.env import EnvError, get_env, log_format  # noqa: E402
from routing_project.log_writer import LineWriter  # noqa: E402
from routing_project.redaction import REDACTED, redact  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Callable, MutableMapping
    from contextlib import AbstractContextManager
    from pathlib import Path
    from types import TracebackType

    from structlog.types import Processor

    Event = MutableMapping[str, Any]

__all__ = ["REDACTED", "about", "bound", "configure", "dropped", "fatal", "get_logger", "redact", "start"]

STDERR: Final = 2

_revision: Callable[[], int | None] = lambda: None  # noqa: E731 - a place for a function
_writer: LineWriter | None = None


# -- setting up ------------------------------------------------------------------------------------------
def start(process: str) -> None:
    """The first thing a process that serves does, before it reads its settings: what is wrong with these is a line,
    too. Nobody waits for stderr from here on; what is logged before the end is written before the end."""
    global _writer
    logger = logging.getLogger("logs")

    def missing(number: int) -> str:
        extra = {"log_lines_dropped": number}
        return handler.format(
            logger.makeRecord(logger.name, logging.WARNING, "", 0, "log lines dropped", (), None, extra=extra)
        )

    _writer = LineWriter(STDERR, missing)
    handler = _Handler(_writer.put)
    configure(process, log_format(), handler=handler)
    atexit.register(_writer.close)
    threading.excepthook = _log_uncaught_in_thread
    logging.captureWarnings(True)
    _learn()


def start_command(name: str = "manage", level: int = logging.WARNING) -> None:
    """The same for a command: its lines are written at once, and it ends as any when nobody reads them."""
    configure(name, log_format(), level=level)
    _learn()


def _learn() -> None:
    """The secrets there are to take out, and where the revision is to be read."""
    try:
        env = get_env()
    except EnvError:
        return  # whoever reads its settings next says so
    redaction.know(env.known_secrets())
    follow_revision(OnDisk(env.revision_path).number)


def configure(
    process: str,
    log_format: str = "console",
    *,
    stream: TextIO | None = None,
    level: int = logging.INFO,
    handler: logging.Handler | None = None,
) -> None:
    """Set up this process's logging; ``process`` (``gateway-1``, ``console``, …) is on every line. Lines go to
    ``handler``, or else at once to ``stream`` (stderr): for commands, which end when nobody reads what they say."""

    def name_process(_logger: Any, _method: str, event: Event) -> Event:
        event.setdefault("process", process)
        number = _revision()
        if number is not None:
            event.setdefault("revision", number)
        return event

    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        name_process,
    ]
    render = log_lines.as_json if log_format == "json" else log_lines.for_people

    def finish(_logger: Any, _method: str, event: Event) -> str:
        # Django puts its request here: an address with its query, which may hold anything.
        event.pop("request", None)
        return log_lines.line(event, render)

    if handler is None:
        handler = _Handler(lambda line: print(line, file=stream or sys.stderr, flush=True))
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                # Tracebacks become text before redaction: an exception's message may quote a header.
                structlog.processors.format_exc_info,
                finish,
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    # Refusals of the console are in its access log and metrics; a line for every scanner is noise.
    logging.getLogger("django.request").setLevel(max(level, logging.ERROR))
    logging.getLogger("django.security.DisallowedHost").filters[:] = [_FewHosts()]
    for name in ("asyncio", "aiohttp.access", "uvicorn", "uvicorn.access", "urllib3", "daphne", "django.channels"):
        logging.getLogger(name).setLevel(max(level, logging.WARNING))
    # It quotes headers for the collector that it cannot read; ``Env.check_trace_variables`` says so without.
    logging.getLogger("opentelemetry.util.re").setLevel(max(level, logging.ERROR))
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    sys.excepthook = _log_uncaught


class _FewHosts(logging.Filter):
    """A name that pages do not answer to: a line without the traceback, once an hour for each name, of so many at most.
    Whoever forgot it in SIGNALBOX_ALLOWED_HOSTS reads why; those who try names get no line for each."""

    def __init__(self, most: int = 20, seconds: float = 3600.0) -> None:
        super().__init__()
        self._most = most
        self._seconds = seconds
        self._told: set[str] = set()
        self._since = 0.0

    def filter(self, record: logging.LogRecord) -> bool:
        message = record.getMessage()
        if not self._since <= record.created < self._since + self._seconds:
            self._told, self._since = set(), record.created
        if message in self._told or len(self._told) >= self._most:
            return False
        self._told.add(message)
        record.exc_info = None
        record.levelno, record.levelname = logging.WARNING, "WARNING"
        return True


class _Handler(logging.Handler):
    """Hands finished lines to ``write``. ``logging`` would quote a record that cannot be written, unredacted."""

    def __init__(self, write: Callable[[str], None]) -> None:
        super().__init__()
        self._write = write

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._write(self.format(record))
        except OSError:  # nobody reads stderr
            pass
        except Exception:
            self.handleError(record)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's name
        error = sys.exc_info()[1]
        where = f"{record.pathname}:{record.lineno}"
        spoilt = logging.LogRecord(record.name, logging.ERROR, record.pathname, record.lineno, "", (), None)
        spoilt.msg = f"a line could not be written: {type(error).__name__} at {where}"
        with contextlib.suppress(Exception):  # nothing is left that could be said
            self._write(self.format(spoilt))


def dropped() -> int:
    """Lines that this process could not get rid of since it started."""
    return 0 if _writer is None else _writer.dropped


# -- what is on every line -------------------------------------------------------------------------------
def follow_revision(number: Callable[[], int | None]) -> None:
    """What lines say the revision is. Asked for every line: it must be cheap, and not fail."""
    global _revision
    _revision = number


class OnDisk:
    """The number of the revision in the data folder, which is the one the gateways of this host run. A ``stat`` a line,
    and the file is read once for each revision."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: tuple[int, int] | None = None
        self._number: int | None = None

    def number(self) -> int | None:
        try:
            status = self._path.stat()
            mark = (status.st_mtime_ns, status.st_ino)
            if mark != self._seen:
                self._number = revision_number(self._path.read_bytes())
                self._seen = mark
        except (OSError, ValueError):
            return self._number
        return self._number


def revision_number(blob: bytes) -> int:
    """Of a published revision. Raises ValueError."""
    document = orjson.loads(blob)
    number = document.get("number") if isinstance(document, dict) else None
    if not isinstance(number, int):
        raise ValueError("this is no revision")
    return number


def bound(**fields: str) -> AbstractContextManager[None]:
    """These are on every line of this task or thread, and of what it starts, until the block ends."""
    return structlog.contextvars.bound_contextvars(**fields)


def about(name: str) -> str:
    """What is bound under that name; empty when nothing is."""
    value = structlog.contextvars.get_contextvars().get(name, "")
    return value if isinstance(value, str) else ""


# -- ends that nobody foresaw ----------------------------------------------------------------------------
def fatal(program: str, message: str) -> None:
    """Why a process does not start: one line, for people who started it by hand as it is, else as JSON."""
    if log_format() == "json":
        get_logger("start").critical(message)
    else:
        print(log_lines.escaped(f"{program}: {redact(message)}"), file=sys.stderr)


def _log_uncaught(
    kind: type[BaseException], error: BaseException, traceback: TracebackType | None
) -> None:  # pragma: no cover - runs as the interpreter ends
    if issubclass(kind, KeyboardInterrupt):
        return
    logging.getLogger("uncaught").critical("%s: %s", kind.__name__, error, exc_info=(kind, error, traceback))


def _log_uncaught_in_thread(arguments: threading.ExceptHookArgs) -> None:
    if arguments.exc_value is not None and not issubclass(arguments.exc_type, SystemExit):
        name = arguments.thread.name if arguments.thread else "a thread"
        logging.getLogger("uncaught").critical(
            "%s ended because of an error",
            name,
            exc_info=(arguments.exc_type, arguments.exc_value, arguments.exc_traceback),
        )


def get_logger(name: str) -> structlog.stdlib.BoundLogger:
    """A logger for a module; works before ``configure`` too (standard library defaults)."""
    logger: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(name)
    return logger
