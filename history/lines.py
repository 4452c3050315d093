"""Rows as lines of text: CSV for spreadsheets, NDJSON for programs. Pure functions; must not import Django.

CSV is RFC 4180 in UTF-8: a line of names, CRLF, quotes where they are needed, nothing for null. Much of it was sent by
clients, so no cell of text is one that a spreadsheet would carry out. Programs are better off with NDJSON: it has
types, and its text is as it was.
"""

from __future__ import annotations

import csv
import io
import re
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, Literal

import orjson

from history.rows import ID_FIELDS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

Format = Literal["csv", "ndjson"]
FORMATS: Final[tuple[Format, ...]] = ("csv", "ndjson")
MEDIA_TYPES: Final[dict[Format, str]] = {
    "csv": "text/csv; charset=utf-8",
    "ndjson": "application/x-ndjson; charset=utf-8",
}
#: Excel needs to see it at the beginning to take a file for UTF-8; to other programs it is a part of the first name.
BOM: Final = b"\xef\xbb\xbf"
#: Columns whose text is our own: ids and times, which every row has others of.
OURS: Final = ID_FIELDS | {"created_at"}

# Where a cell may begin: at the start, and behind what a spreadsheet of another country separates cells by. What begins
# a formula: four signs (and their wide forms, which some take for the same), and at the start of a text also the
# control characters that are skipped before one.
_FORMULA: Final = re.compile(r'^(?="*[=+\-@＝＋－＠\t\r\n])|(?<=[;\t\r\n])(?="*[=+\-@＝＋－＠])')


@lru_cache(maxsize=8192)  # nearly all of it is names that come again and again
def guarded(text: str) -> str:
    """``text`` with an apostrophe before whatever could be taken for a formula."""
    return _FORMULA.sub("'", text)


def head(fields: Sequence[str], format: Format, *, bom: bool = False) -> bytes:  # noqa: A002 - the parameter's name
    """What comes before the rows. ``bom``: for Excel, in CSV."""
    if format != "csv":
        return b""
    return (BOM if bom else b"") + _csv([fields])


def body(rows: Iterable[Mapping[str, Any]], fields: Sequence[str], format: Format) -> bytes:  # noqa: A002
    """A line for each row; cells of CSV are ``fields``, NDJSON has all there is."""
    if format == "csv":
        ours = [name in OURS for name in fields]
        return _csv(
            [
                [row[name] if plain else _cell(row[name]) for name, plain in zip(fields, ours, strict=True)]
                for row in rows
            ]
        )
    return b"".join(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE) for row in rows)


def _cell(value: Any) -> Any:
    if isinstance(value, str):
        return guarded(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    return value


def _csv(lines: Sequence[Sequence[Any]]) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text).writerows(lines)
    return text.getvalue().encode()
