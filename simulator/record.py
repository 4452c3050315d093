"""The request log of one provider: what was asked, what was sent back, and who hung up first.

Bounded by number and by bytes, oldest out first. Tests read it through the control endpoint; the connection writes
the second half of each record while it answers.
"""

from __future__ import annotations

import base64
from collections import deque
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from simulator.connection import Request

KEPT_RECORDS = 2_000
KEPT_BYTES = 64 * 1024 * 1024


class Record:
    """One request and what became of it. Durations are seconds since the request was complete.

    A WebSocket is one record, with the messages that went through it and the code of the peer's close frame.
    """

    __slots__ = (
        "bytes_sent",
        "close_code",
        "disconnected",
        "disconnected_after",
        "events_sent",
        "fault",
        "finished",
        "messages_received",
        "messages_sent",
        "number",
        "received_at",
        "request",
        "started",
        "status",
    )

    def __init__(self, number: int, request: Request, received_at: float, started: float) -> None:
        self.number = number
        self.request = request
        self.received_at = received_at
        self.started = started
        self.fault: str | None = None
        self.status = 0
        self.bytes_sent = 0
        self.events_sent = 0
        self.finished = False
        self.disconnected = False
        self.disconnected_after: float | None = None
        self.messages_received = 0
        self.messages_sent = 0
        self.close_code: int | None = None

    def as_document(self) -> dict[str, Any]:
        """What the control endpoint shows. A body that is not UTF-8 comes as `body_base64`."""
        request = self.request
        document: dict[str, Any] = {
            "number": self.number,
            "connection": request.connection,
            "ordinal": request.ordinal,
            "method": request.method,
            "target": request.target.decode("latin-1"),
            "path": request.path,
            "headers": [[name.decode("latin-1"), value.decode("latin-1")] for name, value in request.headers],
            "received_at": self.received_at,
            "status": self.status,
            "fault": self.fault,
            "bytes_sent": self.bytes_sent,
            "events_sent": self.events_sent,
            "finished": self.finished,
            "disconnected": self.disconnected,
            "disconnected_after": self.disconnected_after,
            "messages_received": self.messages_received,
            "messages_sent": self.messages_sent,
            "close_code": self.close_code,
        }
        try:
            document["body"] = request.body.decode()
        except UnicodeDecodeError:
            document["body"] = None
            document["body_base64"] = base64.b64encode(request.body).decode()
        return document


class RequestLog:
    """The last requests of a provider, in order of arrival. `total` counts those that were dropped too."""

    def __init__(self, kept: int = KEPT_RECORDS, kept_bytes: int = KEPT_BYTES) -> None:
        self._records: deque[Record] = deque()
        self._kept = kept
        self._kept_bytes = kept_bytes
        self._bytes = 0
        self.total = 0

    def add(self, record: Record) -> None:
        self.total += 1
        self._records.append(record)
        self._bytes += len(record.request.body)
        while len(self._records) > self._kept or (self._bytes > self._kept_bytes and len(self._records) > 1):
            self._bytes -= len(self._records.popleft().request.body)

    def clear(self) -> None:
        self._records.clear()
        self._bytes = 0
        self.total = 0

    def as_document(self) -> dict[str, Any]:
        return {"total": self.total, "requests": [record.as_document() for record in self._records]}
