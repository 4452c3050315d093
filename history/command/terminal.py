"""Where a command prints: rows to stdout, remarks to stderr. Knows whether stdout is a terminal, and how wide."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from routes.actions import Actor


class Stream(Protocol):
    def write(self, msg: str = "", style_func: None = None, ending: str | None = None) -> None: ...
    def flush(self) -> None: ...
    def isatty(self) -> bool: ...


class Terminal:
    """``actor``: who is at it."""

    def __init__(self, out: Stream, err: Stream, actor: Actor) -> None:
        self._out = out
        self._err = err
        self.actor = actor
        self.width = shutil.get_terminal_size().columns if out.isatty() else None

    def show(self, text: str) -> None:
        self._out.write(text, ending="")

    def flush(self) -> None:
        self._out.flush()

    def remark(self, *lines: str) -> None:
        for line in lines:
            self._err.write(line)
