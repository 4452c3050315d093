"""Looks whether the audit log is what was written: the table by its chain and by what its sinks have had, a file of it
line by line against the table.

Both are read once, in order, a page at a time, so that millions of entries need no memory. What is found is told in one
sentence that names the entry. What the chain can and cannot prove: docs/audit.md.
"""

from __future__ import annotations

import json
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from routes.audit.chain import START, Link, hash_of, head_line, line_of
from routes.audit.channel import SINK
from routes.audit.reading import COLUMNS, head, page
from routes.models import AuditDelivery, AuditEntry

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from routes.audit.file import Kept

PAGE: Final = 2000


class BrokenError(Exception):
    """The first thing that does not fit, as a sentence."""


class Table(NamedTuple):
    entries: int
    head: Link


class File(NamedTuple):
    """``entries`` and ``heads`` that were found; ``torn``: its last line is not complete; ``last`` of its entries."""

    entries: int
    heads: int
    torn: bool
    last: Link | None


# -- the table -------------------------------------------------------------------------------------------
def table() -> Table:
    """Walk the chain from its first entry to its head. Raises BrokenError. A query each 2,000 entries, about 70 µs an
    entry."""
    count, last = 0, START
    while documents := _page(None if last == START else last.id):
        for document in documents:
            last = _follow(document, last)
        count += len(documents)
    return Table(count, last)


def _page(after: int | None) -> list[dict[str, Any]]:
    try:
        return page(after, PAGE)
    except (ValueError, TypeError, AttributeError):  # whatever a column makes of what is no value of it
        return _readable(after)


def _readable(after: int | None) -> list[dict[str, Any]]:
    """The entries of a page up to the one that cannot be read. Raises BrokenError when that is the first."""
    found: list[dict[str, Any]] = []
    rows = AuditEntry.objects.all() if after is None else AuditEntry.objects.filter(id__gt=after)
    for pk in rows.order_by("id").values_list("id", flat=True)[:PAGE]:
        try:
            found += page(pk - 1, 1)
        except (ValueError, TypeError, AttributeError):
            if not found:
                raise BrokenError(f"entry {pk} was changed: it cannot be read") from None
            break
    return found


def _follow(document: dict[str, Any], last: Link) -> Link:
    if document["previous"] != last.hash:
        raise BrokenError(_gap(document, last))
    if not _is_whole(document):
        raise BrokenError(f"entry {document['id']} was changed: its hash is not that of what it says")
    return Link(document["id"], document["hash"])


def _gap(document: dict[str, Any], last: Link) -> str:
    here = document["id"]
    if last == START:
        return f"entry {here} is the first, but another came before it: the first entries were removed"
    if here > last.id + 1:
        return f"entry {here} does not follow entry {last.id}: what was between them was removed"
    return f"entry {here} does not follow entry {last.id}: one of the two was changed, or written anew"


def _is_whole(document: dict[str, Any]) -> bool:
    try:
        return hash_of(document) == str(document["hash"])
    except (ValueError, TypeError, OverflowError):
        return False  # it holds what no entry of ours does


def delivered(kept: Kept) -> None:
    """What was brought to a file of this host and to the channel must be in the table. Raises BrokenError."""
    told = AuditDelivery.objects.filter(sink=SINK).values_list("last_id", "last_hash")
    known = [("was written to the file of this host", kept.place.link)]
    known += [("was told on the channel", Link(*last)) for last in told]
    held, end = _held({link.id for _, link in known})
    for what, link in known:
        _agree(f"entry {link.id} {what}", link, held, end)


def _held(ids: set[int]) -> tuple[dict[int, str], int]:
    """The hashes of the entries, of those the table has, and where it ends."""
    return dict(AuditEntry.objects.filter(pk__in=ids).values_list("id", "hash")), head().id


def _agree(what: str, link: Link, held: dict[int, str], end: int) -> None:
    if link == START:
        return  # nothing yet, or the head of a table without entries
    if link.id not in held:
        cut = f"the table ends at entry {end}: its tail was cut" if link.id > end else "the table has it no more"
        raise BrokenError(f"{what}, and {cut}")
    if held[link.id] != link.hash:
        raise BrokenError(
            f"{what} with the hash {link.hash}, and in the table it has {held[link.id]}: the chain was rewritten"
        )


# -- a file ----------------------------------------------------------------------------------------------
class _Line(NamedTuple):
    """``previous`` None = a head."""

    number: int
    link: Link
    previous: str | None


def file(path: Path) -> File:
    """Compare every line of a file with itself, the line before and the table. Raises BrokenError, and OSError when it
    cannot be read. A query each 2,000 lines."""
    entries, heads = 0, 0
    last: Link | None = None
    reader = _Reader(path)
    for lines in _pages(reader):
        held, end = _held({line.link.id for line in lines})
        for line in lines:
            what = "the head of the chain was" if line.previous is None else "there is"
            _agree(f"line {line.number}: {what} entry {line.link.id}", line.link, held, end)
            if line.previous is None:
                heads += 1
                continue
            if last is not None and line.previous != last.hash:
                raise BrokenError(
                    f"line {line.number}: entry {line.link.id} does not follow entry {last.id}, which is in the line "
                    "before: lines were removed, or put in another order"
                )
            last, entries = line.link, entries + 1
    return File(entries, heads, reader.torn, last)


def follows_on(found: File, kept: Kept) -> None:
    """The file at its path must reach as far as it was written there, as known before it was read. One without entries
    is a new one, and looks like one that was emptied. Raises BrokenError."""
    if found.last is not None and found.last.id < kept.place.link.id:
        raise BrokenError(
            f"it ends at entry {found.last.id}, and was written up to entry {kept.place.link.id}: its last lines are "
            "missing"
        )


class _Reader:
    def __init__(self, path: Path) -> None:
        self.path = path
        self.torn = False

    def __iter__(self) -> Iterator[_Line]:
        with self.path.open("rb") as stream:
            for number, line in enumerate(stream, 1):
                if not line.endswith(b"\n"):
                    self.torn = True
                    return
                yield _read(number, line[:-1])


def _read(number: int, line: bytes) -> _Line:
    """A line must be byte for byte what is written of what it says: what another reader, or somebody who looks at it,
    would read otherwise (a member twice) must not pass because of how it is read here."""
    try:
        tree = json.loads(line)
        if set(tree) == {"head"}:
            return _read_head(number, line, tree["head"])
        if set(tree) != set(COLUMNS):
            raise ValueError
        found = _Line(number, _link(tree), str(tree["previous"]))
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
        raise BrokenError(f"line {number} cannot be read: it is no entry of the audit log") from None
    if not _is_whole(tree):
        raise BrokenError(f"line {number}: entry {found.link.id} was changed: its hash is not that of what it says")
    if line_of({name: tree[name] for name in COLUMNS}) != line:
        raise BrokenError(
            f"line {number}: entry {found.link.id} is not written as it was: members doubled or moved, spaces, escapes"
        )
    return found


def _read_head(number: int, line: bytes, tree: dict[str, Any]) -> _Line:
    """Raises ValueError, TypeError, KeyError or OverflowError for what is no line of a head."""
    link = _link(tree)
    if head_line(link, datetime.fromisoformat(tree["at"])) != line:
        raise ValueError
    return _Line(number, link, None)


def _link(tree: dict[str, Any]) -> Link:
    """Raises ValueError for an id that no table holds."""
    if type(tree["id"]) is not int or not 0 <= tree["id"] < 1 << 63:
        raise ValueError
    return Link(tree["id"], str(tree["hash"]))


def _pages(lines: Iterable[_Line]) -> Iterator[list[_Line]]:
    held: list[_Line] = []
    for line in lines:
        held.append(line)
        if len(held) == PAGE:
            yield held
            held = []
    if held:
        yield held
