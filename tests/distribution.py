"""How a distributed run (`pytest -n`) deals its tests out: what shares an installation stays in one process, and the
files whose few tests take longest go first, so that no process is left alone with one of them at the end.

An early plugin (``-p tests.distribution``), because the scheduler is made before tests are collected.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from xdist.scheduler import LoadFileScheduling

if TYPE_CHECKING:
    from xdist.remote import Producer

#: Folders whose files use one running product.
TOGETHER = ("tests/live_feed", "tests/ops")


def unit(nodeid: str) -> str:
    """What a test must not be parted from: its folder, or its file."""
    file = nodeid.partition("::")[0]
    folder = file.rpartition("/")[0]
    return folder if folder in TOGETHER else file


class Scheduling(LoadFileScheduling):
    def _split_scope(self, nodeid: str) -> str:
        return unit(nodeid)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> Scheduling | None:
    if config.option.dist != "loadfile":
        return None
    config.option.loadscopereorder = False  # else the units with most tests go first, which are quick ones
    return Scheduling(config, log)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if hasattr(config, "workerinput"):
        first = {unit(item.nodeid) for item in items if item.get_closest_marker("browser")} | set(TOGETHER)
        items.sort(key=lambda item: unit(item.nodeid) not in first)
