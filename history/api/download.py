"""Answers of any size: pieces made one by one, and a limit to how many are under way at once.

A piece is made when the one before has gone out, on the request's own thread, where its database connection is: memory
stays flat however slowly a client reads, and a client that leaves ends the work. Django's own streaming answer would
first read all there is of an iterator that is not asynchronous.
"""

from __future__ import annotations

import threading
from collections import Counter
from datetime import UTC, datetime
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING

from asgiref.sync import sync_to_async
from django.http import StreamingHttpResponse

from history.lines import MEDIA_TYPES

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Generator, Iterator

    from history.lines import Format


class Download(StreamingHttpResponse):
    """``first`` was made already, so that what is wrong with the question was found before the answer begins.

    An error in ``rest`` breaks the answer off without its proper end, which tells the client.
    """

    def __init__(self, first: bytes, rest: Generator[bytes], format: Format) -> None:  # noqa: A002 - as in the address
        super().__init__(_Pieces(first, rest), headers=headers(format))

    async def __aiter__(self) -> AsyncIterator[bytes]:
        following = sync_to_async(partial(next, iter(self), None))
        try:
            while (piece := await following()) is not None:
                yield piece
        except Exception:
            await sync_to_async(self.close)()  # which Django does of answers that end, and gives the connection back
            raise


class _Pieces:
    """``first``, then ``rest``, which is closed with the answer."""

    def __init__(self, first: bytes, rest: Generator[bytes]) -> None:
        self._pieces = chain((first,), rest)
        self.close = rest.close

    def __iter__(self) -> Iterator[bytes]:
        return self._pieces


def headers(format: Format) -> dict[str, str]:  # noqa: A002
    """Of a file to save, with a name that says when it was made."""
    name = f"signalbox-history-{datetime.now(UTC):%Y%m%dT%H%M%SZ}.{format}"
    return {
        "Content-Type": MEDIA_TYPES[format],
        "Content-Disposition": f'attachment; filename="{name}"',
        "Cache-Control": "no-store",
    }


class Slots:
    """At most so many at a time, of one caller and of all. For any thread."""

    def __init__(self, *, of_caller: int, of_all: int) -> None:
        self.of_caller = of_caller
        self.of_all = of_all
        self._taken: Counter[str] = Counter()
        self._lock = threading.Lock()

    def take(self, caller: str) -> bool:
        """False when there is none left; else somebody must give it back."""
        with self._lock:
            if self._taken[caller] >= self.of_caller or self._taken.total() >= self.of_all:
                return False
            self._taken[caller] += 1
            return True

    def give_back(self, caller: str) -> None:
        with self._lock:
            self._taken[caller] -= 1
            self._taken += Counter()  # forgets who has none

    @property
    def taken(self) -> int:
        return self._taken.total()
