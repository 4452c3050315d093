"""promtool, where it is installed: ``.ci/run`` installs it, elsewhere what needs it says what to install."""

from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

MISSING = "promtool IS MISSING: alerts and dashboards are not checked. apt-get install prometheus (or see .ci/run)"


@pytest.fixture(scope="session")
def promtool() -> Callable[..., str]:
    """Run it; what it said. Fails with that when it finds fault."""
    if shutil.which("promtool") is None:
        pytest.skip(MISSING)

    def run(*arguments: str | Path, fails: bool = False) -> str:
        done = subprocess.run(["promtool", *map(str, arguments)], capture_output=True, text=True, check=False)
        said = done.stdout + done.stderr
        assert (done.returncode != 0) == fails, said
        return said

    return run
