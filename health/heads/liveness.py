"""Whether heads are alive: hearing them, which is memory only, and noticing once per change that one came or went.

A head is online while it was heard of within the TTL; every process of every host tells that by its own clock, without
this module. What is noticed here (``Head.online``, ``reported``) is for the timeline, the feed and the audit log: it is
compared and set in the database, so that each change is told once however many workers and consoles look.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from django.utils import timezone

from health.heads import news
from health.models import Head
from routes import live
from routes.actions import audit
from routes.actions.actor import Actor
from routes.engine.provider import head_key
from routing_project.env import get_env

if TYPE_CHECKING:
    from routes.engine.live import HeadState

#: ``Head.seen_at`` is at most this old while the head is online.
SEEN_SECONDS: Final = 60.0


def ttl() -> float:
    """Seconds without a heartbeat after which a head is offline."""
    return 3 * get_env().head_interval


def hear(provider_id: str, head_id: str, load: float | None, draining: bool) -> HeadState:
    """A heartbeat (``load`` None = it did not say), into this host's live state; other hosts hear of it over the
    exchange. Returns how the head was before. Never touches the database."""
    state, now = live.current(), time.monotonic()
    key = head_key(provider_id, head_id)
    before = state.head_state(key, now)
    state.hear_head(key, load, draining, now + ttl(), now)
    return before


def forget(provider_id: str, head_id: str) -> None:
    """It is not a head any more: offline at once, its reports forgotten."""
    live.current().forget_head(head_key(provider_id, head_id))


def notice_all() -> int:
    """Tell what changed since anybody looked; how many changes that were. One query, one more for each change, and
    one a minute."""
    changes = 0
    seen: list[Head] = []
    for row in Head.objects.select_related("provider"):
        state, now = live.current(), time.monotonic()
        head = state.head_state(head_key(str(row.provider_id), row.head_id), now)
        wall = timezone.now()
        if head.heard_at is None and not _long_unseen(row, wall):
            # This host has never heard of it. Another may have, and tells of it.
            continue
        changes += notice(row, head, Actor.system("heads"))
        if head.online and row.seen_at < wall - timedelta(seconds=SEEN_SECONDS):
            row.seen_at = _heard(head, row)
            seen.append(row)
    Head.objects.bulk_update(seen, ["seen_at"])
    return changes


def notice(row: Head, head: HeadState, actor: Actor) -> int:
    """Compare what was told of ``row`` with how it is, and tell the difference; how many differences. The row is
    brought up to date."""
    changes = 0
    if head.online != row.online:
        changes += _turn(row, head, actor)
    reported = Head.Reported.DRAINING if head.draining else Head.Reported.ACTIVE
    if head.online and reported != row.reported:
        changes += _report(row, reported, actor)
    return changes


@audit.in_turn()
def _turn(row: Head, head: HeadState, actor: Actor) -> bool:
    """It came back, which whoever speaks for it did, or is not heard of any more, which the clock says."""
    before, row.online = row.online, head.online
    row.seen_at = _heard(head, row)
    if not _set(row, {"online": before}, {"online": row.online, "seen_at": row.seen_at}):
        return False
    before_word, after_word = ("offline", "online") if row.online else ("online", "offline")
    _audit(row, before_word, after_word, actor if row.online else Actor.system("heads"))
    if row.online:
        news.tell(row, "offline", "online", news.HEARTBEAT, "head")
    else:
        detail = {"last_heard": row.seen_at.timestamp(), "ttl": ttl()}
        news.tell(row, "online", "offline", news.NO_HEARTBEAT, "clock", detail)
    return True


@audit.in_turn()
def _report(row: Head, reported: str, actor: Actor) -> bool:
    """It says another thing of itself."""
    before, row.reported = row.reported, reported
    if not _set(row, {"reported": before}, {"reported": reported}):
        return False
    news.tell(row, before, reported, news.REPORTED, actor.name)
    _audit(row, before, reported, actor)
    return True


def _audit(row: Head, before: str, after: str, actor: Actor) -> None:
    """Every change of state, and no heartbeat."""
    audit.record(
        actor,
        "head.status",
        category="head",
        object_type="head",
        object_id=row.pk,
        object_name=row.head_id,
        changes={"status": [before, after]},
    )


def _set(row: Head, expected: dict[str, object], values: dict[str, object]) -> bool:
    """Whether we were the first to write it. A head that has registered again since is told of anew."""
    return bool(Head.objects.filter(pk=row.pk, generation=row.generation, **expected).update(**values))


def _heard(head: HeadState, row: Head) -> datetime:
    """When it was last heard of, as far as is known."""
    if head.heard_at is None:
        return row.seen_at
    heard = datetime.fromtimestamp(time.time() - (time.monotonic() - head.heard_at), UTC)
    return max(heard, row.seen_at)


def _long_unseen(row: Head, wall: datetime) -> bool:
    """No host has noted for a while that it is there, as each does for those it hears of."""
    return row.seen_at < wall - timedelta(seconds=SEEN_SECONDS + 2 * ttl())
