"""What hosts say to one another, as JSON: times are those of Redis, because every host has a clock of its own; those of
heartbeats are seconds from now.

``ahead``: what to add to a time of ours to get that of Redis. Reading raises KeyError, TypeError, ValueError or
AttributeError for what is not what it should be. Imports the tables.
"""

from __future__ import annotations

from math import inf
from typing import Any, Final

from routes.engine.live import Quarantine
from routes.engine.tables.pins import Drop, Written
from routes.engine.tables.quarantines import Row
from routes.engine.tables.sharing import CircuitNews, HeadNews, ObservedNews

#: No heartbeat is good for so long.
HOUR: Final = 3600.0


def circuit(news: CircuitNews, ahead: float) -> dict[str, Any]:
    until = news.until + ahead if news.until else 0.0
    return {
        "target": news.target_id,
        "state": news.state,
        "at": news.since + ahead,
        "until": until,
        "reopened": news.reopened,
    }


def read_circuit(entry: Any, ahead: float) -> CircuitNews:
    until = float(entry["until"])
    return CircuitNews(
        entry["target"],
        entry["state"],
        float(entry["at"]) - ahead,
        until - ahead if until else 0.0,
        int(entry["reopened"]),
    )


def observed(news: ObservedNews, ahead: float) -> dict[str, Any]:
    return {"target": news.target_id, "state": news.state, "at": news.at + ahead, "until": news.until + ahead}


def read_observed(entry: Any, ahead: float) -> ObservedNews:
    return ObservedNews(entry["target"], entry["state"], float(entry["at"]) - ahead, float(entry["until"]) - ahead)


def name(row: Row) -> str:
    return f"{row.provider_id}|{'' if row.model is None else '=' + row.model}"


def quarantine(row: Row, ahead: float) -> dict[str, Any]:
    return {
        "provider": row.provider_id,
        "model": row.model,
        "until": row.quarantine.until + ahead,
        "cause": row.quarantine.cause,
        "told": row.quarantine.told,
        "at": row.made + ahead,
        "generation": row.generation,
    }


def read_quarantine(entry: Any, ahead: float) -> Row:
    quarantine = Quarantine(float(entry["until"]) - ahead, entry["cause"], bool(entry["told"]))
    return Row(entry["provider"], entry["model"], quarantine, float(entry["at"]) - ahead, int(entry["generation"]))


def head(news: HeadNews, now: float) -> dict[str, Any]:
    """A heartbeat, in seconds from the moment it is told: hosts whose wall clocks differ agree on who is alive."""
    return {
        "head": news.head_key,
        "ago": now - news.heard,
        "left": news.until - now,
        "draining": news.draining,
        "load": news.load,
    }


def read_head(entry: Any, now: float) -> HeadNews:
    ago, left, load = float(entry["ago"]), float(entry["left"]), entry["load"]
    if not (0.0 <= ago < HOUR and 0.0 <= left < HOUR):
        raise ValueError("no time of a heartbeat")
    if load is not None and not 0.0 <= (load := float(load)) < inf:
        raise ValueError("no load")
    return HeadNews(str(entry["head"]), now - ago, now + left, bool(entry["draining"]), load)


def pin(pin: Written, ahead: float) -> dict[str, Any]:
    return {
        "key": pin.key.hex(),
        "target": pin.target_id,
        "profile": pin.profile_id,
        "pinned": pin.pinned_at + ahead,
        "expires": pin.expires + ahead,
        "at": pin.written + ahead,
        "kind": pin.kind,
        "session": pin.session,
    }


def read_pin(entry: Any, ahead: float) -> Written:
    return Written(
        bytes.fromhex(entry["key"]),
        entry["target"],
        entry["profile"],
        float(entry["pinned"]) - ahead,
        float(entry["expires"]) - ahead,
        float(entry["at"]) - ahead,
        entry["kind"],
        entry["session"],
    )


def drop_name(drop: Drop) -> str:
    return f"{drop.profile_id or ''}|{drop.target_id or ''}"


def drop(drop: Drop, ahead: float) -> dict[str, Any]:
    return {"profile": drop.profile_id, "target": drop.target_id, "at": drop.at + ahead}


def read_drop(entry: Any, ahead: float) -> Drop:
    return Drop(entry["profile"], entry["target"], float(entry["at"]) - ahead)


def when(entry: Any) -> float:
    """When it happened; what does not say is older than anything."""
    try:
        return float(entry["at"])
    except (KeyError, TypeError, ValueError):
        return 0.0
