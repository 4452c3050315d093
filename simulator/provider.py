"""One simulated provider: a listener, a behaviour that can change at any time, a request log.

Decides for each request whether a fault strikes, and otherwise lets the wire answer. Everything runs on one event
loop, so nothing is locked; the control endpoint calls in from the same loop.
"""

from __future__ import annotations

import asyncio
import random
import socket
import time
from functools import partial
from typing import TYPE_CHECKING, Any

import orjson

from simulator import behaviour as behaviours
from simulator import multipart
from simulator.behaviour import Behaviour
from simulator.connection import Connection, Request
from simulator.faults.base import Fault, Scene
from simulator.faults.connections import Refused, ResetOnConnect
from simulator.multipart import MultipartError
from simulator.record import Record, RequestLog
from simulator.reshape import reshaped
from simulator.script import Answer, Script, without_body
from simulator.websocket import HandshakeError, handshake
from simulator.wire import WIRES
from simulator.wire.base import JSON_TYPE, ApiError, Voice

if TYPE_CHECKING:
    import ssl

_BACKLOG = 2048


class Provider:
    """`base_url` ends where resources begin (`…/v1`, but for generic ones); a stopped provider keeps its port."""

    def __init__(
        self,
        name: str,
        wire: str = "openai",
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        behaviour: Behaviour | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.name = name
        self.wire_name = wire
        self.host = host
        self.port = port
        self.log = RequestLog()
        self._wire = WIRES[wire]
        self._tls = tls
        self._initial = behaviour or Behaviour()
        self._connections: set[Connection] = set()
        self._server: asyncio.Server | None = None
        self._opening: asyncio.Future[None] | None = None
        self._socket: socket.socket | None = None
        self._stopped = False
        self._revival: asyncio.TimerHandle | None = None
        self._accept_faults: list[int] = []
        self.behaviour: Behaviour
        self._left: list[int | None]
        self._take(self._initial)

    # -- listening ---------------------------------------------------------------------------
    @property
    def base_url(self) -> str:
        return f"{'https' if self._tls else 'http'}://{self.host}:{self.port}{self._wire.prefix}"

    @property
    def listening(self) -> bool:
        return self._opening is not None

    def open(self) -> None:
        """Take the port and listen, unless the behaviour refuses. Raises OSError when the port is taken."""
        self._socket = self._bound()
        self.port = self._socket.getsockname()[1]
        self._settle()

    def close(self) -> None:
        """Give up the port and drop every connection."""
        self._cancel_revival()
        if self.listening:
            self._shut()
        elif self._socket is not None:
            self._socket.close()
        self._socket = None

    def stop(self) -> None:
        """Refuse connections from now on, and reset the open ones."""
        self._stopped = True
        self._settle()

    def start(self) -> None:
        """Listen again. A `refused` fault still holds."""
        self._stopped = False
        self._settle()

    def behave(self, document: Any) -> None:
        """Lay a partial document over the behaviour; the faults' counters begin anew if it names faults."""
        changed = behaviours.read(document, self.behaviour)
        left = self._left
        self._take(changed)
        if "faults" not in document:
            self._left = left
        self._settle()

    def reset(self) -> None:
        """The behaviour it was started with, listening, and an empty log."""
        self._take(self._initial)
        self._stopped = False
        self.log.clear()
        self._settle()

    def _bound(self) -> socket.socket:
        """A bound socket that does not listen: connecting to it is refused, and no one else can take the port."""
        family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
        # An explicit protocol, or asyncio's own loop leaves Nagle's delay on.
        bound = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.setblocking(False)
        try:
            bound.bind((self.host, self.port))
        except OSError:
            bound.close()
            raise
        return bound

    def _settle(self) -> None:
        """Make the listener be as the behaviour and stop/start want it."""
        refused = next((fault for fault in self.behaviour.faults if isinstance(fault, Refused)), None)
        wanted = not self._stopped and refused is None
        self._cancel_revival()
        if wanted and not self.listening:
            # The backlog takes connections from here on; the server that accepts them comes a moment later.
            assert self._socket is not None
            self._socket.listen(_BACKLOG)
            self._opening = asyncio.ensure_future(self._serve(self._socket))
        elif not wanted and self.listening:
            self._shut()
            self._socket = self._bound()
        if refused is not None and refused.seconds is not None and not self._stopped:
            self._revival = asyncio.get_running_loop().call_later(refused.seconds, self._revive)

    async def _serve(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            partial(Connection, self, loop), sock=listener, backlog=_BACKLOG, ssl=self._tls
        )

    def _revive(self) -> None:
        self._revival = None
        self._take(behaviours.without(self.behaviour, Refused))
        self._settle()

    def _cancel_revival(self) -> None:
        if self._revival is not None:
            self._revival.cancel()
            self._revival = None

    def _shut(self) -> None:
        assert self._opening is not None
        self._opening.cancel()
        self._opening = None
        if self._server is not None:
            self._server.close()
            self._server = None
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        for connection in list(self._connections):
            connection.reset()

    # -- connections (App) -------------------------------------------------------------------
    def connected(self, connection: Connection) -> None:
        self._connections.add(connection)
        for index in self._accept_faults:
            if self._strikes(index):
                connection.reset()
                return

    def disconnected(self, connection: Connection) -> None:
        self._connections.discard(connection)

    def respond(self, request: Request) -> Script:
        """The bytes for one request: a fault's, or the honest answer's."""
        behaviour = self.behaviour
        document = _document(request)
        model: str | None = None
        stream = False
        if request.upgrade:
            model = request.parameter("model")
        elif isinstance(document, dict):
            model = document.get("model")
            stream = document["stream"] = document.get("stream") in (True, "true")  # a form has texts only
        fault = self._struck_by(request, model, stream) if behaviour.faults else None
        voice = Voice(
            self.name,
            behaviour,
            self.log.total + 1,
            self._random.uniform(0, behaviour.jitter) if behaviour.jitter else 0.0,
            fault is not None and fault.refuses,
        )
        headers = self._wire.headers(voice)
        if behaviour.headers:
            headers += [(name.encode(), value.encode()) for name, value in behaviour.headers.items()]
        answering = partial(self._answer, request, document, voice, headers)
        if fault is None:
            answer = answering()
            script = reshaped(answer, behaviour)
        else:
            script = fault.play(Scene(self._wire, headers, answering))
        if request.method == "HEAD":
            script.pieces = without_body(script.pieces)
        if behaviour.log:
            self._note(request, script, fault)
        else:
            self.log.total += 1
        return script

    def _note(self, request: Request, script: Script, fault: Fault | None) -> None:
        record = Record(self.log.total + 1, request, time.time(), asyncio.get_running_loop().time())
        record.fault = None if fault is None else str(fault.__struct_config__.tag)
        record.status = script.status
        script.record = record
        self.log.add(record)

    def _answer(
        self,
        request: Request,
        document: Any,
        voice: Voice,
        headers: list[tuple[bytes, bytes]],
        *,
        stream: bool | None = None,
    ) -> Answer:
        try:
            credential = voice.behaviour.credential
            if credential is not None and credential.encode() not in self._wire.credential(request):
                raise ApiError(401, "Incorrect API key provided.", code="invalid_api_key")
            if stream is not None and isinstance(document, dict):
                document = {**document, "stream": stream}
            path = request.path.removeprefix("/v1")
            if request.upgrade:
                talker = self._wire.converse(request, path, voice)
                answer = handshake(request, talker, self._wire.subprotocols(voice.behaviour))
                answer.delay = voice.head_delay()
            else:
                answer = self._wire.answer(request, path, document, voice)
        except HandshakeError as error:
            answer = Answer(400, [JSON_TYPE], body=self._wire.error(400, str(error)), delay=voice.head_delay())
        except ApiError as error:
            body = self._wire.error(error.status, error.message, code=error.code, param=error.param)
            answer = Answer(error.status, [JSON_TYPE], body=body, delay=voice.head_delay())
        answer.headers += headers
        return answer

    # -- faults ------------------------------------------------------------------------------
    def _take(self, behaviour: Behaviour) -> None:
        self.behaviour = behaviour
        self._random = random.Random(behaviour.seed)
        self._left = [fault.times for fault in behaviour.faults]
        self._accept_faults = [
            index for index, fault in enumerate(behaviour.faults) if isinstance(fault, ResetOnConnect)
        ]

    def _struck_by(self, request: Request, model: str | None, stream: bool) -> Fault | None:
        for index, fault in enumerate(self.behaviour.faults):
            if fault.matches(request, model, stream) and self._strikes(index):
                return fault
        return None

    def _strikes(self, index: int) -> bool:
        """Draw and count: whether this fault is to be played now."""
        fault = self.behaviour.faults[index]
        left = self._left[index]
        if left == 0 or (fault.probability < 1 and self._random.random() >= fault.probability):
            return False
        if left is not None:
            self._left[index] = left - 1
        return True


def _document(request: Request) -> Any:
    """The body as JSON or as a form; None when it is neither, which the wire refuses where it needs one."""
    if not request.body:
        return None
    mark = multipart.boundary(request.header(b"content-type"))
    try:
        return orjson.loads(request.body) if mark is None else multipart.read(request.body, mark)
    except (orjson.JSONDecodeError, MultipartError):
        return None
