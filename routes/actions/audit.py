"""The audit trail: one entry per action, in the transaction of the change; listeners and sinks hear of it on commit.

Entries are a chain (``routes.audit``), so whoever writes one holds the chain until its transaction ends. ``in_turn``
takes it before anything else is locked: an action that came to it with rows in its hands could wait for one that waits
for those rows. Secrets never come here: callers pass document trees, which hold none, and write ``changed`` for a
credential; what looks like one all the same is written as ``changed`` (``routes.audit.veil``).
"""

from __future__ import annotations

import re
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from django.db import transaction
from django.utils import timezone

from routes.audit import delivery
from routes.audit.chain import START, Link, document_of, hash_of, storable
from routes.audit.veil import plain, veiled
from routes.document.base import SLUG_PATTERN
from routes.events import acted
from routes.models import AuditEntry
from routing_project.logs import get_logger

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from routes.actions.actor import Actor

log = get_logger("audit")

#: Objects that are one value: a part of a condition or of a failover mode says nothing by itself.
WHOLE = frozenset({"when", "mode"})
#: Objects with names of lower-case letters, digits and hyphens. Some providers' keys are nothing else, but long without
#: a hyphen.
NAMED_BY_SLUG: Final = frozenset({"provider", "profile", "head"})
SLUG: Final = re.compile(SLUG_PATTERN)
LONG: Final = re.compile(r"[a-z0-9]{20}")
#: PostgreSQL's name of the lock on the chain: "SIGN", 1. SQLite's transactions are one at a time anyway.
LOCK: Final = (0x5349474E, 1)


@contextmanager
def in_turn(*, savepoint: bool = True) -> Iterator[None]:
    """A transaction that will leave entries, in place of ``transaction.atomic``: the actions of all processes go one
    after the other. Also a decorator. Inside another transaction, which must begin so too, the lock lasts until that
    one ends."""
    with transaction.atomic(savepoint=savepoint):
        connection = transaction.get_connection()
        if connection.vendor == "postgresql":
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_advisory_xact_lock(%s, %s)", LOCK)
        yield


def record(
    actor: Actor,
    action: str,
    *,
    category: str,
    object_type: str,
    object_id: object = "",
    object_name: str = "",
    changes: Mapping[str, Any] | None = None,
    reason: str = "",
) -> AuditEntry:
    """Write an entry. ``action`` is ``<object>.<verb>``; ``changes`` maps fields to ``[before, after]``. In the
    caller's transaction, which is one that began ``in_turn``; without one, in its own. Two queries, three on
    PostgreSQL."""
    with in_turn(savepoint=False):
        newest = AuditEntry.objects.order_by("-id").values_list("id", "hash").first()
        last = START if newest is None else Link(*newest)
        fields: dict[str, Any] = {
            "id": last.id + 1,
            "at": timezone.now(),
            "category": category,
            "action": action[:64],
            "object_type": object_type[:32],
            "object_id": storable(str(object_id))[:64],
            "object_name": storable(_plain_name(object_type, object_name))[:200],
            "actor_kind": actor.kind,
            "actor_id": storable(actor.id)[:64],
            # Names of people were checked when they were given; anybody may have called a key anything.
            "actor_name": storable(plain(actor.name) if actor.kind == "key" else actor.name)[:200],
            "client_ip": actor.client_ip,
            "request_id": storable(actor.request_id)[:64],
            "reason": storable(plain(reason)),
            "changes": storable(veiled(changes or {})),
            "previous": last.hash,
        }
        document = document_of(fields)
        fields["client_ip"] = document["client_ip"]
        entry = AuditEntry.objects.create(**fields, hash=hash_of(document))
        transaction.on_commit(partial(_tell, entry))
        delivery.look_on_commit()
    return entry


def _plain_name(object_type: str, name: str) -> str:
    """A name that was checked when it was given stays as it is, whatever it looks like; a free one may hold a key."""
    slug = object_type in NAMED_BY_SLUG and SLUG.fullmatch(name) and not LONG.search(name)
    checked = object_type == "user" or slug
    return name if checked else plain(name)


def _tell(entry: AuditEntry) -> None:
    log.info(
        entry.action,
        object_type=entry.object_type,
        object_name=entry.object_name,
        actor=f"{entry.actor_kind}:{entry.actor_name}",
        audit=entry.pk,
    )
    for _receiver, outcome in acted.send_robust(sender=AuditEntry, entry=entry):
        if isinstance(outcome, Exception):
            log.error("listener_failed", action=entry.action, error=repr(outcome))


def difference(before: Mapping[str, Any], after: Mapping[str, Any], prefix: str = "") -> dict[str, list[Any]]:
    """Fields that differ, nested objects by dotted path, as ``[before, after]``. Lists are compared whole."""
    changes: dict[str, list[Any]] = {}
    for name in {**before, **after}:
        path = f"{prefix}{name}"
        old, new = before.get(name), after.get(name)
        if old == new:
            continue
        if isinstance(old, dict) and isinstance(new, dict) and name not in WHOLE:
            changes.update(difference(old, new, f"{path}."))
        else:
            changes[path] = [old, new]
    return changes
