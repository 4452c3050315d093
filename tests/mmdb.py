"""Writes small MaxMind databases for tests: a search tree over networks, and one record for each.

Format 2.0 as published: 24-bit records, nodes of two records, then 16 zero bytes, the data section, the metadata. No
pointers inside the data, no floats: as much of the format as a database of countries needs.
"""

from __future__ import annotations

from ipaddress import IPv4Network, ip_network
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

_MARKER = b"\xab\xcd\xefMaxMind.com"
_MAP, _STRING, _UINT16, _UINT32, _UINT64, _ARRAY = 7, 2, 5, 6, 9, 11


def write(path: Path, networks: dict[str, Any]) -> None:
    """``networks``: IPv4 network -> its record. They must not overlap."""
    nodes: list[list[tuple[str, int] | None]] = [[None, None]]  # a side: ("node", index), ("data", offset), nothing
    data = b""
    for text, record in networks.items():
        network = ip_network(text)
        assert isinstance(network, IPv4Network)
        offset = len(data)
        data += _encode(record)
        bits = int(network.network_address)
        node = 0
        for depth in range(network.prefixlen):
            side = bits >> (31 - depth) & 1
            if depth == network.prefixlen - 1:
                nodes[node][side] = ("data", offset)
                break
            if nodes[node][side] is None:
                nodes.append([None, None])
                nodes[node][side] = ("node", len(nodes) - 1)
            following = nodes[node][side]
            assert following is not None
            assert following[0] == "node", "networks overlap"
            node = following[1]
    tree = b"".join(_pointer(side, len(nodes)).to_bytes(3) for node in nodes for side in node)
    metadata = {
        "binary_format_major_version": 2,
        "binary_format_minor_version": 0,
        "build_epoch": 1_700_000_000,
        "database_type": "Test-Country",
        "description": {"en": "for tests"},
        "ip_version": 4,
        "languages": ["en"],
        "node_count": len(nodes),
        "record_size": 24,
    }
    path.write_bytes(tree + bytes(16) + data + _MARKER + _encode(metadata))


def _pointer(side: tuple[str, int] | None, count: int) -> int:
    if side is None:
        return count
    return side[1] if side[0] == "node" else side[1] + count + 16


_KINDS = {
    "binary_format_major_version": _UINT16,
    "binary_format_minor_version": _UINT16,
    "build_epoch": _UINT64,
    "ip_version": _UINT16,
    "node_count": _UINT32,
    "record_size": _UINT16,
}


def _encode(value: Any, kind: int | None = None) -> bytes:
    if isinstance(value, dict):
        body = b"".join(_encode(name) + _encode(each, _KINDS.get(name)) for name, each in value.items())
        return _control(_MAP, len(value)) + body
    if isinstance(value, list):
        return _control(_ARRAY, len(value)) + b"".join(map(_encode, value))
    if isinstance(value, str):
        encoded = value.encode()
        return _control(_STRING, len(encoded)) + encoded
    assert isinstance(value, int)
    encoded = value.to_bytes((value.bit_length() + 7) // 8)
    return _control(kind or _UINT32, len(encoded)) + encoded


def _control(kind: int, size: int) -> bytes:
    assert size < 29
    return bytes([kind << 5 | size]) if kind < 8 else bytes([size, kind - 7])
