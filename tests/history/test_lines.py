"""Rows as lines: CSV that any program reads back and no spreadsheet carries out, NDJSON with types."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from history import lines
from history.rows import ROW_FIELDS

SIGNS = tuple("=+-@＝＋－＠")
FORMULA = (*SIGNS, *"\t\r\n")
FIELDS = ("id", "message", "latency_ms", "recovered")


def row(message: str = "", **values: Any) -> dict[str, Any]:
    return {"id": "0199", "message": message, "latency_ms": -5, "recovered": True, **values}


def written(*rows: dict[str, Any], bom: bool = False) -> bytes:
    return lines.head(FIELDS, "csv", bom=bom) + lines.body(rows, FIELDS, "csv")


def read(text: bytes, delimiter: str = ",") -> list[list[str]]:
    return list(csv.reader(io.StringIO(text.decode(), newline=""), delimiter=delimiter))


def test_csv_has_a_line_of_names_crlf_and_quotes_where_they_are_needed() -> None:
    assert written(row('say "a, b"'), row("two\r\nlines", latency_ms=None)) == (
        b"id,message,latency_ms,recovered\r\n"
        b'0199,"say ""a, b""",-5,true\r\n'
        b'0199,"two\r\nlines",,true\r\n'
    )  # fmt: skip


@pytest.mark.parametrize(
    "text",
    [
        "=cmd|' /C calc'!A0",
        "+1+1",
        "-2+3",
        "@SUM(A1)",
        "\t=1",
        "\r=1",
        '"=1"',
        "＝1",
        "a;=1",
        'a;"=1"',
        "a\n=1",
        "a\t@b",
    ],
)
def test_no_text_is_a_formula(text: str) -> None:
    assert all(not cell.startswith(FORMULA) for cell in read(written(row(text)))[1][:2])
    assert "'" in read(written(row(text)))[1][1]


@given(st.text(alphabet=st.sampled_from("=+-@＝\t\r\n;\"', a1"), max_size=12))
@example('";=1')
def test_nor_in_a_spreadsheet_that_separates_cells_by_something_else(text: str) -> None:
    file = lines.body([row(text)], ("id", "message"), "csv")
    for delimiter in ",;\t":
        cells = [cell for line in read(file, delimiter) for cell in line]
        assert all(not cell.lstrip("\t\r\n").startswith(SIGNS) for cell in cells), cells


def test_what_is_no_formula_stays_as_it_is_and_numbers_stay_numbers() -> None:
    for text in ("", "gpt-4o", "a=b", "chat 17; then", "it's", "50 %", "a\r\nb", "x + y"):
        assert read(written(row(text)))[1] == ["0199", text, "-5", "true"]


def test_ids_and_times_are_given_out_as_they_are() -> None:
    values = dict.fromkeys(ROW_FIELDS) | {"id": "0199", "created_at": "2026-11-20T12:00:00.000Z"}
    assert lines.body([values], ROW_FIELDS, "csv").startswith(b"0199,2026-11-20T12:00:00.000Z,,")


def test_the_mark_for_excel_is_there_only_if_asked_for() -> None:
    assert written(row(), bom=True) == b"\xef\xbb\xbf" + written(row())
    assert lines.head(FIELDS, "ndjson", bom=True) == b""


def test_ndjson_has_one_object_a_line_with_its_types() -> None:
    rows = [row("=1\nä\u2028", latency_ms=None), row()]
    text = lines.body(rows, FIELDS, "ndjson")
    assert text.count(b"\n") == 2
    assert [json.loads(line) for line in text.split(b"\n")[:-1]] == rows
