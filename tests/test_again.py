"""What failed beside other tests is run once more, alone, and nothing else."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
#: The first run makes the flag; ``unsteady`` fails only then.
TESTS = """
import pathlib
import pytest

FLAG = pathlib.Path(__file__).with_name("flag")

@pytest.mark.parametrize("number", range({failing}))
def test_unsteady(number):
    assert FLAG.exists()

def test_broken():
    assert {sound}

def test_last():
    FLAG.touch()
"""


def run(folder: Path, *options: str) -> tuple[int, dict[str, int]]:
    """(exit code, how many passed, failed, were left out)"""
    command = [sys.executable, "-m", "pytest", "-c", "/dev/null", "--rootdir", ".", "-p", "no:django", *options, "."]
    environment = {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=60)
    counts = {word: int(number) for number, word in re.findall(r"(\d+) (passed|failed|deselected)", done.stdout)}
    return done.returncode, counts


@pytest.mark.parametrize(
    ("failing", "sound", "again"),
    [
        (1, True, (0, {"passed": 1, "deselected": 2})),
        (1, False, (1, {"passed": 1, "failed": 1, "deselected": 1})),
        (0, True, (5, {"deselected": 3})),  # nothing failed: pytest did; one of them is skipped
        (6, True, (5, {"deselected": 8})),  # too many for an accident
    ],
    ids=["unsteady", "broken", "none", "many"],
)
def test_what_failed_runs_once_more_alone(
    tmp_path: Path, failing: int, sound: bool, again: tuple[int, dict[str, int]]
) -> None:
    (tmp_path / "test_it.py").write_text(TESTS.format(failing=failing, sound=sound))
    run(tmp_path)
    assert run(tmp_path, "-p", "tests.again") == again
