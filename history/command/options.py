"""Options that commands of the history share, and what they say when one is wrong: its name, as it was typed."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from history.errors import BadQuery
from history.filters import Filters, from_parameters
from history.search import DEFAULT_LIMIT, MAX_LIMIT, ORDERS, limit_of
from history.timerange import TimeRange

if TYPE_CHECKING:
    from collections.abc import Sequence

    from django.core.management.base import CommandParser

    from history.search import Page

TABLE: Final = "table"
JSON: Final = "json"
CSV: Final = "csv"
NDJSON: Final = "ndjson"
FORMATS: Final = (TABLE, JSON, CSV, NDJSON)

#: The API's orders in words: one that begins with a hyphen would be taken for an option.
NEWEST: Final = "newest"
WORDS: Final = dict(zip((NEWEST, "oldest", "slowest", "fastest"), ORDERS, strict=True))


class WrongOption(Exception):
    """``str()`` names the option."""


def add_filters(parser: CommandParser) -> None:
    parser.add_argument(
        "--filter", action="append", default=[], metavar="NAME=VALUE",
        help="as in the API: provider=acme, status__in=failed,timeout, latency_ms__gt=500; may be given again",
    )  # fmt: skip
    parser.add_argument("--filter-json", metavar="TREE", help='groups: {"any": [{"field": …, "op": …, "value": …}, …]}')
    parser.add_argument("--from", metavar="TIME", help="from this moment on: ISO 8601, UTC unless it says otherwise")
    parser.add_argument("--to", metavar="TIME", help="before this moment")


def add_order(parser: CommandParser) -> None:
    parser.add_argument("--order", default=NEWEST, help=f"one of {', '.join(WORDS)}; default: {NEWEST}")


def add_pages(parser: CommandParser) -> None:
    parser.add_argument("--limit", default=str(DEFAULT_LIMIT), help=f"rows, 1 to {MAX_LIMIT}; default: {DEFAULT_LIMIT}")
    parser.add_argument("--cursor", help="go on where another page ended, or before it began: it says so")


def add_format(parser: CommandParser, formats: Sequence[str] = FORMATS) -> None:
    parser.add_argument("--format", default=formats[0], help=f"one of {', '.join(formats)}; default: {formats[0]}")


def asked(options: dict[str, Any]) -> dict[str, str]:
    """The question as the API's parameters."""
    found: dict[str, str] = {}
    for text in options["filter"]:
        name, equals, value = text.partition("=")
        if not equals:
            raise WrongOption(f"--filter {text}: must be NAME=VALUE, such as status=failed")
        if name in found:
            raise WrongOption(f"--filter {name}: is given twice; for one of several values say {name}__in=A,B")
        if name == "filter":
            raise WrongOption("--filter filter: groups have an option of their own, --filter-json")
        found[name] = value
    if options["filter_json"] is not None:
        found["filter"] = options["filter_json"]
    return found


def filters(options: dict[str, Any]) -> Filters:
    try:
        return from_parameters(asked(options))
    except BadQuery as error:
        name = "--filter-json" if error.field == "filter" else f"--filter {error.field}"
        raise WrongOption(f"{name}: {error.message}") from None


def span(options: dict[str, Any]) -> TimeRange:
    return TimeRange.parse(options["from"], options["to"])


def order(options: dict[str, Any]) -> str:
    """In the API's words, which are taken too."""
    given: str = options["order"]
    return given if given in ORDERS else WORDS[choice(options, "order", list(WORDS))]


def limit(options: dict[str, Any]) -> int:
    return limit_of(options["limit"])


def choice(options: dict[str, Any], name: str, choices: Sequence[str]) -> str:
    value: str = options[name]
    if value not in choices:
        raise BadQuery(name, f"must be one of {', '.join(choices)}, not '{value}'")
    return value


def named(error: BadQuery) -> str:
    """The error of a parameter of the API as one of the option of the same name."""
    return f"--{error.field.replace('_', '-')}: {error.message}"


def cursors(page: Page) -> list[str]:
    """What to say of a page that is not all there is."""
    said = []
    if page.scanned_to is not None:
        said.append(f"Stopped at {page.scanned_to:%Y-%m-%d %H:%M:%S} UTC, for it took long; there may be more.")
    if page.next:
        said.append(f"Next page: --cursor {page.next}")
    if page.previous:
        said.append(f"Page before: --cursor {page.previous}")
    return said


def dump(document: Any) -> str:
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"
