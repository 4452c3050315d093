"""Targets grouped by how near their region is to that of a request: the region itself, its area (what stands before
the first hyphen: ``eu-west`` and ``eu-central``), the policy's regions in order, the rest. Imports the engine only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from routes.engine.candidates import Pool

if TYPE_CHECKING:
    from collections.abc import Sequence

    from routes.engine.candidates import Candidate

#: Regions come from clients, so no more groupings than this are kept per pool.
KEPT = 64

SAME, AREA, PRIORITY, OTHER = "region", "region_area", "region_priority", "region_other"


class Group(NamedTuple):
    """Candidates that are equally near; ``code`` says how near."""

    code: str
    pool: Pool


def groups(pool: Pool, region: str | None, priority: Sequence[str]) -> tuple[Group, ...]:
    """The groups that have members, nearest first."""
    kept: dict[str | None, tuple[Group, ...]] = pool.memo.setdefault("regions", {})
    found = kept.get(region)
    if found is None:
        if len(kept) >= KEPT:
            kept.clear()
        found = kept[region] = _grouped(pool, region, priority)
    return found


def area_of(region: str) -> str:
    return region.casefold().partition("-")[0]


def _grouped(pool: Pool, region: str | None, priority: Sequence[str]) -> tuple[Group, ...]:
    wanted = region.casefold() if region else None
    order = {name.casefold(): place for place, name in reversed(list(enumerate(priority)))}
    members: dict[tuple[str, str], list[Candidate]] = {}
    places: dict[tuple[str, str], tuple[int, int]] = {}
    for candidate in pool.candidates:
        own = (candidate.target.region or "").casefold()
        if wanted and own == wanted:
            key, place = (SAME, own), (0, 0)
        elif wanted and own and area_of(own) == area_of(wanted):
            key, place = (AREA, area_of(own) + "-"), (1, 0)
        elif own in order:
            key, place = (PRIORITY, own), (2, order[own])
        else:
            key, place = (OTHER, "*"), (3, 0)
        members.setdefault(key, []).append(candidate)
        places[key] = place
    # Counters are named by regions of the configuration, never by what a client wrote. The first group is all there
    # is of its name in the pool, so nobody else's turns are counted there.
    return tuple(
        Group(code, Pool(f"{pool.key}/{name}", pool.tier, tuple(members[code, name]), pool.salt * 1000 + number))
        for number, (code, name) in enumerate(sorted(members, key=places.__getitem__))
    )
