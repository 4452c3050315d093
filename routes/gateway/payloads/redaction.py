"""Takes secrets out of text that is about to be kept: what stands under a telling name, and what has a known shape.

Works on bytes, by one expression without backtracking (RE2), so that its time is linear in the text whatever the text
is. A secret that a stream brought in many events is found where they are put together again. JSON that is there to its
end is also read as such, when something under a telling name is more than one value. Pure: no I/O.
"""

from __future__ import annotations

import re
from bisect import bisect, bisect_left
from itertools import accumulate
from typing import TYPE_CHECKING, Any, Final

import orjson
import re2  # type: ignore[import-untyped]

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

REDACTED: Final = "[redacted]"
_REDACTED: Final = REDACTED.encode()

#: What a name ends in whose value is secret: ``x-api-key``, ``client_secret``, ``accessToken``; not ``max_tokens``.
_WORDS: Final = (
    rb"(?i:api[ _-]?keys?|pass(?:word|wd|phrase|code)s?|secrets?|token|authorization|credentials?|cookies?"
    rb"|(?:private|secret|access|signing|encryption|account|master)[ _-]?keys?)"
)
_TELLING: Final = rb"[A-Za-z0-9_. -]*" + _WORDS
#: The inside of a JSON string, and of one inside a string of JSON.
_STRING: Final = rb'(?:[^"\\]|\\.)*'
_INNER: Final = rb'(?:[^"\\]|\\[^"\\]|\\\\(?:\\["\\]|[^"\\]))*'
#: One value of a setting, a header or a form, up to what ends it.
_WORD: Final = rb"""[^\s"'\\,;&<>(){}\[\]]{4,}"""

_NUMBER: Final = rb"-?[0-9][0-9.eE+-]*"
_TREE: Final = rb"[\[{][^\]}]*[\]}]?"
_PEM: Final = rb"PRIVATE KEY(?: BLOCK)?-----"
_ARMOUR: Final = rb"(?:[A-Za-z0-9+/=\s]|\\[nr])*"

#: Where a word may begin: also behind an underscore, a percent-encoded character, and what JSON makes of a control
#: character. These end in a letter, a digit or ``_``: to ``\b`` all is one word.
_EDGE: Final = rb"(?:\b|_|%(?:25)*[0-9A-Fa-f]{2}|\\(?:[bfnrt]|u[0-9A-Fa-f]{4}))"

#: What keys of others are known by.
_SHAPES: Final = b"|".join(
    (
        rb"sk-[A-Za-z0-9_-]{12,}",  # OpenAI, Anthropic, OpenRouter and many more
        rb"[rsp]k_(?:live|test)_[A-Za-z0-9]{8,}",
        rb"AIza[A-Za-z0-9_-]{20,}",
        rb"ya29\.[A-Za-z0-9_-]{16,}",
        rb"GOCSPX-[A-Za-z0-9_-]{16,}",
        rb"(?:AKIA|ASIA)[A-Z0-9]{16}",
        rb"gh[pousr]_[A-Za-z0-9]{16,}",
        rb"github_pat_[A-Za-z0-9_]{16,}",
        rb"glpat-[A-Za-z0-9_-]{16,}",
        rb"xox[abeprs]-[A-Za-z0-9-]{10,}",
        rb"xapp-[A-Za-z0-9-]{10,}",
        rb"(?:hf|gsk|r8|npm|csk|fw|tgp|sntrys|shpat|dop_v1|vcp|lin_api)_[A-Za-z0-9]{20,}",
        rb"(?:xai|pplx|nvapi|pypi|voyage|pa|jina)-[A-Za-z0-9_-]{20,}",
        rb"SG\.[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{16,}",
        rb"eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}(?:\.[A-Za-z0-9_-]*)*",
    )
)

#: What is secret is the group that took part, or all of it; ``keep`` is no secret. A cut text may end inside any.
_EXPRESSION: Final = b"|".join(
    (
        # Log probabilities call a piece of the answer a token.
        rb'(?P<keep>"token"\s*:\s*"' + _STRING + rb'"\s*,\s*"logprob")',
        rb'"' + _TELLING + rb'"\s*:\s*"(' + _STRING + rb")",
        rb'"' + _TELLING + rb'"\s*:\s*(?P<bare>' + _NUMBER + rb"|" + _TREE + rb")",
        rb'\\+"' + _TELLING + rb'\\+"\s*:\s*\\+"(' + _INNER + rb")",
        rb'\\+"' + _TELLING + rb'\\+"\s*:\s*(?P<inner>' + _NUMBER + rb"|" + _TREE + rb")",
        rb"-----BEGIN [A-Z ]*" + _PEM + _ARMOUR + rb"(?:-----END [A-Z ]*" + _PEM + rb")?",
        rb"(?:[A-Za-z0-9+/=]{16,}(?:\\[nr]|\s)+)+-----END [A-Z ]*" + _PEM,
        rb"sbx_[A-Za-z0-9_-]{4,}",  # our access keys, whatever stands before them
        _EDGE + rb"(" + _SHAPES + rb")",
        _EDGE + rb"(?i:bearer)\s+([A-Za-z0-9._~+/=-]{12,})",
        _EDGE + rb"(?i:(?:proxy-)?authorization)\s*[:=]\s*((?:[A-Za-z0-9-]+\s+)?" + _WORD + rb")",
        _EDGE + rb"(?i:(?:set-)?cookie)\s*:\s*([^\"\\\r\n]{4,})",
        rb"\b[A-Za-z0-9_]*" + _WORDS + rb"\b[\"']?\s*[:=]\s*[\"']?(" + _WORD + rb")",
        rb"://([^\s/:@\"'\\]*:[^\s/@\"'\\]+)@",
        rb"[?&](?i:key|sig|signature|code)=(" + _WORD + rb")",
    )
)


def _compiled(expression: bytes) -> Any:
    options = re2.Options()
    options.max_mem = 32 << 20  # room for its states: it is one automaton for all of the above
    return re2.compile(expression, options)


_SECRETS: Final = _compiled(_EXPRESSION)
_KEEP: Final = _SECRETS.groupindex[b"keep"]
#: What stands for a value that had no quotes.
_QUOTED: Final = {_SECRETS.groupindex[b"bare"]: b'"[redacted]"', _SECRETS.groupindex[b"inner"]: b'\\"[redacted]\\"'}
#: Only a reader of JSON can tell where this ends.
_NAMED_TREE: Final = _compiled(rb'\\*"' + _TELLING + rb'\\*"\s*:\s*[\[{]')
_NAME: Final = _compiled(_TELLING)
_NAMED: Final = _compiled(rb'"' + _TELLING + rb'\\*"\s*:\s*\\*$')
#: The description of a field, in the schema of a tool, is not its value.
_SCHEMA_WORDS: Final = ("type", "description", "anyOf", "$ref")
_SCHEMA: Final = re.compile(rb'"(?:type|description|anyOf|\$ref)\\*"')

#: Members of events that bring a text piece by piece, and the number that tells one of several such texts from another.
_PARTS: Final = tuple(
    f'"{name}"'.encode()
    for name in (
        *("content", "text", "delta", "arguments", "partial_json", "thinking", "reasoning", "reasoning_content"),
        *("refusal", "transcript", "response", "completion", "generated_text", "output", "message"),
    )
)
_INDEX: Final = b'index":'
_BACKSLASH: Final = ord("\\")
_DIGITS: Final = re.compile(rb"\s*(\d*)")

#: What remains of a key whose beginning is cut off.
_TOKEN: Final = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/_=-."

#: Values that are none.
_NOTHING: Final = frozenset(
    {b"", b"[]", b"{}", b"null", b"true", b"false", b"None", b"True", b"False", b"undefined", b"[redacted]"}
)

Span = tuple[int, int]
#: Where something is, and what comes in its place.
Found = tuple[int, int, bytes]


def redact(
    text: bytes, known: Sequence[bytes] = (), *, events: bool = False, whole: bool = False, torn: bool = False
) -> tuple[bytes, int]:
    """``text`` without secrets, and how many there were. ``known``: values to take out wherever they stand; ``events``:
    it is a stream, in which one secret may be told in several; ``whole``: nothing is cut off, so that it may be read as
    JSON; ``torn``: a stream that begins anywhere, maybe inside a secret that is longer than any margin."""
    count = 0
    if events:
        text, count = _over_events(text, known, torn)
    for value in known:
        if times := text.count(value):
            count += times
            text = text.replace(value, _REDACTED)
    if whole and not events and _NAMED_TREE.search(text) is not None:
        try:
            tree = orjson.loads(text)
        except orjson.JSONDecodeError:
            pass
        else:
            if emptied := _empty(tree):
                count += emptied
                text = orjson.dumps(tree)
    found, text = _replaced(text, _found(text))
    return text, count + found


def is_named(text: bytes) -> bool:
    """Whether a string that begins behind ``text`` is the value of something with a telling name."""
    return _NAMED.search(text) is not None


# -- by expression -----------------------------------------------------------------------------------


def _found(text: bytes) -> Iterable[Found]:
    """Each secret, in order."""
    for match in _SECRETS.finditer(text):
        if match.start(_KEEP) >= 0:
            continue
        group = match.lastindex or 0
        start, end = match.span(group)
        value = text[start:end]
        if value in _NOTHING or (value[0] in b"[{" and _SCHEMA.search(value) is not None):
            continue
        yield start, end, _QUOTED.get(group, _REDACTED)


def _replaced(text: bytes, found: Iterable[Found]) -> tuple[int, bytes]:
    parts: list[bytes] = []
    last = count = 0
    for start, end, instead in found:
        parts += (text[last:start], instead)
        last = end
        count += 1
    return count, b"".join((*parts, text[last:])) if parts else text


# -- over events ---------------------------------------------------------------------------------------


def _over_events(text: bytes, known: Sequence[bytes], torn: bool) -> tuple[bytes, int]:
    """Take out what is told in several events; the rest is found as in any text."""
    cuts: list[Found] = []
    count = 0
    for spans in _told_in_parts(text):
        if len(spans) > 1:
            joined = b"".join([text[start:end] for start, end in spans])
            told = [*_found(joined), *_all_of(joined, known)]
            if torn:
                told.append((0, len(joined) - len(joined.lstrip(_TOKEN)), _REDACTED))
            count += _spread(told, spans, cuts)
    return (_cut_out(text, cuts) if cuts else text), count


def _told_in_parts(text: bytes) -> Iterable[list[Span]]:
    """Where the pieces of each text are that events bring. Looks for bytes only: this is the dear part of keeping a
    stream, and reading its JSON would be dearer."""
    numbers = _numbers_in(text)
    for name in _PARTS:
        at = text.find(name)
        if at < 0:
            continue
        size = len(name)
        found: dict[bytes, list[Span]] = {}
        while at >= 0:
            start = at + size
            opening = text[start : start + 3]
            if opening[:2] == b':"' or opening == b': "':
                start += 2 if opening[:2] == b':"' else 3
                end = text.find(b'"', start)
                if text[end - 1] == _BACKSLASH or end < 0:
                    end = end_of_string(text, start)
                number = numbers[bisect(numbers, (start,)) - 1][1] if numbers else b""
                found.setdefault(number, []).append((start, end))
                start = end
            at = text.find(name, start)
        yield from found.values()


def _numbers_in(text: bytes) -> list[tuple[int, bytes]]:
    """(place, number) of all indexes, in order; none where there is one text only."""
    if text.count(_INDEX) == text.count(_INDEX + b"0"):
        return []
    numbers = []
    at = text.find(_INDEX)
    while at >= 0:
        digits = _DIGITS.match(text, at + len(_INDEX))
        assert digits is not None
        numbers.append((at, digits[1]))
        at = text.find(_INDEX, digits.end())
    return numbers


def end_of_string(text: bytes, start: int) -> int:
    """Its closing quote, which no backslash makes a part of it; the end of a text that is cut before that."""
    end = text.find(b'"', start)
    while end >= 0:
        before = end
        while before > start and text[before - 1] == _BACKSLASH:
            before -= 1
        if (end - before) % 2 == 0:
            return end
        end = text.find(b'"', end + 1)
    return len(text)


def _all_of(text: bytes, known: Sequence[bytes]) -> Iterable[Found]:
    for value in known:
        start = text.find(value)
        while start >= 0:
            yield start, start + len(value), _REDACTED
            start = text.find(value, start + len(value))


def _spread(found: Iterable[Found], spans: Sequence[Span], cuts: list[Found]) -> int:
    """Find the pieces that each secret of the joined text lies in: their places in the whole text go into ``cuts``.
    Secrets within one piece are left to others. How many there were."""
    offsets = [0, *accumulate(stop - begin for begin, stop in spans)]
    count = 0
    for start, end, instead in found:
        first, last = bisect(offsets, start) - 1, bisect_left(offsets, end) - 1
        if first >= last:
            continue
        count += 1
        for place in range(first, last + 1):
            begin, stop = spans[place]
            offset = offsets[place]
            cuts.append((max(begin, begin + start - offset), min(stop, begin + end - offset), instead))
            instead = b""
    return count


def _cut_out(text: bytes, cuts: list[Found]) -> bytes:
    parts: list[bytes] = []
    last = 0
    for start, end, instead in sorted(cuts):
        if start >= last:
            parts += (text[last:start], instead)
        last = max(last, end)  # two secrets may overlap
    return b"".join((*parts, text[last:]))


# -- in JSON -------------------------------------------------------------------------------------------


def _empty(tree: Any) -> int:
    """Replace what stands under a telling name, whatever it is, in place; how many. Also in strings that are JSON
    themselves, as arguments of tools are."""
    count = 0
    open_: list[Any] = [tree]
    while open_:
        node = open_.pop()
        members = node.items() if type(node) is dict else enumerate(node) if type(node) is list else ()
        for key, value in list(members):
            if type(key) is str and _is_secret(key, value):
                node[key] = REDACTED
                count += 1
            elif type(value) is str and value[:1] in ("{", "["):
                try:
                    inner = orjson.loads(value)
                except orjson.JSONDecodeError:
                    continue
                if emptied := _empty(inner):
                    node[key] = orjson.dumps(inner).decode()
                    count += emptied
            else:
                open_.append(value)
    return count


def _is_secret(name: str, value: Any) -> bool:
    """Not what is nothing, and not the description of a field in a tool's schema."""
    if value is None or type(value) is bool or value in ("", [], {}):
        return False
    if type(value) is dict and any(word in value for word in _SCHEMA_WORDS):
        return False
    return _NAME.fullmatch(name.encode("utf-8", "replace")) is not None
