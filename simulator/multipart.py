"""Reads `multipart/form-data` (RFC 7578), strictly: what is not exactly a form is refused.

A form becomes a dictionary as a JSON body would: texts as strings, files as `Upload`, a repeated name as a list.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

_BOUNDARY = re.compile(rb"""multipart/form-data\s*;.*?boundary=(?:"([^"]{1,70})"|([^\s";,]{1,70}))\s*(?:;|$)""", re.I)
_PARAMETER = re.compile(rb""";\s*([a-z*]+)="((?:[^"\\]|\\.)*)"|;\s*([a-z*]+)=([^\s;"]+)""", re.I)


class MultipartError(ValueError):
    """A body that is no form; the message says where."""


class Upload(NamedTuple):
    """A part with a file name."""

    filename: str
    content_type: str
    data: bytes


def boundary(content_type: bytes | None) -> bytes | None:
    """The boundary of a form, or None when the content type is another."""
    found = _BOUNDARY.match(content_type or b"")
    return (found.group(1) or found.group(2)) if found else None


def read(body: bytes, mark: bytes) -> dict[str, Any]:
    """The fields of a form. Raises MultipartError."""
    line = b"--" + mark
    if body.startswith(line):
        body = b"\r\n" + body  # the first delimiter may come without a preamble
    _, *parts = body.split(b"\r\n" + line)
    if not parts or parts[-1].rstrip(b" \t\r\n") != b"--":
        raise MultipartError("the closing boundary is missing")
    fields: dict[str, Any] = {}
    for part in parts[:-1]:
        if not part.startswith(b"\r\n"):
            raise MultipartError("a boundary is followed by something else")
        name, value = _part(part)
        if name in fields:
            known = fields[name]
            fields[name] = [*known, value] if isinstance(known, list) else [known, value]
        else:
            fields[name] = value
    return fields


def _part(part: bytes) -> tuple[str, str | Upload]:
    head, blank, data = part.partition(b"\r\n\r\n")
    if not blank:
        raise MultipartError("a part has no blank line after its headers")
    headers = {}
    for row in head.split(b"\r\n")[1:]:
        name, colon, value = row.partition(b":")
        if not colon:
            raise MultipartError("a part has a header without a colon")
        headers[name.strip().lower()] = value.strip()
    disposition = headers.get(b"content-disposition", b"")
    if not disposition.lower().startswith(b"form-data"):
        raise MultipartError("a part is no form-data")
    try:
        texts = {
            (quoted or plain).lower(): (value or bare).decode()
            for quoted, value, plain, bare in _PARAMETER.findall(disposition)
        }
        if b"name" not in texts:
            raise MultipartError("a part has no name")
        if b"filename" not in texts:
            return texts[b"name"], data.decode()
    except UnicodeDecodeError:
        raise MultipartError("a text part is not UTF-8") from None
    content_type = headers.get(b"content-type", b"application/octet-stream").decode("latin-1")
    return texts[b"name"], Upload(texts[b"filename"], content_type, data)
