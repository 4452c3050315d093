"""Uploads: where the fields of a ``multipart/form-data`` body are, and changing one of them in place. Pure.

Only the few short fields that routing reads are looked at; files stay where they are, byte for byte. Readers of forms
differ in what they forgive, and a body that says one model to us and another to the upstream would go past whatever an
access key may not use. So this is strict about what decides that (every line that may be a boundary is one, a part has
one name, the fields we read come once and as plain text), and silent about everything else.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

#: Fields that routing reads are short; a longer one is a file, or wrong.
MAX_FIELD: Final = 1000
MAX_PARTS: Final = 1000
MAX_PART_HEAD: Final = 8 * 1024
#: Fields that routing reads.
_READ: Final = frozenset({"model", "stream"})

_PARAMETER: Final = rb"""[ \t]*;[ \t]*([^\s;="]+)[ \t]*=[ \t]*(?:"((?:[^"\\\r\n]|\\[^\r\n])*)"|([^\s;"]+))"""
_PARAMETERS: Final = re.compile(rb"(?:%b)*[ \t]*(?:;[ \t]*)?" % _PARAMETER)
_EACH: Final = re.compile(_PARAMETER)
_DISPOSITION: Final = re.compile(rb"form-data", re.IGNORECASE)
_QUOTED_PAIR: Final = re.compile(rb"\\(.)")
#: What may follow the two hyphens of the last boundary line.
_AFTER_LAST: Final = (b"\r\n", b" ", b"\t")
_PLAIN: Final = frozenset({b"7bit", b"8bit", b"binary"})


class FormError(Exception):
    """Not a form that can be read; the message says why."""


class Form(NamedTuple):
    """``spans``: where the values of the fields that routing reads are, by name."""

    boundary: bytes
    start: int  # of the first boundary line
    spans: dict[str, tuple[int, int]]

    def text(self, body: bytes, name: str) -> str | None:
        """A field's value; None when there is none. Raises FormError when it is not UTF-8."""
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
    _, semicolon, rest = content_type.partition(b";")
    given = _parameters(semicolon + rest)
    found = [] if given is None else [value for name, value in given if name == b"boundary"]
    if len(found) != 1 or not 1 <= len(found[0]) <= 70 or found[0] != found[0].rstrip():
        raise FormError("the content type of a form must name one boundary of 1 to 70 characters")
    return found[0]


def read(body: bytes, content_type: bytes) -> Form:
    """Find the fields. Linear in the size of the body. Raises FormError."""
    boundary = boundary_of(content_type)
    line = b"--" + boundary
    delimiter = b"\r\n" + line
    start = 0 if body.startswith(line) else body.find(delimiter) + 2
    if start == 1:
        raise FormError("the boundary that the content type names is not in the body")
    spans: dict[str, tuple[int, int]] = {}
    at = start + len(line)
    for number in range(MAX_PARTS + 1):
        if body.startswith(b"--", at):
            _require_sole_reading(body, line, number + (start > 0), at + 2)
            return Form(boundary, start, spans)
        head_end = body.find(b"\r\n\r\n", at, at + MAX_PART_HEAD)
        end = body.find(delimiter, max(at, head_end + 4))
        if not body.startswith(b"\r\n", at) or head_end < 0 or end < 0:
            raise FormError("the form is cut, or a part has no head")
        headers = _headers_of(body[at + 2 : head_end])
        name, plain = _name_of(headers)
        if name in _READ:
            if name in spans:
                raise FormError(f"{name}: is given twice")
            if not plain or end - head_end - 4 > MAX_FIELD:
                raise FormError(f"{name}: must be a short plain text")
            spans[name] = (head_end + 4, end)
        at = end + len(delimiter)
    raise FormError(f"the form has more than {MAX_PARTS} parts")


def _require_sole_reading(body: bytes, line: bytes, delimiters: int, behind: int) -> None:
    """Whether nobody can find other parts: some readers take a bare line feed, or a boundary line right behind the
    head of a part. ``delimiters``: the boundary lines found behind a line end. Raises FormError."""
    if body.count(b"\n" + line) != delimiters or b"\r" + line in body:
        raise FormError("there is more than one way to read its boundary lines")
    if behind < len(body) and not body.startswith(_AFTER_LAST, behind):
        raise FormError("the last boundary line does not end")


def _headers_of(head: bytes) -> dict[bytes, bytes]:
    """A part's headers by lower-case name. Raises FormError for any that is folded, broken or there twice."""
    headers: dict[bytes, bytes] = {}
    for field in head.split(b"\r\n"):
        name, colon, value = field.partition(b":")
        name = name.lower()
        if not colon or not name or name != name.strip() or name in headers or b"\r" in field or b"\n" in field:
            raise FormError("the head of a part is not sound")
        headers[name] = value.strip(b" \t")
    return headers


def _name_of(headers: dict[bytes, bytes]) -> tuple[str, bool]:
    """(which field a part is, whether it is text as it stands)"""
    disposition = headers.get(b"content-disposition", b"")
    kind = _DISPOSITION.match(disposition)
    given = _parameters(disposition[kind.end() :]) if kind is not None else None
    names = [value for name, value in given or () if name == b"name"]
    if given is None or len(names) != 1 or any(name.startswith(b"name*") for name, _ in given):
        raise FormError("a part does not say which field it is")
    coding = headers.get(b"content-transfer-encoding", b"8bit").lower()
    plain = coding in _PLAIN and not any(name in (b"filename", b"filename*") for name, _ in given)
    return names[0].decode("utf-8", "replace"), plain


def _parameters(text: bytes) -> list[tuple[bytes, bytes]] | None:
    """``; name=value; name="value"`` taken apart, names in lower case; None when it is not of that form."""
    if _PARAMETERS.fullmatch(text) is None:
        return None
    return [
        (name.lower(), bare if bare or not quoted else _QUOTED_PAIR.sub(rb"\1", quoted))
        for name, quoted, bare in _EACH.findall(text)
    ]
