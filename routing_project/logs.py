"""Logging of every process: structlog, one line an event on stderr, JSON or for people, secrets redacted.

Lines of the standard library's loggers (Django, Celery, uvicorn, aiohttp) go through the same processors, so a
line looks alike wherever it comes from, carries the process's name, and cannot hold a secret we know the shape
of. Used by both planes: must not import Django.
"""

from __future__ import annotations

import logging
import re
import sys
from typing import TYPE_CHECKING, Any, TextIO

# structlog loads helpers for Twisted and rich when these happen to be there (daphne and test tools bring them). Nothing
# uses them here, and they would cost every process 10 to 20 MB: for the time of this import they are not there.
_hidden = [name for name in ("twisted", "rich") if name not in sys.modules]
sys.modules.update(dict.fromkeys(_hidden))  # type: ignore[arg-type]
import structlog  # noqa: E402

for _name in _hidden:
    del sys.modules[_name]

if TYPE_CHECKING:
    from collections.abc import Mapping, MutableMapping
    from types import TracebackType

    from structlog.types import Processor

REDACTED = "[redacted]"
_SECRET_FIELD = re.compile(r"authorization|api[-_]?key|password|passwd|secret|credential|cookie|token$|^token", re.I)
_SECRET_TEXT = re.compile(
    r"sbx_[A-Za-z0-9_-]{16,}"  # our access keys
    r"|\bsk-[A-Za-z0-9_-]{8,}"  # OpenAI's and Anthropic's
    r"|(?<=://)[^/\s:@]*:[^/\s@]+(?=@)"  # user:password in a URL
    r"|(?<=bearer )[A-Za-z0-9._~+/=-]{8,}",
    re.I,
)


def redact(value: Any) -> Any:
    """``value`` with whatever looks like a secret replaced, to any depth of dicts and lists."""
    if isinstance(value, str):
        return _SECRET_TEXT.sub(REDACTED, value)
    if isinstance(value, bytes):
        return _SECRET_TEXT.sub(REDACTED, value.decode("utf-8", "replace"))
    if isinstance(value, dict):
        return {key: _redact_field(key, inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(redact(inner) for inner in value) if type(value) in (list, tuple) else redact(list(value))
    return value


def _redact_field(key: Any, value: Any) -> Any:
    if isinstance(key, str) and isinstance(value, (str, bytes)) and _SECRET_FIELD.search(key):
        return REDACTED
    return redact(value)


def _redact_event(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> Mapping[str, Any]:
    for key, value in event.items():
        event[key] = value if key in {"exc_info", "_record"} else _redact_field(key, value)
    return event


def configure(
    process: str, log_format: str = "console", *, stream: TextIO | None = None, level: int = logging.INFO
) -> None:
    """Set up this process's logging; ``process`` (``gateway-1``, ``console``, …) is on every line."""

    def name_process(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> Mapping[str, Any]:
        event.setdefault("process", process)
        return event

    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        name_process,
    ]
    # Tracebacks become text before redaction: an exception's message may quote a header.
    last: list[Processor] = [structlog.processors.format_exc_info, _redact_event]
    if log_format == "json":
        last.append(structlog.processors.JSONRenderer(sort_keys=True, default=str))
    else:
        last.append(structlog.dev.ConsoleRenderer(colors=False, pad_event_to=0, sort_keys=True))
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    # Refusals of the console are in its access log and metrics; a line for every scanner is noise.
    logging.getLogger("django.request").setLevel(max(level, logging.ERROR))
    for name in ("asyncio", "aiohttp.access", "uvicorn.access", "urllib3", "daphne"):
        logging.getLogger(name).setLevel(max(level, logging.WARNING))
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    sys.excepthook = _log_uncaught


def _log_uncaught(
    kind: type[BaseException], error: BaseException, traceback: TracebackType | None
) -> None:  # pragma: no cover - runs as the interpreter ends
    if issubclass(kind, KeyboardInterrupt):
        return
    logging.getLogger("uncaught").critical("%s: %s", kind.__name__, error, exc_info=(kind, error, traceback))


def get_logger(name: str) -> structlog.stdlib.BoundLogger:
    """A logger for a module; works before ``configure`` too (standard library defaults)."""
    logger: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(name)
    return logger
