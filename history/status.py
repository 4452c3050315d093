"""What the shipper tells other processes, in a small file beside the segments. Django-free: gateways read it too."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import msgspec

from history.journal import list_segments

if TYPE_CHECKING:
    from pathlib import Path

FILE_NAME = "shipper.json"
#: It reports every second; silent for longer, it is stopped or stuck.
AWAY_SECONDS = 10.0


class ShipperStatus(msgspec.Struct, omit_defaults=True):
    """What must be known without asking for metrics, which have the rest. ``at`` is Unix seconds, totals are of this
    shipper's life."""

    database: str = "up"  # up | down
    at: float = 0.0
    backlog_bytes: int = 0  # written by gateways, not in the database yet
    shipped: int = 0  # rows
    told: int = 0  # events that went to the live feed
    untold: int = 0  # and those that did not, because Redis was away


def write(folder: Path, status: ShipperStatus) -> None:
    """Replace the file; a full disk is no reason to stop."""
    status.at = time.time()
    temporary = folder / f"{FILE_NAME}.new"
    try:
        temporary.write_bytes(msgspec.json.encode(status))
        temporary.replace(folder / FILE_NAME)
    except OSError:
        temporary.unlink(missing_ok=True)


def read(folder: Path) -> ShipperStatus | None:
    """The last report, None before the first. Its ``at`` tells whether a shipper is alive (one a second)."""
    try:
        return msgspec.json.decode((folder / FILE_NAME).read_bytes(), type=ShipperStatus)
    except (OSError, msgspec.MsgspecError):
        return None


def unshipped_bytes(folder: Path) -> int:
    """What is in the journal and not in the database, as the shipper last said; all of it when the shipper is away."""
    report = read(folder)
    if report is None or time.time() - report.at > AWAY_SECONDS:
        return journal_bytes(folder)
    return report.backlog_bytes


def journal_bytes(folder: Path) -> int:
    """What the segments on disk hold, shipped or not: what counts against ``SIGNALBOX_JOURNAL_MAX_MB``."""
    total = 0
    for name in list_segments(folder):
        try:
            total += (folder / name.file_name).stat().st_size
        except FileNotFoundError:
            continue
    return total
