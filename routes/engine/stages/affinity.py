"""Affinity: a session goes back to the target that answered it. Reads pins, never writes them: ``answered`` does,
for the attempt loop, when a target has answered. Imports the engine only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from routes.engine.stages import Run

NAME = "affinity"


def apply(run: Run) -> None:
    return
