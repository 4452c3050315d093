"""Which headers cross the gateway, both ways. Pure; header names are lower-case bytes everywhere.

Hop-by-hop headers and what ``Connection`` names end here; so does whatever tells one side about the other: the
client's credentials, cookies and forwarding headers on the way up, cookies, server and account details on the way
down.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

RawHeaders = list[tuple[bytes, bytes]]

_HOP_BY_HOP: Final = frozenset(
    {
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
        b"http2-settings",
    }
)
#: Ours to write, or none of the upstream's business. ``expect`` was answered by us.
REQUEST_DROPPED: Final = _HOP_BY_HOP | {
    b"host",
    b"content-length",
    b"accept-encoding",
    b"expect",
    b"authorization",
    b"x-api-key",
    b"cookie",
    b"cookie2",
    b"forwarded",
    b"x-real-ip",
    b"via",
}
_REQUEST_PREFIXES: Final = (b"x-forwarded-", b"x-route-")
RESPONSE_DROPPED: Final = _HOP_BY_HOP | {
    b"content-length",
    b"content-encoding",  # bodies leave unpacked; the one that does not says so itself
    b"set-cookie",
    b"set-cookie2",
    b"server",
    b"date",  # the edge writes its own
    b"alt-svc",
    b"strict-transport-security",
    b"nel",
    b"report-to",
    b"reporting-endpoints",
    b"openai-organization",
    b"openai-project",
    b"anthropic-organization-id",
}
#: Our account's limits at the provider are not the client's; ``x-route-*`` is what we say.
_RESPONSE_PREFIXES: Final = (b"x-route-", b"x-ratelimit-", b"anthropic-ratelimit-")


def forwarded(headers: Iterable[tuple[bytes, bytes]], dropped: frozenset[bytes]) -> list[bytes]:
    """The lines of those client headers that go on. ``dropped``: at least ``REQUEST_DROPPED``, with the names of
    the provider's own headers. Values are sound already: the parser and the app refused others."""
    lines: list[bytes] = []
    named: frozenset[bytes] | None = None
    for name, value in headers:
        if name in dropped or name.startswith(_REQUEST_PREFIXES):
            if name == b"connection" and value.lower() not in (b"keep-alive", b"close"):
                named = _named(value) if named is None else named | _named(value)
            continue
        lines.append(b"%b: %b\r\n" % (name, value))
    return [line for line in lines if line.partition(b":")[0] not in named] if named else lines


def _named(connection: bytes) -> frozenset[bytes]:
    """Headers that a ``Connection`` value declares to be for the next hop only."""
    return frozenset(option.strip().lower() for option in connection.split(b","))


def received(headers: Iterable[tuple[bytes, bytes]]) -> RawHeaders:
    """Those upstream headers that go to the client, names in lower case. Framing is ours to write anew."""
    kept: RawHeaders = []
    named: frozenset[bytes] | None = None
    for name, value in headers:
        if name in RESPONSE_DROPPED or name.startswith(_RESPONSE_PREFIXES):
            if name == b"connection" and value.lower() not in (b"keep-alive", b"close"):
                named = _named(value) if named is None else named | _named(value)
            continue
        kept.append((name, value))
    return [header for header in kept if header[0] not in named] if named else kept
