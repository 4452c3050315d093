"""Many watchers at once, some of which never read: a small edition of `python -m bench.live`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from bench.live import Watchers, specification, wrong
from history.ids import new_id
from tests.gateways import wait_until

if TYPE_CHECKING:
    from tests.live_feed.clients import Console

WATCHERS, SILENT = 60, 5
#: More than all buffers on the way to one watcher hold.
LARGE = {"message": "x" * 2000}


def routes(count: int, **fields: Any) -> list[dict[str, Any]]:
    """In turns of two profiles, every seventh a failure."""
    return [
        {
            "id": str(new_id()),
            "profile": ("default", "other")[number % 2],
            "status": "routed" if number % 7 else "failed",
            **fields,
        }
        for number in range(count)
    ]


@pytest.mark.slow
def test_everybody_who_reads_hears_of_everything_in_order_and_who_does_not_is_let_go(console: Console) -> None:
    publisher = console.publisher()
    told: list[dict[str, Any]] = []

    def tell(batch: list[dict[str, Any]]) -> None:
        publisher.publish(batch)
        told.extend(batch)

    wait_until(lambda: console.open_now() == (0, 0), 10, "all have gone")
    keys = [console.keys["read"]]
    with Watchers(console.port, specification(WATCHERS, SILENT, keys)) as watchers:
        assert sum(console.open_now()) == WATCHERS
        for _ in range(20):
            tell(routes(10))
        tell(routes(1200, **LARGE))
        wait_until(lambda: sum(console.open_now()) == WATCHERS - SILENT, 60, "the silent ones are let go")
        tell(routes(50))
        wait_until(lambda: publisher.published == len(told), 10)
        result = watchers.result(len(told))
    happened = {event["id"].replace("-", ""): (event["profile"], event["status"]) for event in told}
    assert wrong(result, happened) == []
    assert result["readers"] == WATCHERS - SILENT
    assert sum(each["watchers"] for each in result["filters"]) == WATCHERS - SILENT
    assert len(result["filters"]) == 4
    assert all(each["routes"] for each in result["filters"])
    wait_until(lambda: console.open_now() == (0, 0), 20, "nobody is left")
