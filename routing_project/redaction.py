"""What looks like a secret, in text and in trees of values, and what stands in its place.

For log lines and whatever else quotes text from outside. One expression without backtracking (RE2): lines hold what
clients and providers sent, so its time must be linear whatever that is. Values that this process knows to be secret
are found by themselves too, and in base64, percent-encoded or as hexadecimal digits. Pure; used by both planes.
"""

from __future__ import annotations

import base64
import re
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

import re2  # type: ignore[import-untyped]

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

REDACTED: Final = "[redacted]"
_REDACTED: Final = REDACTED.encode()

#: Names whose value is secret, whatever it looks like. ``input_tokens`` and ``token_count`` are none.
_FIELD: Final = re.compile(
    r"authorization|api[-_]?key|password|passwd|passphrase|secret|credential|cookie|signature|session_?key"
    r"|private[-_]?key|token$|^token",
    re.I,
)
_NAME: Final = (
    r"(?i:api[-_ ]?keys?|pass(?:word|wd|phrase)|secrets?(?:[-_ ]?(?:access[-_ ]?)?keys?)?|credentials?|token|cookies?"
    r"|(?:private|signing|encryption|account|master)[-_ ]?keys?|authorization|signature|sessionid)"
)
_SCHEME: Final = r"(?:(?i:bearer|basic|digest|token|negotiate)(?:\s|%20|\+)+)?"
#: One value of a setting, a parameter or a header, up to what ends it.
_WORD: Final = r"""[^\s"'\\,;&<>(){}\[\]#]+"""
_B64: Final = r"[A-Za-z0-9+/_-]"
#: One value in quotes, with spaces and with the other kind of quotes in it.
_QUOTED: Final = r"""(?:"((?:[^"\\]|\\.)+)|'((?:[^'\\]|\\.)+))"""
#: Where a word may begin: also behind an underscore, a percent-encoded character (encoded once more, too), and what
#: ``repr`` and JSON make of a control character. These end in a letter, a digit or ``_``: to ``\b`` all is one word.
_EDGE: Final = r"(?:\b|_|%(?:25)*[0-9A-Fa-f]{2}|\\(?:[abefnrtv]|x[0-9A-Fa-f]{2}|u[0-9A-Fa-f]{4}))"

#: What follows ``sk-`` in a key: eight letters or more with a digit or a capital among them, or twenty of any kind.
#: Names, such as that of a provider in Slovakia, are shorter. Without looking ahead: by where the first digit or
#: capital stands.
_SK: Final = "|".join(
    (
        *(f"[a-z_-]{{{n}}}[A-Z0-9][A-Za-z0-9_-]{{{7 - n},}}" for n in range(7)),
        "[a-z_-]{7,}[A-Z0-9][A-Za-z0-9_-]*",
        "[A-Za-z0-9_-]{20,}",
    )
)

#: Shapes that secrets are known by; those of OpenAI and Anthropic, and access keys of ours, in base64 too.
_KNOWN: Final = "|".join(
    (
        rf"sk(?:-|%2[Dd])(?:{_SK})",
        rf"c2J4X{_B64}{{16,}}={{0,2}}|c2st{_B64}{{16,}}={{0,2}}",
        r"[rsp]k_(?:live|test)_[A-Za-z0-9]{8,}",
        r"(?:AKIA|ASIA)[A-Z0-9]{16}\b",
        r"AIza[A-Za-z0-9_-]{20,}",
        r"ya29\.[A-Za-z0-9_-]{16,}",
        r"gh[pousr]_[A-Za-z0-9]{16,}",
        r"github_pat_[A-Za-z0-9_]{16,}",
        r"glpat-[A-Za-z0-9_-]{16,}",
        r"xox[abeprs]-[A-Za-z0-9-]{10,}",
        r"(?:hf|gsk|r8|npm|csk|fw|tgp)_[A-Za-z0-9]{20,}",
        r"(?:xai|pplx|nvapi|voyage|jina)-[A-Za-z0-9_-]{20,}",
        r"eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}(?:\.[A-Za-z0-9_-]*)*",
        r"sha256=[0-9A-Fa-f]{64}\b",
    )
)

#: What is secret is the group that took part, or all of it.
_SHAPES: Final = "|".join(
    (
        # By their shape. An access key of ours is one whatever stands before it.
        r"sbx(?:_|%5[Ff])[A-Za-z0-9_-]{8,}",
        r"(?:%73%62%78%5[Ff]|%73%6[Bb]%2[Dd])(?:%[0-9A-Fa-f]{2}){8,}",
        rf"{_EDGE}({_KNOWN})",
        r"hooks\.slack\.com/services/([^\s\"'<>]+)",
        r"(?:discord|discordapp)\.com/api/webhooks/([^\s\"'<>]+)",
        r"api\.telegram\.org/bot([^\s\"'<>/]+)",
        r"-----BEGIN [A-Z ]*PRIVATE KEY(?: BLOCK)?-----(?s:.)*?(?:-----END [A-Z ]*PRIVATE KEY(?: BLOCK)?-----|\z)",
        # By what stands before them.
        rf"{_EDGE}(?i:bearer)(?:\s|%20|\+)+([A-Za-z0-9._~+/=%-]{{8,}})",
        rf"{_EDGE}(?i:basic)(?:\s|%20)+([A-Za-z0-9+/_-]*(?:[0-9=+/]|[a-z][A-Z])[A-Za-z0-9+/=_-]*)",
        r"""://([^/\s"'<>?#]+)@""",
        rf"[?&](?i:key|sig|code|auth|pwd|access_key)=({_WORD})",
        r"(?i:authorization|(?:set-)?cookie)\s*:\s*([^\r\n]{3,})",
        r"(?i:api-key)\s*:\s*([^\r\n\"']{3,})",
        rf"""["'][A-Za-z0-9_. -]*{_NAME}\\*["']\s*[:,=]\s*[bu]?\\*{_QUOTED}""",
        rf"""{_NAME}\s*[:=]\s*[bu]?\\*{_QUOTED}""",
        rf"""{_NAME}\\*["'\]]*\s*(?:=|%3[Dd])\s*[bu]?\\*["']?({_SCHEME}{_WORD})""",
        rf"""{_NAME}(?::|%3[Aa])(?:\s|%20|\+)*({_SCHEME}(?:[^\s"',;]*[0-9][^\s"',;]*|[^\s"',;]{{16,}}))""",
    )
).encode()

_SHORTEST: Final = 8
_secrets: Any = re2.compile(_SHAPES)


def know(secrets: Iterable[str]) -> None:
    """From now on take these out too, wherever they stand. Too short ones are not looked for: they would be words."""
    global _secrets
    forms: set[bytes] = set()
    for secret in secrets:
        if len(secret) >= _SHORTEST:
            forms.update(_forms(secret.encode("utf-8", "surrogateescape")))
    longest_first = sorted(forms, key=lambda form: (-len(form), form))
    _secrets = re2.compile(b"|".join((*map(re2.escape, longest_first), _SHAPES)))


def _forms(secret: bytes) -> Iterable[bytes]:
    yield secret
    yield quote(secret, safe="").encode()
    yield "".join(f"%{byte:02X}" for byte in secret).encode()
    yield secret.hex().encode()
    for skipped in range(3):
        # In base64 three bytes become four letters: what a secret becomes depends on how many bytes stand before it,
        # and its first and last letters on what these are.
        encoded = base64.b64encode(b"\0" * skipped + secret)
        inside = encoded[(0, 2, 3)[skipped] : len(encoded) - (0, 3, 2)[(skipped + len(secret)) % 3]]
        if len(inside) >= _SHORTEST:
            yield inside
            yield inside.translate(bytes.maketrans(b"+/", b"-_"))


def holds_secret(text: bytes) -> bool:
    """Whether there is anything to take out; some microseconds for a line's worth of text."""
    return _secrets.search(text) is not None


def redact_bytes(text: bytes) -> bytes:
    parts: list[bytes] = []
    last = 0
    for match in _secrets.finditer(text):
        start, end = match.span(match.lastindex or 0)
        if text.startswith(_REDACTED[:-1], start):
            continue
        parts += (text[last:start], _REDACTED)
        last = end
    return b"".join((*parts, text[last:])) if parts else text


def redact_text(text: str) -> str:
    """Lone surrogates become question marks: they are no text anywhere else."""
    encoded = text.encode("utf-8", "replace")
    return redact_bytes(encoded).decode("utf-8", "replace") if holds_secret(encoded) else text


@lru_cache(maxsize=1024)
def is_secret_name(name: str) -> bool:
    """Whether the value of a field or header of this name is secret."""
    return len(name) <= 200 and _FIELD.search(name) is not None


def redact(value: Any) -> Any:
    """``value`` with whatever looks secret replaced, to any depth of dicts, lists, and pairs of name and value."""
    if isinstance(value, str):
        return redact_text(value)
    if isinstance(value, bytes):
        return redact_text(value.decode("utf-8", "replace"))
    if isinstance(value, dict):
        return {redact_text(key) if isinstance(key, str) else key: named(key, inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return _pair(value) or [redact(inner) for inner in value]
    return value


def named(name: Any, value: Any) -> Any:
    """``value`` redacted, all of it if the name says so. Numbers are no secrets: they are counts of tokens."""
    if isinstance(name, bytes):
        name = name.decode("latin-1")
    if value is None or isinstance(value, (bool, int, float)) or not isinstance(name, str) or not is_secret_name(name):
        return redact(value)
    return REDACTED if value else value


def _pair(value: Sequence[Any]) -> list[Any] | None:
    """A header as programs pass it around: its name and its value."""
    if len(value) == 2 and isinstance(value[0], (str, bytes)):
        return [redact(value[0]), named(value[0], value[1])]
    return None
