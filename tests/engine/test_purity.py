"""The engine is pure: it can be imported without any framework and reads no clock or environment of its own."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import routes.engine

FORBIDDEN = (
    "django",
    "rest_framework",
    "channels",
    "celery",
    "redis",
    "aiohttp",
    "history",
    "health",
    "routes.gateway",
)


def test_importing_the_engine_imports_no_framework_and_nothing_of_the_project() -> None:
    code = (
        "import sys\n"
        "import routes.engine.pipeline, routes.engine.explain, routes.engine.local_live, routes.engine.retry\n"
        f"print([m for m in sys.modules if m.split('.')[0] in {FORBIDDEN!r} or m.startswith('routes.gateway')])"
    )
    root = Path(routes.engine.__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_no_module_of_the_engine_reads_a_clock_or_the_environment() -> None:
    forbidden = re.compile(r"\bos\.environ|\bgetenv\b|\btime\.(time|monotonic)\(|datetime\.now|\brandom\.random\(\)")
    for path in Path(routes.engine.__file__).parent.rglob("*.py"):
        assert not forbidden.search(path.read_text()), path
