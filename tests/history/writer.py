"""A process that serves requests as far as the journal can tell; the tests kill it. Never imports Django.

``python -m tests.history.writer FOLDER [SEGMENT_BYTES] [PER_SECOND]``: for each request writes ``started``, then
``finished``, and only then prints the id: what a client has read is what was printed.
"""

from __future__ import annotations

import os
import sys
import time
from collections import deque
from pathlib import Path

from history.journal import JournalWriter
from tests.history import samples

IN_FLIGHT = 5


def main() -> None:
    folder = Path(sys.argv[1])
    segment_bytes = int(sys.argv[2]) if len(sys.argv) > 2 else None
    pause = 1 / float(sys.argv[3]) if len(sys.argv) > 3 else 0.0
    writer = JournalWriter(folder, 1 << 30, segment_bytes=segment_bytes)
    running: deque[bytes] = deque()
    while True:
        identifier = samples.route()
        assert writer.append(samples.started(identifier))
        running.append(identifier)
        if len(running) > IN_FLIGHT:
            done = running.popleft()
            assert writer.append(samples.finished(done))
            os.write(1, done.hex().encode() + b"\n")
        if pause:
            time.sleep(pause)


if __name__ == "__main__":
    main()
