"""An installation in one process, and everybody who can change something in it: a key, a person in the console, a
command, a head on a socket, a signed message, the clock. Each act is watched: what is in the audit log after it that
was not there before, and whether those who may not do it leave anything there.
"""

from __future__ import annotations

import asyncio
import io
import json
import time
from dataclasses import dataclass, field
from typing import Any

from django.core.management import call_command
from django.db import close_old_connections
from django.test import Client
from django.urls import resolve

from routes import actions
from routes.actions import Actor
from routes.models import AuditEntry
from routing_project.asgi import application
from routing_project.console.webhooks import sign
from tests.admin.conftest import filled

SETUP = Actor.command("tests")
IP, REQUEST_ID, WEBHOOK_SECRET = "192.0.2.7", "req-7", "a webhook secret"
PASSWORD = "correct horse battery"
UNSAFE = ("post", "put", "patch", "delete")


@dataclass
class World:
    """``problems`` says what was not as it should be, ``seen`` which actions were on record, ``covered`` which
    addresses and commands were used."""

    problems: list[str] = field(default_factory=list)
    seen: set[str] = field(default_factory=set)
    covered: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.keys = {
            name: actions.create_access_key({"name": name, "scopes": [name]}, actor=SETUP).value
            for name in ("admin", "route")
        }
        people = {"ada": {"is_superuser": True}, "vera": {"roles": ["Viewer"]}}
        self.users = {
            name: actions.create_user({"username": name, "password": PASSWORD, **more}, actor=SETUP)
            for name, more in people.items()
        }
        self.person, self.viewer = (self.browser(self.users[name]) for name in people)

    def browser(self, user: Any = None) -> Client:
        client = Client(REMOTE_ADDR=IP, headers={"x-request-id": REQUEST_ID})
        if user is not None:
            client.force_login(user)
        return client

    # -- looking ------------------------------------------------------------------------------------------------
    def expect(
        self, what: str, since: int, expected: list[tuple[str, str, str]], who: tuple[str, str], reason: str | None
    ) -> None:
        """``expected``: action, category and name of the object of each entry."""
        entries = list(AuditEntry.objects.filter(pk__gt=since).order_by("pk"))
        self.seen |= {entry.action for entry in entries}
        found = sorted((entry.action, entry.category, entry.object_name) for entry in entries)
        if found != sorted(expected):
            self.problems.append(f"{what}: {found} instead of {sorted(expected)}")
        by_request = who[0] in ("user", "key") or who[1] in ("webhook", "not logged in")
        client_ip = IP if by_request else None
        for entry in entries:
            told = (entry.actor_kind, entry.actor_name.partition(" (")[0])
            if told != who or entry.client_ip != client_ip or (by_request and entry.request_id != REQUEST_ID):
                self.problems.append(f"{what}: {entry.action} by {told} from {entry.client_ip} {entry.request_id!r}")
            if who[0] in ("user", "key") and not entry.actor_id:
                self.problems.append(f"{what}: {entry.action} does not say who it was")
            noun = entry.action.split(".")[0]
            if {"circuit": "target", "quarantine": "provider"}.get(noun, noun) != entry.object_type:
                self.problems.append(f"{what}: {entry.action} is about a {entry.object_type}")
            if reason is not None and entry.reason != reason:
                self.problems.append(f"{what}: {entry.action} has the reason {entry.reason!r}")

    def nothing(self, what: str, since: int) -> None:
        """What was refused, or changed nothing, left nothing."""
        if left := list(AuditEntry.objects.filter(pk__gt=since).values_list("action", flat=True)):
            self.problems.append(f"{what} left {left}")

    # -- over REST ----------------------------------------------------------------------------------------------
    def api(self, call: str, data: Any, *expected: tuple[str, str, str], reason: str | None = None, again: bool = False,
            accept: str = "") -> Any:  # fmt: skip
        """A call with a key of everything, after the same with a key that may not. ``again``: a second time changes
        nothing."""
        method, _, path = call.partition(" ")
        headers = {"accept": accept} if accept else {}
        address = f"/api/v1/{path}"
        self.covered.add(f"{method} {_name(address)}")
        before = _last()
        refused = self._call(method, address, data, self.keys["route"], headers)
        if refused.status_code != 403:
            self.problems.append(f"{call} with a key that may not: {refused.status_code}")
        self.nothing(f"{call} with a key that may not", before)
        answer = self._call(method, address, data, self.keys["admin"], headers)
        content = b"".join(answer.streaming_content) if answer.streaming else answer.content
        answer.close()
        if answer.status_code not in (200, 201, 202, 204):
            self.problems.append(f"{call}: {answer.status_code} {content[:300]!r}")
        self.expect(call, before, list(expected), ("key", "admin"), reason)
        if again:
            before = _last()
            self._call(method, address, data, self.keys["admin"], headers)
            self.nothing(f"{call} once more", before)
        return json.loads(content) if content and "json" in answer.headers["Content-Type"] else content

    def _call(self, method: str, address: str, data: Any, key: str, headers: dict[str, str]) -> Any:
        body = {} if method == "get" else {"data": json.dumps(data), "content_type": "application/json"}
        sent = {"authorization": f"Bearer {key}", "x-request-id": REQUEST_ID, **headers}
        return getattr(Client(REMOTE_ADDR=IP), method)(address, headers=sent, **body)

    # -- in the console -----------------------------------------------------------------------------------------
    def page(self, path: str, data: dict[str, Any] | None, *expected: tuple[str, str, str], form: bool = False,
             reason: str | None = None, viewers_see: bool = False) -> Any:  # fmt: skip
        """A form of a page sent by a superuser, after a viewer tried. ``form``: what the page shows is sent back with
        ``data`` laid over it. ``data`` None: only looked at. ``viewers_see``: the page is for viewers too, without what
        is acted on."""
        address = f"/admin/{path}"
        self.covered.add(f"post {_name(address)}")
        before = _last()
        sent = filled(self.person.get(address), **(data or {})) if form else data
        if data is not None:
            refused = self.viewer.post(address, sent)
            if refused.status_code not in ((200,) if viewers_see else (403, 404)):
                self.problems.append(f"{path} by a viewer: {refused.status_code}")
        self.nothing(f"{path} by a viewer", before)
        answer = self.person.get(address) if data is None else self.person.post(address, sent)
        if answer.status_code not in (200, 302):
            self.problems.append(f"{path}: {answer.status_code}")
        elif answer.context and "form" in answer.context and getattr(answer.context["form"], "errors", None):
            self.problems.append(f"{path}: {dict(answer.context['form'].errors)}")
        self.expect(path, before, list(expected), ("user", "ada"), reason)
        return answer

    # -- otherwise ----------------------------------------------------------------------------------------------
    def command(self, line: str, *expected: tuple[str, str, str], reason: str | None = None, **options: Any) -> str:
        name, *arguments = line.split(" ")
        self.covered.add(f"command {name}")
        before, out = _last(), io.StringIO()
        call_command(name, *arguments, stdout=out, **options)
        self.expect(line, before, list(expected), ("command", name), reason)
        return out.getvalue()

    def socket(self, path: str, message: Any, *expected: tuple[str, str, str]) -> Any:
        self.covered.add(f"message {message['type']}")
        before = _last()
        answer = asyncio.run(_talk(path, self.keys["admin"], message))
        if answer["type"] == "error":
            self.problems.append(f"{message['type']}: {answer}")
        self.expect(message["type"], before, list(expected), ("key", "admin"), None)
        return answer

    def webhook(self, address: str, data: Any, *expected: tuple[str, str, str]) -> None:
        before, body, now = _last(), json.dumps(data).encode(), str(int(time.time()))
        self.covered.add(f"post {address}")
        for secret, status in (("another", 401), (WEBHOOK_SECRET, 200)):
            headers = {
                "x-signalbox-timestamp": now,
                "x-signalbox-signature": sign(secret, now, body),
                "x-request-id": REQUEST_ID,
            }
            answer = Client(REMOTE_ADDR=IP).post(address, data=body, content_type="application/json", headers=headers)
            if answer.status_code != status:
                self.problems.append(f"{address} {data}: {answer.status_code} {answer.content!r}")
            if status == 401:
                self.nothing(f"{address} with another secret", before)
        self.expect(f"{address} {data.get('action')}", before, list(expected), ("system", "webhook"), None)

    def clock(self, what: str, do: Any, *expected: tuple[str, str, str], who: str) -> None:
        before = _last()
        do()
        self.expect(what, before, list(expected), ("system", who), None)
        do()
        self.nothing(f"{what} once more", _last())


def _last() -> int:
    newest = AuditEntry.objects.order_by("-pk").values_list("pk", flat=True).first()
    return newest or 0


def _name(address: str) -> str:
    return str(resolve(address.partition("?")[0]).view_name)


async def _talk(path: str, key: str, message: Any) -> Any:
    """The answer to one message over a socket of its own."""
    received: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    heard: list[Any] = []
    received.put_nowait({"type": "websocket.connect"})
    received.put_nowait({"type": "websocket.receive", "text": json.dumps(message)})

    async def send(event: Any) -> None:
        if event["type"] == "websocket.send":
            heard.append(json.loads(event["text"]))
            received.put_nowait({"type": "websocket.disconnect"})

    headers = [
        (b"host", b"testserver"),
        (b"authorization", f"Bearer {key}".encode()),
        (b"x-request-id", REQUEST_ID.encode()),
    ]
    scope = {"type": "websocket", "path": path, "query_string": b"", "headers": headers, "client": [IP, 1]}
    await application(scope, received.get, send)  # type: ignore[arg-type]  # as a server calls it
    close_old_connections()
    return heard[0]
