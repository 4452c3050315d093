"""Clients of the live feed: an installation with signed-in people and keys, a reader of event streams, sockets."""

from __future__ import annotations

import hashlib
import hmac
import http.client
import json
import re
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Self

import redis
import websockets.sync.client

from routing_project.feed.publisher import Publisher
from tests.gateways import Answer
from tests.stack import ADMIN_PASSWORD, Stack, document

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.servers import Postgres
    from tests.simulators import ProviderHandle

SECRETS = ("an old secret", "a new secret")


class Event(dict[str, str]):
    """``id``, ``event``, ``data``, ``retry`` of one block; ``comment`` for a comment."""

    @property
    def document(self) -> Any:
        return json.loads(self["data"])


class Stream:
    """An open event stream."""

    def __init__(self, connection: http.client.HTTPConnection) -> None:
        self.connection = connection
        self.response = connection.getresponse()
        self.status = self.response.status
        self.headers = {name.lower(): value for name, value in self.response.getheaders()}

    def next(self) -> Event | None:
        """The next block; None when the stream has ended."""
        found = Event()
        while line := self.response.readline():
            text = line.decode().rstrip("\n")
            if not text:
                if found:
                    return found
                continue
            name, _, value = text.partition(": ")
            found[name or "comment"] = value
        return None

    def events(self, count: int) -> list[Event]:
        """So many blocks with data."""
        found: list[Event] = []
        while len(found) < count:
            event = self.next()
            assert event is not None, f"the stream ended after {found}"
            if "data" in event:
                found.append(event)
        return found


class Console(Stack):
    """An installation over one simulated provider, with a database that may be stopped."""

    def __init__(self, folder: Path, provider: ProviderHandle, database: Postgres) -> None:
        super().__init__(folder, SIGNALBOX_WEBHOOK_SECRET=", ".join(SECRETS), DATABASE_URL=database.url())
        self.database = database
        self._provider = provider
        self.keys: dict[str, str] = {}
        self.cookie = ""

    def __enter__(self) -> Self:
        super().__enter__()
        self.import_config(document(self._provider))
        for scope in ("read", "route", "operate"):
            self.keys[scope] = self.new_key(f"may {scope}", scope)
        self.cookie = self.sign_in()
        return self

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"

    def new_key(self, name: str, scope: str) -> str:
        profile = {"profile": "default"} if scope == "route" else {}
        answer = self.request("POST", "/api/v1/access-keys/", {"name": name, "scopes": [scope], **profile})
        assert answer.status == 201, answer.body
        return str(answer.json()["value"])

    @property
    def redis_url(self) -> str:
        return f"unix://{self.folder / 'run' / 'redis.sock'}?db=0"

    def redis_answers(self) -> bool:
        with redis.Redis.from_url(self.redis_url) as client:
            try:
                return bool(client.ping())
            except redis.RedisError:
                return False

    def open_now(self) -> tuple[int, int]:
        """Event streams and sockets, as the gauges count them."""
        gauges = dict(re.findall(r"^(sse|websocket)_connections (\S+)$", self.metrics(), re.M))
        return int(float(gauges["sse"])), int(float(gauges["websocket"]))

    def refused(self) -> int:
        """Streams and sockets that were too many of one key or person."""
        return sum(
            int(float(each)) for each in re.findall(r"^watchers_refused_total\{.*\} (\S+)$", self.metrics(), re.M)
        )

    def publisher(self, feed: str = "routes") -> Publisher:
        return Publisher(feed, self.redis_url)

    def sign_in(self) -> str:
        """The cookies of a new session of the administrator."""
        page = self.call("GET", "/admin/login/")
        token = re.findall(r'name="csrfmiddlewaretoken" value="([^"]+)"', page.body.decode())[0]
        jar = "csrftoken=" + re.findall(r"csrftoken=([^;]+)", page.headers["set-cookie"])[0]
        form = f"csrfmiddlewaretoken={token}&username=admin&password={ADMIN_PASSWORD.replace(' ', '+')}&next=/admin/"
        headers = {"Cookie": jar, "Content-Type": "application/x-www-form-urlencoded"}
        answer = self.call("POST", "/admin/login/", form.replace("'", "%27"), **headers)
        assert answer.status == 302, answer.body
        names = ("sessionid", "csrftoken")
        return "; ".join(re.findall(rf"{name}=[^;]+", answer.headers["set-cookie"])[0] for name in names)

    def sign_out(self, cookie: str) -> None:
        token = cookie.partition("csrftoken=")[2]
        assert self.call("POST", "/admin/logout/", b"", Cookie=cookie, X_CSRFToken=token).status == 200

    def call(self, method: str, path: str, body: str | bytes | None = None, **headers: str) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request(method, path, body, {**_named(headers), "Connection": "close"})
            response = connection.getresponse()
            names = {name.lower(): value for name, value in response.getheaders()}
            names["set-cookie"] = "; ".join(response.headers.get_all("set-cookie", []))
            return Answer(response.status, names, response.read())
        finally:
            connection.close()

    def webhook(
        self,
        body: Any,
        *,
        secret: str = SECRETS[1],
        at: float | None = None,
        path: str = "/webhook/routing-decision",
        **headers: str,
    ) -> Answer:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        timestamp = str(int(time.time() if at is None else at))
        signature = (
            "sha256=" + hmac.new(secret.encode(), timestamp.encode() + b"." + content, hashlib.sha256).hexdigest()
        )
        signed = {"X_Signalbox_Timestamp": timestamp, "X_Signalbox_Signature": signature}
        return self.call("POST", path, content, **{"Content_Type": "application/json", **signed, **headers})

    @contextmanager
    def stream(self, path: str = "/events/routing-decisions", key: str = "read", **headers: str) -> Iterator[Stream]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        names = _named(headers)
        if key:
            names["Authorization"] = f"Bearer {self.keys.get(key, key)}"
        connection.request("GET", path, headers=names)
        opened = Stream(connection)
        try:
            yield opened
        finally:
            connection.close()

    @contextmanager
    def socket(self, path: str = "/ws/live", key: str = "read", **headers: str) -> Iterator[Socket]:
        names = _named(headers)
        if key:
            names["Authorization"] = f"Bearer {self.keys.get(key, key)}"
        origin = names.pop("Origin", None)
        with websockets.sync.client.connect(
            f"ws://{self.host}{path}",
            additional_headers=names,
            origin=origin,
            open_timeout=60,
            close_timeout=2,  # type: ignore[arg-type]
        ) as connection:
            yield Socket(connection)


class Socket:
    """A WebSocket of JSON messages."""

    def __init__(self, connection: websockets.sync.client.ClientConnection) -> None:
        self.connection = connection

    def say(self, kind: str, payload: Any = None, **more: Any) -> None:
        self.connection.send(json.dumps({"type": kind, **({} if payload is None else {"payload": payload}), **more}))

    def hear(self) -> dict[str, Any]:
        message: dict[str, Any] = json.loads(self.connection.recv(timeout=60))
        return message

    def ask(self, kind: str, payload: Any = None, **more: Any) -> dict[str, Any]:
        """The answer, which must come next."""
        self.say(kind, payload, **more)
        return self.hear()

    def close_code(self) -> int | None:
        """The code of the close that must come next."""
        try:
            heard = self.connection.recv(timeout=60)
        except websockets.exceptions.ConnectionClosed as closed:
            return closed.rcvd.code if closed.rcvd is not None else None
        raise AssertionError(f"not closed: {heard!r}")


def _named(headers: dict[str, str]) -> dict[str, str]:
    return {name.replace("_", "-"): value for name, value in headers.items()}
