"""A gateway process and simulated providers of the test's own, in one object.

The process is shared by the tests of a module, for starting one takes a second; providers have a new slug in every
test, so circuits, quarantines and samples of one test are never another's::

    def test_x(lab: Lab) -> None:
        first, second = lab.provider(), lab.provider()
        lab.publish(first, second, max_attempts=2)
        first.fail("status", status=500)
        answer = lab.chat()
"""

from __future__ import annotations

import http.client
import itertools
import json
from typing import TYPE_CHECKING, Any

from tests.documents import document, profile, provider, target
from tests.gateways import KEY, Answer, Gateways

if TYPE_CHECKING:
    import socket
    from collections.abc import Sequence

    from history.records import Finished
    from tests.simulators import ProviderHandle, Received, Simulator

MODEL = "gpt-4o"
_numbers = itertools.count(1)

CHAT: dict[str, Any] = {"model": MODEL, "messages": [{"role": "user", "content": "hello"}]}
MESSAGES: dict[str, Any] = {**CHAT, "max_tokens": 64}
VERSION = {"anthropic-version": "2023-06-01"}


class Provider:
    """A simulated provider and its entry in the revision."""

    def __init__(self, handle: ProviderHandle, slug: str, wire: str, fields: dict[str, Any]) -> None:
        self.handle = handle
        self.slug = slug
        self.entry = provider(slug, **{"wire": wire, "base_url": handle.base_url, **fields})
        self.behave = handle.behave
        self.fail = handle.fail
        self.heal = handle.heal
        self.stop = handle.stop
        self.start = handle.start
        self.wait_for = handle.wait_for

    def requests(self) -> list[Received]:
        return self.handle.requests()

    @property
    def count(self) -> int:
        """How many requests it has received."""
        return self.handle.count()


def feed_retry_budget(gateway: Gateways) -> None:
    """Tests of failing over share a process that allows one attempt beyond the first for five requests: make those
    (under profile ``calm``), so that no test depends on how many ran in the ten seconds before it."""
    for _ in range(15):
        gateway.chat(path="/p/calm/v1/chat/completions")
    gateway.forget()


class Lab:
    def __init__(self, gateway: Gateways, simulator: Simulator) -> None:
        self.gateway = gateway
        self._simulator = simulator
        self._credentials: dict[str, str] = {}

    def provider(self, wire: str = "openai", *, credential: str | None = None, **fields: Any) -> Provider:
        """A provider that answers well at once. ``fields`` are its entry's; tell it how to behave with ``behave``."""
        slug = f"acme-{next(_numbers)}"
        if credential is not None:
            self._credentials[slug] = credential
        handle = self._simulator.add(slug, wire, credential=credential)
        return Provider(handle, slug, wire, fields)

    def publish(
        self,
        *providers: Provider,
        strategy: str = "failover",
        only: Sequence[Provider] | None = None,
        of_profile: dict[str, Any] | None = None,
        policy: dict[str, Any] | None = None,
        of_document: dict[str, Any] | None = None,
        **failover: Any,
    ) -> None:
        """One profile, ``default``, over these providers in this order (over ``only`` those, where rules use the
        others). ``of_profile``: its other fields, such as ``rules`` and ``affinity``; ``of_document``: the
        revision's, such as ``builtin_context``."""
        calm = self._simulator.providers.get("calm") or self._simulator.add("calm")
        targets = [target(each.slug) for each in (providers if only is None else only)]
        profiles = [
            profile("default", targets, strategy=strategy, failover=failover, **(of_profile or {})),
            profile("calm", [target("calm")]),
        ]
        entries = [*(each.entry for each in providers), provider("calm", base_url=calm.base_url)]
        self.gateway.publish(document(entries, profiles, policy=policy or {}, **(of_document or {})))
        if self._credentials:
            self.gateway.overlay(credentials=self._credentials)
        feed_retry_budget(self.gateway)

    # -- requests ------------------------------------------------------------------------------------------
    def chat(self, *, stream: bool = False, **more: Any) -> Answer:
        return self.gateway.post("/v1/chat/completions", {**CHAT, "stream": stream, **more})

    def messages(self, *, stream: bool = False, **more: Any) -> Answer:
        return self.gateway.post("/v1/messages", {**MESSAGES, "stream": stream, **more}, **VERSION)

    def ask(self, wire: str, *, stream: bool = False) -> Answer:
        """A small request in that wire format."""
        return self.messages(stream=stream) if wire == "anthropic" else self.chat(stream=stream)

    def open(self, document: dict[str, Any], path: str = "/v1/chat/completions") -> socket.socket:
        """Send a request and leave the connection open, for tests that read slowly, or leave."""
        body = json.dumps(document).encode()
        connection = self.gateway.connect()
        connection.sendall(
            f"POST {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {KEY}\r\n"
            f"anthropic-version: 2023-06-01\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\n\r\n".encode()
            + body
        )
        return connection

    def read_cut(self, document: dict[str, Any], path: str = "/v1/chat/completions") -> tuple[int, bytes, bool]:
        """(status, body, whether it ended without its last chunk)"""
        connection = self.open(document, path)
        try:
            response = http.client.HTTPResponse(connection)
            response.begin()
            try:
                return response.status, response.read(), False
            except http.client.IncompleteRead as error:
                return response.status, error.partial, True
        finally:
            connection.close()

    # -- history -------------------------------------------------------------------------------------------
    def row(self, answer: Answer | None = None) -> Finished:
        """The record of an answer's route, or of the only one so far."""
        rows = self.gateway.finished()
        if answer is not None:
            rows = [row for row in rows if row.id.hex() == answer.headers["x-route-id"].replace("-", "")]
        assert len(rows) == 1, rows
        return rows[0]

    def attempts(self, answer: Answer | None = None) -> list[tuple[str, str | None]]:
        """(provider, error class) of each attempt of that route."""
        return [(attempt.provider, attempt.error_class) for attempt in self.row(answer).attempts]


def events(body: bytes) -> list[bytes]:
    """The events of a stream as they were sent."""
    return [part + b"\n\n" for part in body.split(b"\n\n") if part]
