"""What an audit entry is outside its table, and the hash that ties it to the entry before.

The hash is the SHA-256 of the entry's JSON object without ``hash``, written by RFC 8785 (JSON Canonicalization Scheme):
anybody can recompute it from a line of the file (docs/audit.md). ``previous``, the hash of the entry before, is in that
object. What comes from the table and what comes from the file are the same object, or they are not the same entry.
Imports nothing of the project and no framework.
"""

from __future__ import annotations

import hashlib
import json
import re
from datetime import UTC, datetime
from decimal import Decimal
from ipaddress import IPv6Address, ip_address
from typing import Any, Final, NamedTuple

#: What the first entry follows.
NOTHING: Final = "0" * 64
#: The entry's fields, as the table's columns and the members of the object are called.
FIELDS: Final = (
    *("id", "at", "category", "action", "object_type", "object_id", "object_name"),
    *("actor_kind", "actor_id", "actor_name", "client_ip", "request_id", "reason", "changes", "previous"),
)
MAX_EXACT: Final = 2**53

# What json.dumps may write in another way than RFC 8785: whole floats, exponents, numbers beyond 2**53.
# Numbers stand between these signs; a text that looks so costs only time.
_ODD_NUMBER: Final = re.compile(r"(?:^|[\[:,])-?(?:\d{16,}|\d+\.0|[\d.]+e[-+]?\d+)(?:[\]},]|$)")
_SURROGATE: Final = re.compile("[\ud800-\udfff]")


class Link(NamedTuple):
    """A place in the chain."""

    id: int
    hash: str


START: Final = Link(0, NOTHING)


def document_of(fields: dict[str, Any]) -> dict[str, Any]:
    """The object of an entry, from its columns by name; ``hash`` is there if it is among them."""
    tree = {name: fields[name] for name in FIELDS}
    tree["at"] = moment(fields["at"])
    tree["client_ip"] = address(fields["client_ip"])
    if "hash" in fields:
        tree["hash"] = fields["hash"]
    return tree


def hash_of(document: dict[str, Any]) -> str:
    """64 hex digits. Raises ValueError, OverflowError or TypeError for what no entry of ours holds."""
    return hashlib.sha256(canonical({name: document[name] for name in document if name != "hash"})).hexdigest()


def line_of(document: dict[str, Any]) -> bytes:
    """The entry as the file and the channel have it, without the end of the line."""
    return json.dumps(document, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()


def head_line(head: Link, at: datetime) -> bytes:
    """How far the chain was at a time, as the file has it, without the end of the line."""
    return json.dumps({"head": {**head._asdict(), "at": moment(at)}}).encode()


def moment(at: datetime) -> str:
    """UTC with six decimals: ``2026-11-20T14:02:10.120000Z``."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def address(text: str | None) -> str | None:
    """One spelling for each address, whatever a database makes of it. What is none stays as it is."""
    if text is None:
        return None
    try:
        found = ip_address(text)
    except ValueError:
        return text
    if isinstance(found, IPv6Address) and found.ipv4_mapped is not None:
        found = found.ipv4_mapped
    return str(found)


# -- what can be kept ------------------------------------------------------------------------------------
def storable(value: Any) -> Any:
    """``value`` as every database gives it back: no NUL, no half of a character, no number that JSON lacks or rounds;
    what is none of JSON's types as text."""
    match value:
        case str():
            return _SURROGATE.sub("\ufffd", value.replace("\x00", "\ufffd"))
        case None | bool():
            return value
        case int():
            return value if abs(value) <= MAX_EXACT else str(value)
        case float():
            return value if value == value and abs(value) <= MAX_EXACT else str(value)
        case dict():
            return {storable(str(name)): storable(inner) for name, inner in value.items()}
        case list() | tuple() | set() | frozenset():
            return [storable(inner) for inner in value]
        case _:
            return storable(str(value))


# -- RFC 8785 --------------------------------------------------------------------------------------------
def canonical(value: Any) -> bytes:
    """The one way to write it: no spaces, members sorted by UTF-16 units, numbers as JavaScript does."""
    text = json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"), allow_nan=False)
    # Nearly every entry is written so already, ten times as fast.
    if _ODD_NUMBER.search(text) or (not text.isascii() and max(text) > "\uffff"):
        text = _write(value)
    return text.encode()


def _write(value: Any) -> str:
    match value:
        case dict():
            members = sorted(value.items(), key=lambda member: member[0].encode("utf-16-be"))
            return "{" + ",".join(f"{_write(name)}:{_write(inner)}" for name, inner in members) + "}"
        case list() | tuple():
            return "[" + ",".join(map(_write, value)) + "]"
        case bool() | None | str():
            return json.dumps(value, ensure_ascii=False)
        case int() | float():
            return _number(float(value))
        case _:
            raise TypeError(f"{type(value).__name__} is not of JSON")


def _number(value: float) -> str:
    """As ECMAScript writes it (Number::toString)."""
    if value == 0:
        return "0"
    sign, places, exponent = Decimal(repr(value)).normalize().as_tuple()
    digits = "".join(map(str, places))
    point = len(digits) + int(exponent)  # of 0.digits × 10**point
    if 0 < point <= 21:
        text = digits.ljust(point, "0") if point >= len(digits) else f"{digits[:point]}.{digits[point:]}"
    elif -6 < point <= 0:
        text = f"0.{'0' * -point}{digits}"
    else:
        head = digits if len(digits) == 1 else f"{digits[0]}.{digits[1:]}"
        text = f"{head}e{'+' if point > 0 else '-'}{abs(point - 1)}"
    return f"-{text}" if sign else text
