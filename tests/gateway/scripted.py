"""An upstream that sends exactly the bytes a test dictates, for answers the simulated provider would not give."""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


class Scripted:
    """``answers`` one after the other, the last for ever, whichever connection they are asked on. What it received is
    in ``heads`` and ``bodies``. ``closes``: hang up after each answer; b"" hangs up without one."""

    def __init__(self, *answers: bytes, closes: bool = False) -> None:
        self.heads: list[bytes] = []
        self.bodies: list[bytes] = []
        self.connections = 0
        self._answers = list(answers)
        self._closes = closes
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.base_url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._run, daemon=True).start()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _run(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                self.connections += 1
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with contextlib.suppress(OSError), client, client.makefile("rb") as reader:
            while head := b"".join(iter(reader.readline, b"\r\n")) if reader.peek(1) else b"":
                length = next(
                    (int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")), 0
                )
                body = reader.read(length)
                with self._lock:
                    self.heads.append(head)
                    self.bodies.append(body)
                    answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
                client.sendall(answer.partition(b"\r\n\r\n")[0] + b"\r\n\r\n" if head.startswith(b"HEAD ") else answer)
                if self._closes or not answer:
                    return

    def line(self, index: int = -1) -> str:
        """The request line."""
        return self.heads[index].partition(b"\r\n")[0].decode("latin-1")

    def headers(self, index: int = -1) -> dict[str, str]:
        """Names in lower case."""
        lines = self.heads[index].decode("latin-1").split("\r\n")[1:]
        return {name.lower(): value for name, _, value in (line.partition(": ") for line in lines if line)}


@contextlib.contextmanager
def scripted(*answers: bytes, closes: bool = False) -> Iterator[Scripted]:
    upstream = Scripted(*answers, closes=closes)
    try:
        yield upstream
    finally:
        upstream.close()


def answer(body: bytes = b"{}", status: str = "200 OK", kind: str = "application/json", **headers: str) -> bytes:
    """A whole answer; ``x_tag="1"`` is a header."""
    lines = [f"HTTP/1.1 {status}", f"Content-Type: {kind}", f"Content-Length: {len(body)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body
