"""A log line from what was logged: JSON that is always valid, or text for people that cannot pretend to be two lines.

Whatever is logged, it becomes plain values first, is redacted, and is cut to what a line may hold. Control characters,
terminals' escapes among them, never reach a line as such. Pure; used by both planes.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, Final

from routing_project import redaction

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, MutableMapping

    Render = Callable[[Mapping[str, Any]], str]

#: Bytes of a line with its end: Docker's and containerd's log drivers cut what is longer.
MAX_LINE: Final = 16_000
#: Characters that are looked at of one text. Beyond it nothing is kept, so that no half of a secret is either.
_LOOKED_AT: Final = 32_000
#: What a text and a collection are cut to until the line fits.
_SIZES: Final = ((8000, 100), (2000, 30), (500, 10), (100, 4))
_MAX_ITEMS: Final = 1000
_MAX_DEPTH: Final = 6
#: What a line keeps when it would be too long with anything else.
_CORE: Final = ("timestamp", "level", "logger", "process", "request_id", "revision", "event")
#: Ours, and no secrets: not looked at for the sake of speed.
_TRUSTED: Final = frozenset({"timestamp", "level", "logger", "process", "revision"})
#: Control characters, line separators of Unicode, and what turns the direction of text around.
_CONTROL: Final = re.compile("[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]")
_BARE: Final = re.compile(r"[^\s\"'=\\]+")


def line(event: MutableMapping[str, Any], render: Render) -> str:
    """The line, without its end. Never raises for anything in ``event``."""
    tree = _redacted(event)
    text = render(tree)
    if len(text.encode()) < MAX_LINE:
        return text
    for characters, items in _SIZES:
        text = render({**_cut(tree, characters, items), "shortened": True})
        if len(text.encode()) < MAX_LINE:
            return text
    return render({**{name: _cut(tree[name], *_SIZES[-1]) for name in _CORE if name in tree}, "shortened": True})


# -- plain values ----------------------------------------------------------------------------------------
def _redacted(event: Mapping[str, Any]) -> dict[str, Any]:
    """Values that JSON knows. What looks for secrets is asked once for all of them: there hardly ever are any."""
    texts: list[str] = []
    tree: dict[str, Any] = {}
    telling = False
    for key, value in event.items():
        name = _text(key)
        if name in _TRUSTED and isinstance(value, (str, int)):
            tree[name] = _sound(value) if isinstance(value, str) else value
        else:
            tree[name] = _plain(value, texts, 0)
            telling = telling or redaction.is_secret_name(name)
    if telling or redaction.holds_secret("\0".join(texts).encode("utf-8", "replace")):
        return {name: value if name in _TRUSTED else redaction.named(name, value) for name, value in tree.items()}
    return tree


def _plain(value: Any, texts: list[str], depth: int) -> Any:
    kind = type(value)
    if value is None or kind is bool:
        return value
    if isinstance(value, int):
        return int(value) if abs(value) < 2**63 else str(value)
    if isinstance(value, float):
        return float(value) if value - value == 0 else str(value)  # NaN and infinities are no JSON
    if isinstance(value, dict) or kind in (list, tuple, set, frozenset):
        if depth >= _MAX_DEPTH:
            return "…"
        if isinstance(value, dict):
            return _plain_dict(value, texts, depth)
        items = value if kind in (list, tuple) else sorted(value, key=_text)
        found = [_plain(inner, texts, depth + 1) for inner in _first(items)]
        return redaction.redact(found) if _is_header(found) else found
    text = _text(value)
    texts.append(text)
    return text


def _plain_dict(value: Mapping[Any, Any], texts: list[str], depth: int) -> dict[str, Any]:
    found = {}
    for key, inner in _first(value.items()):
        name = _text(key)
        texts.append(name)
        plain = _plain(inner, texts, depth + 1)
        found[name] = redaction.named(name, plain) if redaction.is_secret_name(name) else plain
    return found


def _is_header(found: list[Any]) -> bool:
    return len(found) == 2 and isinstance(found[0], str) and redaction.is_secret_name(found[0])


def _first(items: Iterable[Any]) -> Iterable[Any]:
    return (item for item, _ in zip(items, range(_MAX_ITEMS), strict=False))


def _text(value: Any) -> str:
    if isinstance(value, str):
        text = str.__str__(value)
    elif isinstance(value, (bytes, bytearray)):
        text = bytes(value[:_LOOKED_AT]).decode("utf-8", "replace")
    else:
        try:
            text = str(value)
        except Exception as error:  # whatever is logged must not be what fails
            text = f"<{type(value).__name__} that cannot be shown: {type(error).__name__}>"
    if len(text) > _LOOKED_AT:
        text = _shortened(text, _LOOKED_AT)
    return _sound(text)


def _sound(text: str) -> str:
    """Without lone surrogates, which neither JSON nor UTF-8 can carry."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


# -- not too long ----------------------------------------------------------------------------------------
def _cut(value: Any, characters: int, items: int) -> Any:
    if isinstance(value, str):
        return _shortened(value, characters)
    if isinstance(value, dict):
        return {
            _shortened(name, 100): _cut(inner, characters, items)
            for name, inner, _ in zip(value.keys(), value.values(), range(items), strict=False)
        }
    if isinstance(value, list):
        return [_cut(inner, characters, items) for inner in value[:items]]
    return value


def _shortened(text: str, characters: int) -> str:
    """Its beginning and, mostly, its end: of a traceback that is what went wrong."""
    if len(text) <= characters:
        return text
    head = characters // 4
    tail = characters - head
    return f"{text[:head]}… [{len(text) - characters} characters left out] …{text[-tail:]}"


# -- as JSON -----------------------------------------------------------------------------------------------
def as_json(event: Mapping[str, Any]) -> str:
    """ASCII, so that neither a terminal nor the wrong character set can make anything else of it."""
    return json.dumps(event, sort_keys=True, allow_nan=False)


# -- for people ------------------------------------------------------------------------------------------------
def for_people(event: Mapping[str, Any]) -> str:
    """``time [level] event name=value …``; a traceback follows on lines that begin with a bar."""
    fields = dict(event)
    head = f"{fields.pop('timestamp', '')} [{fields.pop('level', '')}]"
    words = escaped(str(fields.pop("event", "")))
    traces = [str(fields.pop(name)) for name in ("exception", "stack") if name in fields]
    named = [f"{escaped(name)}={_value(value)}" for name, value in sorted(fields.items())]
    text = " ".join((head, words, *named))
    for trace in traces:
        text += "".join(f"\n    | {escaped(part)}" for part in trace.splitlines())
    return text


def _value(value: Any) -> str:
    if isinstance(value, str):
        return value if _BARE.fullmatch(value) and not _CONTROL.search(value) else _quoted(value)
    if type(value) in (int, float):
        return str(value)
    return escaped(json.dumps(value, ensure_ascii=False))


def _quoted(value: str) -> str:
    return escaped(json.dumps(value, ensure_ascii=False))


def escaped(text: str) -> str:
    """One line, whatever is in it, and nothing that a terminal obeys."""
    return _CONTROL.sub(_escape, text)


def _escape(found: re.Match[str]) -> str:
    code = ord(found[0])
    return {10: "\\n", 13: "\\r", 9: "\\t"}.get(code) or (f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}")
