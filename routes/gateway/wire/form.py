"""Uploads: where the fields of a ``multipart/form-data`` body are, and changing one of them in place. Pure.

Only the few short fields that routing reads are looked at; files stay where they are, byte for byte. Strict about what
decides whose request it is and where it goes (one boundary, one ``model``), and silent about everything else.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

#: Fields that routing reads are short; a longer one is a file, or wrong.
MAX_FIELD: Final = 1000
MAX_PARTS: Final = 1000
MAX_PART_HEAD: Final = 8 * 1024

_BOUNDARY: Final = re.compile(rb"""boundary=(?:"([^"\r\n]{1,70})"|([^\s;,"]{1,70}))""", re.IGNORECASE)
_DISPOSITION: Final = re.compile(rb"^content-disposition:[ \t]*form-data[ \t]*(;.*)$", re.IGNORECASE | re.MULTILINE)
_NAME: Final = re.compile(rb""";[ \t]*name=(?:"((?:[^"\\\r\n]|\\.)*)"|([^\s;"]+))""", re.IGNORECASE)


class FormError(Exception):
    """Not a form that can be read; the message says why."""


class Form(NamedTuple):
    """``spans``: where the values of short fields are, by name."""

    boundary: bytes
    start: int  # of the first boundary line
    spans: dict[str, tuple[int, int]]
    files: int  # parts that are no short fields

    def text(self, body: bytes, name: str) -> str | None:
        """A short field's value; None when there is none. Raises FormError when it is not UTF-8."""
        span = self.spans.get(name)
        if span is None:
            return None
        try:
            return body[span[0] : span[1]].decode()
        except UnicodeDecodeError:
            raise FormError(f"{name}: is not UTF-8") from None

    def replaced(self, body: bytes, name: str, value: str) -> bytes:
        """``body`` with a field's value changed, or the field added in front of the others."""
        span = self.spans.get(name)
        if span is not None:
            return b"".join((body[: span[0]], value.encode(), body[span[1] :]))
        part = b'--%b\r\nContent-Disposition: form-data; name="%b"\r\n\r\n%b\r\n'
        return b"".join((body[: self.start], part % (self.boundary, name.encode(), value.encode()), body[self.start :]))


def boundary_of(content_type: bytes) -> bytes:
    """Raises FormError."""
    found = _BOUNDARY.findall(content_type)
    if len(found) != 1:
        raise FormError("the content type of a form must name one boundary")
    quoted, bare = found[0]
    return bytes(quoted or bare)


def read(body: bytes, content_type: bytes) -> Form:
    """Find the fields. Linear in the size of the body. Raises FormError."""
    boundary = boundary_of(content_type)
    line = b"--" + boundary
    start = 0 if body.startswith(line) else body.find(b"\r\n" + line) + 2
    if start == 1:
        raise FormError("the boundary that the content type names is not in the body")
    spans: dict[str, tuple[int, int]] = {}
    files = 0
    at = start + len(line)
    for _ in range(MAX_PARTS):
        if body.startswith(b"--", at):
            return Form(boundary, start, spans, files)
        head_end = body.find(b"\r\n\r\n", at, at + MAX_PART_HEAD)
        end = body.find(b"\r\n" + line, max(at, head_end + 4))
        if not body.startswith(b"\r\n", at) or head_end < 0 or end < 0:
            raise FormError("the form is cut, or a part has no head")
        head = body[at : head_end + 2]
        value = (head_end + 4, end)
        named = _name_of(head)
        if b"filename" in head.lower() or value[1] - value[0] > MAX_FIELD or named is None:
            files += 1
        elif named in spans and named in ("model", "stream"):
            raise FormError(f"{named}: is given twice")
        else:
            spans[named] = value
        at = end + 2 + len(line)
    raise FormError(f"the form has more than {MAX_PARTS} parts")


def _name_of(head: bytes) -> str | None:
    disposition = _DISPOSITION.search(head.replace(b"\r\n", b"\n"))
    if disposition is None:
        raise FormError("a part does not say which field it is")
    found = _NAME.search(disposition[1])
    if found is None:
        raise FormError("a part does not say which field it is")
    quoted, bare = found.groups()
    return (quoted if quoted is not None else bare).decode("utf-8", "replace")
