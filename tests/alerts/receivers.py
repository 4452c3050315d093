"""Receivers of alerts, in this process: an HTTP server that behaves as it is told, and a mail server.

with HttpReceiver() as receiver:
    receiver.answers = [(500, {}, b"broken")]      # then 200 again
    ...
    (got,) = receiver.requests
"""

from __future__ import annotations

import json
import socket
import threading
from dataclasses import dataclass
from email import message_from_bytes
from email.policy import default
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from email.message import EmailMessage
    from types import TracebackType

Answer = tuple[int, dict[str, str], bytes]
FINE: Answer = (200, {}, b"ok")


@dataclass(frozen=True)
class Request:
    path: str
    headers: dict[str, str]  # names in lower case
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class HttpReceiver:
    """``answers`` are given in order, then everything is fine. While ``hold`` is cleared nothing is answered."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.answers: list[Answer] = []
        self.hold = threading.Event()
        self.hold.set()
        self.connections = 0
        self._lock = threading.Lock()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def setup(self) -> None:
                receiver.connections += 1
                super().setup()

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                headers = {name.lower(): value for name, value in self.headers.items()}
                with receiver._lock:
                    receiver.requests.append(Request(self.path, headers, body))
                    status, extra, content = receiver.answers.pop(0) if receiver.answers else FINE
                receiver.hold.wait(20)
                try:
                    self.send_response(status)
                    for name, value in {**extra, "content-length": str(len(content))}.items():
                        self.send_header(name, value)
                    self.end_headers()
                    self.wfile.write(content)
                except OSError:
                    pass  # who asked has gone

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self.port = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}/hook"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.hold.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class MailReceiver:
    """Takes one connection at a time and every mail, unless ``refusal`` says otherwise."""

    def __init__(self) -> None:
        self.mails: list[tuple[list[str], EmailMessage]] = []
        self.refusal = b""  # answered to MAIL FROM
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._closing = False
        self._thread = threading.Thread(target=self._serve)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing = True
        socket.create_connection(("127.0.0.1", self.port)).close()  # wakes accept up
        self._thread.join()
        self._listener.close()

    def _serve(self) -> None:
        while True:
            connection, _ = self._listener.accept()
            with connection:
                if self._closing:
                    return
                with connection.makefile("rwb") as stream:
                    self._talk(stream)

    def _talk(self, stream: Any) -> None:
        def say(line: bytes) -> None:
            stream.write(line + b"\r\n")
            stream.flush()

        try:
            say(b"220 ready")
            recipients: list[str] = []
            while line := stream.readline():
                word = line.split(b" ")[0].strip().upper()
                if word == b"MAIL" and self.refusal:
                    say(self.refusal)
                elif word == b"RCPT":
                    recipients.append(line.partition(b"<")[2].partition(b">")[0].decode())
                    say(b"250 ok")
                elif word == b"DATA":
                    say(b"354 go on")
                    lines = []
                    while (line := stream.readline()) != b".\r\n":
                        lines.append(line.removeprefix(b"."))
                    self.mails.append((recipients, message_from_bytes(b"".join(lines), policy=default)))
                    recipients = []
                    say(b"250 taken")
                elif word == b"QUIT":
                    say(b"221 bye")
                    return
                else:
                    say(b"250 ok")
        except OSError:
            return
