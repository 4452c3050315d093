"""Reads an imagined request with the gateway's own code, so that both always understand the same.

Of ``routes.gateway`` only modules without I/O are used: addresses, body, session, keys and the question they become.
What a gateway would refuse is refused here with the field that is wrong. Must not import history.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson
from uuid_utils import uuid7

from routes.actions.errors import Invalid
from routes.engine.facts import Calibration
from routes.gateway import admission, endpoints, intake, route_request
from routes.gateway.auth import AccessKey
from routes.gateway.errors import Refusal
from routes.gateway.exchange import Exchange
from routes.overlay import key_document

if TYPE_CHECKING:
    from routes import models
    from routes.engine.live import LiveState
    from routes.engine.snapshot import Profile, Snapshot
    from routes.engine.types import RouteRequest
    from routes.explain.documents import ImaginedRequest

DEFAULT_PROFILE = "default"
#: For requests that name no access key: one that may do everything and says nothing about itself.
ANYBODY = AccessKey.from_document(
    {
        "id": "00000000-0000-0000-0000-000000000000",
        "name": "",
        "hash": "00" * 32,
        "profile": DEFAULT_PROFILE,
        "allow": ["overrides"],
    }
)


@dataclass(frozen=True, slots=True)
class Asker:
    """What ``route_request`` reads of a gateway's state. Without an address database: explaining has no client."""

    live: LiveState
    now: float
    calibration: Calibration
    geo: None = None

    def clock(self) -> float:
        return self.now


@dataclass(frozen=True, slots=True)
class Reading:
    """A request as the gateway understands it; ``question`` makes what the engine is asked."""

    exchange: Exchange
    head: intake.BodyHead
    index: dict[bytes, bytes]

    def question(self, live: LiveState, now: float, wall: float) -> RouteRequest:
        """For one more request like this one, under an id of its own. Raises Invalid."""
        exchange = copy.copy(self.exchange)
        exchange.route_id = str(uuid7())
        exchange.accepted_ms = int(wall * 1000)
        exchange.received = now
        before = exchange.facts
        exchange.facts = None if before is None else before.again(exchange.route_id)
        asker: Any = Asker(live, now, Calibration())
        try:
            request = route_request.build(asker, exchange, self.head, self.index)
        except Refusal as refusal:
            raise _invalid(refusal) from None
        self.exchange.facts = exchange.facts
        return request


def key_of(row: models.AccessKey) -> AccessKey:
    return AccessKey.from_document(key_document(row))


def read(given: ImaginedRequest, snapshot: Snapshot, key: AccessKey, slug: str | None) -> Reading:
    """Understand a request; ``slug`` is the profile asked for beside it. Raises Invalid naming the field."""
    try:
        match = endpoints.find(given.path.partition("?")[0].encode("ascii"))
    except UnicodeEncodeError:
        match = None
    if match is None or match.endpoint is None or match.endpoint.operation == "models":
        raise _wrong("request.path", "is no address of the data plane that routes requests, such as /v1/messages")
    endpoint = match.endpoint
    profile = profile_of(snapshot, match.profile, slug, key)
    headers = [(name.lower().encode(), value.encode()) for name, value in given.headers.items()]
    index = intake.index_headers(headers)
    if problem := intake.fault(headers, index | {b"host": b""}, "1.1"):
        raise _wrong("request.headers", problem)
    body = given.body.encode() if isinstance(given.body, str) else orjson.dumps(given.body)
    if given.body is None:
        body = b""
    if endpoint.body in ("json", "form") and (given.body is None or not body):
        raise _wrong("request.body", "required")
    exchange = Exchange(
        id=b"",
        route_id="",
        accepted=0.0,
        accepted_ms=0,
        method=endpoint.method,
        path=given.path,
        query=given.path.partition("?")[2].encode(),
        headers=headers,
        client_ip=_address(index),
        operation=endpoint.operation,
        resource=endpoint.resource + match.rest,
        wire=endpoint.wire,
        key=key,
        snapshot=snapshot,
        profile=profile,
        body=body,
    )
    try:
        head = admission.understand(exchange, endpoint, index)
        exchange.session = route_request.session_of(exchange, head, index, match.session)
    except Refusal as refusal:
        if endpoint.body == "none" and refusal.param is not None:
            raise _wrong("request.path", refusal.message) from None  # it says everything in its address
        raise _invalid(refusal) from None
    return Reading(exchange, head, index)


def profile_of(snapshot: Snapshot, of_path: str | None, slug: str | None, key: AccessKey) -> Profile:
    """The profile that decides: the path's, the one asked for, the key's. Raises Invalid."""
    if of_path is not None and slug is not None and of_path != slug:
        raise _wrong("profile", f"the path names another profile, '{of_path}'")
    field = "request.path" if of_path is not None else "profile"
    name = of_path or slug or key.profile
    profile = snapshot.profiles.get(name)
    if profile is None:
        raise _wrong(field, f"there is no profile '{name}' in this revision")
    if not key.may_use_profile(name):
        raise _wrong("key", f"this access key may not use profile '{name}'")
    return profile


def _address(index: dict[bytes, bytes]) -> str:
    """Who explains something sends it from nowhere; the client's address may be told as a proxy would."""
    return index.get(b"x-forwarded-for", b"").decode("latin-1").partition(",")[0].strip()


def _wrong(path: str, message: str) -> Invalid:
    return Invalid.from_errors([(path, message)])


def _invalid(refusal: Refusal) -> Invalid:
    """A refusal of the gateway, with the path of the field in what was sent here."""
    param = refusal.param or ""
    if refusal.code == "permission_denied":
        return _wrong("key", refusal.message)
    if param.startswith("x-"):
        return _wrong(f"request.headers.{param}", refusal.message.removeprefix(f"{param}: "))
    if param == "session":
        return _wrong("request.path", refusal.message)
    path = f"request.body.{param}" if param else "request.body"
    return _wrong(path, refusal.message.removeprefix(f"{param}: "))
