"""What probes of one host found out, on the others: they are asked from one host and matter to all."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

from tests.live.test_exchange import A, B, Host, until
from tests.servers import own_redis

if TYPE_CHECKING:
    from pathlib import Path


async def test_what_one_host_found_out_is_known_to_all_and_ends_by_each_one_s_clock(tmp_path: Path) -> None:
    with own_redis() as url:
        north, south = Host(tmp_path / "north", url, 0.0), Host(tmp_path / "south", url, 5000.0)
        with closing(north.live), closing(south.live):
            async with north.running(), south.running():
                now = north.clock()
                north.live.set_observed(A.id, "unhealthy", now + 90, now)
                await until(lambda: south.live.observed(A.id, south.clock()) == "unhealthy")
                assert A.id in south.live.suspects(south.clock())
                assert south.live.observed(A.id, south.clock() + 85) == "unhealthy"
                assert south.live.observed(A.id, south.clock() + 95) == "unknown"

                # The next probe ran on the other host: its word is newer.
                south.live.set_observed(A.id, "healthy", south.clock() + 90, south.clock())
                await until(lambda: north.live.observed(A.id, north.clock()) == "healthy")
                assert A.id not in north.live.suspects(north.clock())

                # "Unknown" is a word too, although it is believed until no later moment.
                north.live.set_observed(A.id, "unhealthy", north.clock() + 90, north.clock())
                await until(lambda: south.live.observed(A.id, south.clock()) == "unhealthy")
                north.live.set_observed(A.id, "unknown", north.clock(), north.clock())
                await until(lambda: south.live.observed(A.id, south.clock()) == "unknown")


async def test_a_host_that_comes_later_hears_of_it_and_an_old_word_changes_nothing(tmp_path: Path) -> None:
    with own_redis() as url:
        north = Host(tmp_path / "north", url, 0.0)
        with closing(north.live):
            async with north.running():
                now = north.clock()
                north.live.set_observed(A.id, "unhealthy", now + 90, now)
                north.live.set_observed(B.id, "unhealthy", now + 90, now - 30)
                south = Host(tmp_path / "south", url, -3000.0)
                with closing(south.live):
                    south.live.set_observed(B.id, "healthy", south.clock() + 90, south.clock() - 20)
                    async with south.running():
                        await until(lambda: south.live.observed(A.id, south.clock()) == "unhealthy")
                        await until(lambda: north.live.observed(B.id, north.clock()) == "healthy")
                        assert south.live.observed(B.id, south.clock()) == "healthy"
