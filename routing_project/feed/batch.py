"""What watchers are handed: a batch of events, or a gap. Shared by all watchers that want the same, and written out for
the wire once for all of them."""

from __future__ import annotations

from typing import Any, NamedTuple

import orjson


class Gap(NamedTuple):
    """Events of these numbers are missing, or may be. ``last_word``: the watcher was too slow and gets nothing more."""

    first: int
    last: int
    last_word: bool = False

    @property
    def payload(self) -> dict[str, Any]:
        return {"from": self.first, "to": self.last}

    def stream_frame(self) -> bytes:
        """As an event of a stream; with an id, so that whoever comes back does not ask for what is gone. A last word
        has none: coming back is how its reader gets what it missed."""
        head = b"" if self.last_word else b"id: %d\n" % self.last
        return head + b"event: gap\ndata: %b\n\n" % orjson.dumps(self.payload)


class Batch:
    """Consecutive events that a watcher wants, with their numbers; never empty."""

    __slots__ = ("_socket_frame", "_stream_frame", "events")

    def __init__(self, events: tuple[tuple[int, bytes], ...]) -> None:
        self.events = events
        self._socket_frame: dict[str, str] = {}
        self._stream_frame: dict[str, bytes] = {}

    @property
    def last(self) -> int:
        return self.events[-1][0]

    def socket_frame(self, kind: str) -> str:
        """``{type, payload: {seq, events}}``; ``seq`` is the number of the last event."""
        frame = self._socket_frame.get(kind)
        if frame is None:
            joined = b",".join(text for _, text in self.events).decode()
            frame = f'{{"type":"{kind}","payload":{{"seq":{self.last},"events":[{joined}]}}}}'
            self._socket_frame[kind] = frame
        return frame

    def stream_frame(self, kind: str) -> bytes:
        """Each as an event of a stream. JSON has no line breaks, so each is one line of data."""
        frame = self._stream_frame.get(kind)
        if frame is None:
            name = kind.encode()
            frame = b"".join(b"id: %d\nevent: %b\ndata: %b\n\n" % (seq, name, text) for seq, text in self.events)
            self._stream_frame[kind] = frame
        return frame
