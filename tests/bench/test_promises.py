"""What the fault suite's measurements make of what they saw; no measuring here."""

from __future__ import annotations

from statistics import mean
from typing import TYPE_CHECKING

import pytest

from bench import faults, soak
from bench.promises import Promise, markdown
from bench.soak import Seen, judge, made_up, read_trace
from tests.bench.test_report import FACTS

if TYPE_CHECKING:
    from pathlib import Path

DONE = b"data: {}\n\ndata: [DONE]\n\n"


@pytest.mark.parametrize(
    ("status", "stream", "content", "broken", "outcome"),
    [
        (200, False, b"{}", False, "served"),
        (200, True, DONE, False, "served"),
        (200, True, b'data: {}\n\ndata: {"error": {}}\n\n', False, "cut"),
        (200, False, b"{", True, "cut"),
        (502, False, b"{}", False, "failed"),
        (None, True, b"ConnectionResetError()", True, "failed"),
    ],
)
def test_an_answer_is_served_cut_or_failed(
    status: int | None, stream: bool, content: bytes, broken: bool, outcome: str
) -> None:
    assert judge(status, stream, content, broken).outcome == outcome


def test_a_failed_answer_says_what_it_was() -> None:
    assert judge(502, False, b'{"code": "all_targets_failed"}', False) == Seen(
        "failed", '502: {"code": "all_targets_failed"}'
    )


def test_a_trace_is_replayed_faster_and_only_so_long(tmp_path: Path) -> None:
    path = tmp_path / "trace.csv"
    path.write_text(
        "TIMESTAMP,ContextTokens,GeneratedTokens\n"
        "2023-11-16 18:15:46.6805900,374,44\n"
        "2023-11-16 18:15:56.6805900,396,109\n"
        "2023-11-16 18:16:46.6805900,879,55\n"
    )

    arrivals = list(read_trace(path, 20, 1.0))

    assert [(each.due, each.input_tokens, each.output_tokens) for each in arrivals] == [(0.0, 374, 44), (0.5, 396, 109)]


def test_made_up_arrivals_have_the_rate_they_should_and_are_always_the_same() -> None:
    arrivals = list(made_up(100, 60))

    assert arrivals == list(made_up(100, 60))
    assert 5500 < len(arrivals) < 6500
    assert arrivals == sorted(arrivals, key=lambda each: each.due)
    assert 700 < mean(each.input_tokens for each in arrivals) < 1700


def test_a_broken_promise_stands_out_in_the_table() -> None:
    text = markdown(
        FACTS,
        "python -m bench.faults",
        [Promise("503", "≤ 20 ms", "30 ms", False), Promise("cancel", "≤ 1 s", "3 ms", True), Promise("seen", "", "7")],
    )

    assert "| 503 | ≤ 20 ms | 30 ms | **no** |" in text
    assert "| cancel | ≤ 1 s | 3 ms | yes |" in text
    assert "| seen |  | 7 |  |" in text


@pytest.mark.parametrize("program", [faults, soak])
def test_an_unknown_name_is_refused(program: object) -> None:
    with pytest.raises(SystemExit, match="there are"):
        program.main(["--only", "nothing"])  # type: ignore[attr-defined]
