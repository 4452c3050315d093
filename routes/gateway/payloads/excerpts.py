"""Cuts bodies to what is kept of them: text without what it carries in base64, and with a gap if it is long; of
anything else what it is.

Costs the same for a body of any size, but for finding the end of what is left out. What is a secret is ``redaction``'s
to say; that none is halved is seen to here: at each cut a margin is looked through for secrets and then thrown away.
Pure: no I/O.
"""

from __future__ import annotations

from codecs import getincrementaldecoder
from typing import TYPE_CHECKING, Final, NamedTuple

import re2  # type: ignore[import-untyped]

from routes.gateway.payloads.redaction import end_of_string, is_named, redact
from routes.gateway.wire import form

if TYPE_CHECKING:
    from collections.abc import Sequence

#: Bytes that no character of UTF-8 begins with.
_CONTINUED: Final = bytes(range(0x80, 0xC0))

#: What is kept of a text: so much of its beginning and, where that is not all, so much of its end.
HEAD: Final = 16 * 1024
TAIL: Final = 4 * 1024
#: Beyond it for finding secrets: longer than any key; in events, which bring a few letters each, many times as long.
MARGIN: Final = 1024
EVENT_MARGIN: Final = 8 * 1024
#: How often one body is looked into again behind something that was left out.
MAX_WINDOWS: Final = 16
#: How far it is looked back from a cut for the string that it would halve: quotes inside of it, and bytes to the next.
MAX_QUOTES: Final = 64
LOOK_BACK: Final = 64 * 1024
#: Parts of a form that are told of, and the longest field that is shown.
MAX_PARTS: Final = 50
MAX_FIELD: Final = 1024

_RUN: Final = rb"[A-Za-z0-9+/_=-]|\\/"
#: A data: URL, or base64 as long as no word is. Without groups: finding those takes RE2 many times as long.
_BLOB: Final = re2.compile(
    rb"\b(?i:data):[a-z0-9.+-]+/[a-z0-9.+-]+(?:;[A-Za-z0-9=._+-]+)*,(?:[^\s\"'<>()\\]|\\/)*|(?:" + _RUN + rb"){256,}"
)
_ALPHABET: Final = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/_=-"
_TEXT_TYPES: Final = (b"json", b"text/", b"xml", b"javascript", b"yaml", b"x-www-form-urlencoded")


class Sample(NamedTuple):
    """A text as it is kept. ``tail`` is empty unless something between the two is left out."""

    text: str
    tail: str = ""
    cut: bool = False
    redactions: int = 0


def is_text(content_type: bytes, coding: bytes, beginning: bytes) -> bool:
    """Whether a body is one that people read. Without a type its beginning tells."""
    if coding not in (b"", b"identity") or b"\0" in beginning:
        return False
    kind = content_type.partition(b";")[0].strip().lower()
    if kind and kind != b"application/octet-stream":
        return any(word in kind for word in _TEXT_TYPES)
    try:
        beginning.decode()
    except UnicodeDecodeError as error:
        return error.start > len(beginning) - 4  # cut inside a character
    return True


def is_events(content_type: bytes) -> bool:
    kind = content_type.lower()
    return b"event-stream" in kind or b"ndjson" in kind or b"jsonl" in kind or b"json-lines" in kind


def of_body(body: bytes, content_type: bytes, known: Sequence[bytes]) -> Sample:
    """A text that is here as a whole."""
    events = is_events(content_type)
    margin = EVENT_MARGIN if events else MARGIN
    text, reached = _abridged(body, HEAD + TAIL)
    if reached == len(body):
        return _redacted(text, b"", events, known, 0)
    start = _outside_secrets(body, max(reached, len(body) - TAIL - margin))
    return _redacted(text[: HEAD + margin], body[start:], events, known, margin)


def of_ends(head: bytes, tail: bytes, content_type: bytes, known: Sequence[bytes]) -> Sample:
    """A text of which only ``HEAD + EVENT_MARGIN`` and ``TAIL + EVENT_MARGIN`` bytes were kept while it ran."""
    events = is_events(content_type)
    margin = EVENT_MARGIN if events else MARGIN
    text, _ = _abridged(head[: HEAD + margin], HEAD + margin)
    return _redacted(text, tail[-TAIL - margin :], events, known, margin)


def described(size: int | None, content_type: bytes, coding: bytes = b"") -> Sample:
    """What stands for a body that is no text."""
    kind = content_type.partition(b";")[0].strip().decode("ascii", "replace")[:100] or "of no declared type"
    packed = f", packed as {coding.decode('ascii', 'replace')[:20]}" if coding not in (b"", b"identity") else ""
    amount = "" if size is None else f"{size:,} bytes "
    return Sample(f"[{amount}{kind}{packed}, not kept]")


def of_form(body: bytes, content_type: bytes, known: Sequence[bytes]) -> Sample:
    """The short fields of an upload, a line each, and of its files what they are."""
    try:
        delimiter = b"\r\n--" + form.boundary_of(content_type)
    except form.FormError:
        return described(len(body), content_type)
    lines: list[bytes] = []
    at = 0 if body.startswith(delimiter[2:]) else body.find(delimiter) + 2
    while len(lines) < MAX_PARTS:
        end_of_head = body.find(b"\r\n\r\n", at, at + form.MAX_PART_HEAD)
        end = body.find(delimiter, max(at, end_of_head + 4))
        if at == 1 or end_of_head < 0 or end < 0:
            break
        lines.append(_part(body[at:end_of_head].split(b"\r\n")[1:], body, end_of_head + 4, end))
        at = end + 2
    else:
        lines.append(b"[more parts]")
    if not lines:
        return described(len(body), content_type)
    return of_body(b"\n".join(lines), b"", known)


def _part(head: list[bytes], body: bytes, start: int, end: int) -> bytes:
    fields = {name.strip().lower(): value.strip() for name, _, value in (line.partition(b":") for line in head)}
    disposition = fields.get(b"content-disposition", b"").partition(b";")[2].strip()[:300]
    kind = fields.get(b"content-type", b"")[:100]
    value = body[start:end]
    if b"filename" not in disposition and len(value) <= MAX_FIELD and is_text(kind, b"", value):
        name = disposition.removeprefix(b"name=").strip(b'"')
        return name + b": " + value
    return b"%b: [%d bytes %b]" % (disposition, end - start, kind or b"of no declared type")


# -- cutting -----------------------------------------------------------------------------------------------


def _abridged(body: bytes, room: int) -> tuple[bytes, int]:
    """(beginning of ``body`` with notes in place of what it carries, at most about ``room`` bytes; how far it got)"""
    parts: list[bytes] = []
    reached = 0
    for _ in range(MAX_WINDOWS):
        window = body[reached : reached + room]
        last = 0
        for match in _BLOB.finditer(window):
            start, end = match.span()
            parts.append(window[last:start])
            room -= start - last
            last = end
            missing = _rest_of_blob(body, reached + end) if end == len(window) else 0
            stop = reached + end + missing
            if body.find(b"\\", stop - missing, stop) >= 0:  # which is quicker than to count
                missing -= body.count(b"\\", stop - missing, stop)
            parts.append(_note(match.group(), missing, body[stop - 2 : stop] if stop < len(body) else None))
            room -= len(parts[-1])
            last = stop - reached
        parts.append(window[last:])
        room -= max(0, len(window) - last)
        reached += max(last, len(window))
        if room <= 0 or reached >= len(body):
            break
    return b"".join(parts), min(reached, len(body))


def _rest_of_blob(body: bytes, start: int) -> int:
    """How much longer it is than what was looked at, where it ends with the string that holds it; else 0."""
    end = body.find(b'"', start)
    if end < 0:
        return 0
    last = body[max(start, end - 64) : end].rstrip(b"\\")
    return 0 if last.translate(None, _ALPHABET) else end - start


def _outside_secrets(body: bytes, start: int) -> int:
    """``start``, or what is behind the string it lies in if that stands under a telling name."""
    opening = start
    for _ in range(MAX_QUOTES):
        opening = body.rfind(b'"', max(0, opening - LOOK_BACK), opening)
        if opening < 0:
            return start
        if body[opening - 1 : opening] != b"\\":
            break
    if not is_named(body[max(0, opening - 128) : opening]):
        return start
    closing = end_of_string(body, start)
    return max(start, closing)


def _note(found: bytes, missing: int, ending: bytes | None) -> bytes:
    """What stands for something that is ``missing`` bytes longer and ends so; None = nobody knows where it ends."""
    kind, size, encoded = b"base64", len(found) - found.count(b"\\") + missing, True
    if found[:5].lower() == b"data:":
        head = found[5 : found.index(b",")]
        kind = head.partition(b";")[0]
        size -= len(head) + 6
        encoded = head.lower().endswith(b";base64")
    if encoded:
        size = size * 3 // 4 - (ending or b"").count(b"=")
    return b"[%b%b]" % (kind, b"" if ending is None else b", %d bytes" % size)


def _redacted(text: bytes, tail: bytes, events: bool, known: Sequence[bytes], margin: int) -> Sample:
    """Both ends without secrets, and without the margins if it is cut."""
    if not margin:
        text, count = redact(text, known, events=events, whole=True)
        return Sample(text.decode("utf-8", "replace"), redactions=count)
    text, count = redact(text, known, events=events)
    tail = _BLOB.sub(lambda match: _note(match.group(), 0, match.group()[-2:]), tail)
    tail, more = redact(tail, known, events=events, torn=events)
    text = text[: min(HEAD, max(0, len(text) - margin))]
    tail = tail[max(margin, len(tail) - TAIL) :].lstrip(_CONTINUED)
    whole_characters = getincrementaldecoder("utf-8")("replace").decode
    return Sample(whole_characters(text), tail.decode("utf-8", "replace"), True, count + more)
