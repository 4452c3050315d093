"""What can be wrong with a condition. Every error of a tree is told at once, each with its place."""

from __future__ import annotations

from typing import TYPE_CHECKING

from routes.engine.errors import EngineError

if TYPE_CHECKING:
    from collections.abc import Sequence


class ConditionError(EngineError):
    """``errors``: (path, message) in the order of the tree, with paths like ``when.all[0].value``."""

    code = "invalid_condition"

    def __init__(self, errors: Sequence[tuple[str, str]]) -> None:
        super().__init__("; ".join(f"{path}: {message}" for path, message in errors))
        self.errors = list(errors)
