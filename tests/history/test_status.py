"""What other processes can know about the journal without asking the shipper."""

from __future__ import annotations

from typing import TYPE_CHECKING

from history import status
from history.journal import JournalWriter
from history.status import ShipperStatus
from tests.history import samples

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def test_the_depth_is_what_the_shipper_says_and_everything_while_it_is_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert status.unshipped_bytes(tmp_path) == 0
    writer = JournalWriter(tmp_path, 1 << 20)
    writer.append(samples.finished())
    everything = status.journal_bytes(tmp_path)
    assert status.unshipped_bytes(tmp_path) == everything > 0
    status.write(tmp_path, ShipperStatus(backlog_bytes=7))
    assert status.unshipped_bytes(tmp_path) == 7
    monkeypatch.setattr(status, "AWAY_SECONDS", -1.0)
    assert status.unshipped_bytes(tmp_path) == everything


def test_a_report_comes_back_as_it_was_written_and_damage_is_no_report(tmp_path: Path) -> None:
    report = ShipperStatus(database="down", backlog_bytes=12, shipped=3, untold=1)
    status.write(tmp_path, report)
    assert status.read(tmp_path) == report
    (tmp_path / status.FILE_NAME).write_text("{")
    assert status.read(tmp_path) is None


def test_a_report_of_the_release_before_is_read(tmp_path: Path) -> None:
    """A gateway or the console may be newer than the shipper for a moment."""
    (tmp_path / status.FILE_NAME).write_text('{"database": "down", "down_since": 1.5, "at": 2.5, "open": 3, "torn": 4}')
    assert status.read(tmp_path) == ShipperStatus(database="down", at=2.5)


def test_a_report_holds_no_second_copy_of_what_metrics_have() -> None:
    """But what a shipper that is away cannot be asked for, and what pages and documentation name."""
    assert set(ShipperStatus.__struct_fields__) == {"database", "at", "backlog_bytes", "shipped", "told", "untold"}
