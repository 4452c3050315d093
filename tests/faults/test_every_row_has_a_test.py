"""The table of the fault suite names tests that exist and that ``make test-faults`` runs, and leaves none out."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

import pytest

from tests.faults.rows import FAULTS, OUTCOMES

TESTS = Path(__file__).parent.parent
MARKER = "pytest.mark.faults"
ROWS = {**OUTCOMES, **FAULTS}


@cache
def marked(file: str) -> dict[str, bool]:
    """The tests of a file -> whether they carry the marker ``faults``, by themselves or with their module."""
    tree = ast.parse((TESTS / file).read_text())
    whole = any(
        isinstance(node, ast.Assign)
        and ast.unparse(node.targets[0]) == "pytestmark"
        and MARKER in ast.unparse(node.value)
        for node in tree.body
    )
    return {
        node.name: whole or any(MARKER in ast.unparse(each) for each in node.decorator_list)
        for node in tree.body
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and node.name.startswith("test_")
    }


@pytest.mark.faults
@pytest.mark.parametrize("row", ROWS)
def test_every_row_is_proved_by_tests_of_the_fault_suite(row: str) -> None:
    assert ROWS[row]
    for name in ROWS[row]:
        file, _, function = name.partition("::")
        assert marked(file).get(function), f"{name} does not exist or is not marked faults"


@pytest.mark.faults
def test_every_test_of_this_folder_is_in_the_table() -> None:
    named = {name for names in ROWS.values() for name in names}
    here = {
        f"faults/{path.name}::{function}"
        for path in TESTS.glob("faults/test_*.py")
        if path.name != Path(__file__).name
        for function in marked(f"faults/{path.name}")
    }
    assert here == {name for name in named if name.startswith("faults/")}
