"""The id of the request or command that work is done for: what a client calls its request, or a name of ours.

While it is bound it is on every log line, in audit entries and on live events, and goes along with Celery tasks. The
gateway's own requests have their route's id instead, which costs nothing. Must import neither Django nor Celery.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import uuid_utils

from routing_project import logs, redaction

if TYPE_CHECKING:
    from collections.abc import Iterable
    from contextlib import AbstractContextManager

HEADER: Final = b"x-request-id"
#: The field of log lines, and of whatever else carries it.
FIELD: Final = "request_id"
MAX_LENGTH: Final = 64


def new() -> str:
    """A UUIDv7: in the order of time, as routes are."""
    return str(uuid_utils.uuid7())


def current() -> str:
    """What is bound here; empty when this is nobody's request."""
    return logs.about(FIELD)


def bound(request_id: str) -> AbstractContextManager[None]:
    """``with request_ids.bound(name):`` for the work that is done for it."""
    return logs.bound(**{FIELD: request_id})


def is_plain(value: str) -> bool:
    """Whether a client's name for its request may be taken over: short, of printable ASCII, and not one of its secrets,
    since it will be read by others."""
    if not 0 < len(value) <= MAX_LENGTH or not value.isascii() or not value.isprintable():
        return False
    return not redaction.holds_secret(value.encode())


def of_headers(headers: Iterable[tuple[bytes, bytes]]) -> str:
    """The client's id, if it gave one and it is plain, else a new one. Names are in lower case."""
    given = [value for name, value in headers if name == HEADER]
    value = given[0].decode("latin-1") if len(given) == 1 else ""
    return value if is_plain(value) else new()
