"""Checks of base URLs and headers at the time they are written, so that a mistake is seen before traffic is.

What an address resolves to is checked where it matters, at every connect (the gateway's guard); here only what
can be known from the text: scheme, user info, literal addresses that are never allowed.
"""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from urllib.parse import urlsplit

METADATA_NAMES = frozenset({"metadata", "metadata.google.internal", "instance-data", "metadata.azure.internal"})
METADATA_ADDRESSES = frozenset(
    ip_address(text) for text in ("169.254.169.254", "fd00:ec2::254", "100.100.100.200", "168.63.129.16")
)
HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}")
#: Set by us, or hop-by-hop.
MANAGED_HEADERS = frozenset(
    {
        *("accept-encoding", "connection", "content-length", "content-type", "cookie", "expect", "host"),
        *("keep-alive", "proxy-authenticate", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade"),
    }
)
#: Secrets: they would end in revisions and exports.
SECRET_HEADERS = frozenset({"authorization", "proxy-authorization", "x-api-key", "api-key", "x-goog-api-key"})


def literal_address(url: str) -> IPv4Address | IPv6Address | None:
    """The address that a URL's host is written as, in any notation that a resolver would take; None = a name."""
    host = (urlsplit(url).hostname or "").partition("%")[0]
    try:
        address = ip_address(host)
    except ValueError:
        return _old_notation(host)
    if isinstance(address, IPv6Address) and address.ipv4_mapped:
        return address.ipv4_mapped
    return address


def _old_notation(host: str) -> IPv4Address | None:
    """``2852039166``, ``0xa9fea9fe``, ``169.254.43518``: inet_aton takes them, so attackers use them."""
    parts = host.split(".")
    if len(parts) > 4 or not all(re.fullmatch(r"0[xX][0-9a-fA-F]+|[0-9]+", part) for part in parts):
        return None
    try:
        numbers = [
            int(part, 16) if part[:2].lower() == "0x" else int(part, 8 if part[0] == "0" and part != "0" else 10)
            for part in parts
        ]
        value = numbers[-1]
        for index, number in enumerate(numbers[:-1]):
            if number > 255:
                return None
            value += number << (8 * (3 - index))
        return IPv4Address(value)
    except ValueError:
        return None


def check_base_url(url: str) -> str:
    """The URL without a trailing slash. Raises ValueError with what is wrong with it."""
    if not url.isascii() or not url.isprintable() or any(character in url for character in ' \\"<>^`{|}'):
        raise ValueError("must be a URL in plain ASCII")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise ValueError("is not a valid URL") from None
    if parts.scheme not in {"http", "https"}:
        raise ValueError("must start with http:// or https://")
    if "@" in parts.netloc:
        raise ValueError("must not hold a user name or password")
    if not parts.hostname or port == 0:
        raise ValueError("must name a host")
    if "?" in url or "#" in url:
        raise ValueError("must not hold a query or fragment; use 'query'")
    if parts.hostname.rstrip(".") in METADATA_NAMES:
        raise ValueError("metadata services are never allowed")
    address = literal_address(url)
    if address is not None:
        if address in METADATA_ADDRESSES:
            raise ValueError("metadata services are never allowed")
        if address.is_link_local:
            raise ValueError("link-local addresses are never allowed")
        if address.is_unspecified or address.is_multicast:
            raise ValueError("is not the address of a host")
    return url.rstrip("/")


def check_proxy(url: str) -> str:
    """A proxy's URL; like a base URL, but without a path."""
    url = check_base_url(url)
    if urlsplit(url).path:
        raise ValueError("must not hold a path")
    return url


def check_header_name(name: str) -> str:
    if not HEADER_NAME.fullmatch(name):
        raise ValueError("is not a header name")
    if name.lower() in MANAGED_HEADERS or name.lower().startswith(("x-route-", "x-forwarded-")):
        raise ValueError("this header is set by the gateway")
    return name


def check_extra_header(name: str) -> str:
    """A header of the document's ``headers``: never one that carries a secret."""
    if check_header_name(name).lower() in SECRET_HEADERS:
        raise ValueError("secrets belong into 'credential' (see 'auth'), which is stored encrypted")
    return name


def check_header_value(value: str) -> str:
    if not value.isprintable() or value != value.strip():
        raise ValueError("must be one line without control characters or outer spaces")
    return value


def check_query_value(value: str) -> str:
    if not value.isprintable():
        raise ValueError("must not hold control characters")
    return value


def network_warning(url: str, network: str, ceiling: frozenset[str]) -> str | None:
    """Why a literal address will be refused at connect time, if it will."""
    if network not in ceiling:
        return f"network '{network}' is above what SIGNALBOX_UPSTREAM_NETWORKS allows ({', '.join(sorted(ceiling))})"
    address = literal_address(url)
    host = urlsplit(url).hostname or ""
    needs = "public"
    if host == "localhost" or host.endswith(".localhost") or (address is not None and address.is_loopback):
        needs = "loopback"
    elif address is not None and not address.is_global:
        needs = "private"
    order = ("public", "private", "loopback")
    if order.index(needs) > order.index(network):
        return f"{host} is a {needs} address, but network is '{network}': it will be refused at connect time"
    return None


def check_probe_path(text: str) -> str:
    """What a probe of kind ``http`` appends to the base URL: it never leaves the host."""
    if not text.startswith("/") or not text.isascii() or not text.isprintable() or " " in text or "#" in text:
        raise ValueError("must start with / and be one word of ASCII, without a fragment")
    if any(segment in (".", "..") for segment in text.partition("?")[0].split("/")):
        raise ValueError("must not climb out of the base URL")
    return text


def check_network(text: str) -> str:
    """A network in CIDR notation, in its one spelling."""
    try:
        return str(ip_network(text))
    except ValueError:
        raise ValueError("must be a network such as 10.20.0.0/16, without host bits") from None
