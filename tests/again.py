"""pytest plugin of ``make test``: of all tests, those that failed when they ran last, to be run once more and alone.

Thousands of tests start real processes beside one another on two cores. One that waited too short there is told from
one that fails by running it with the machine to itself: what fails again fails the run. What passes now is named by
``-v``; it is unsteady, and to be mended. Where too many failed nothing runs, which is an error of pytest's.
``make test`` begins without the failures of earlier runs, and comes here only when tests failed, not when pytest did.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import pytest

#: More than these are no accident.
MOST: Final = 5


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    assert config.cache is not None
    failed = config.cache.get("cache/lastfailed", {})
    again = [item for item in items if item.nodeid in failed]
    if len(again) > MOST:
        again = []
    config.hook.pytest_deselected(items=[item for item in items if item not in again])
    items[:] = again
