"""Every write to the list of heads: register, approve, deregister, and forgetting those that are gone for good.

As ``routes.actions``: keyword-only ``actor``, one transaction with the audit entry and the event, in force on every
process through the overlay after the commit. The lock on the installation comes first, as the overlay needs it anyway:
heads are counted and their generations rise under it.
"""

from __future__ import annotations

from datetime import timedelta
from functools import lru_cache
from ipaddress import ip_network
from typing import TYPE_CHECKING, Any, Final

from django.utils import timezone

from health.heads import liveness, news
from health.heads.documents import HeadRegistration, suggested_region
from health.heads.errors import HeadMissing, OldGeneration, TooManyHeads
from health.heads.store import documents
from health.models import Head
from routes import actions
from routes.actions import audit
from routes.actions.errors import Invalid
from routes.document.address import literal_address, network_warning
from routes.models import ConfigRevision, Installation, Provider
from routing_project.env import get_env

if TYPE_CHECKING:
    from datetime import datetime

    from routes.actions.actor import Actor

MAX_HEADS: Final = 1000
#: Heads that have been offline for so long are removed.
KEPT: Final = timedelta(days=7)
TOLD: Final = ("endpoint", "region", "model_type", "version", "capacity", "metadata", "approved")


def register(wanted: HeadRegistration, *, actor: Actor) -> tuple[Head, bool]:
    """(the head, whether it is new). Known by ``head_id``: registering again replaces what was said and begins a new
    generation. Counts as its first heartbeat. Raises Invalid, TooManyHeads."""
    actor.require("operate")
    moved: str | None = None
    with audit.in_turn():
        Installation.get(lock=True)
        provider = _provider(wanted)
        row = Head.objects.select_related("provider").filter(head_id=wanted.head_id).first()
        new = row is None
        if row is None:
            if Head.objects.count() >= MAX_HEADS:
                raise TooManyHeads(f"{MAX_HEADS:,} heads are registered, which is as many as there may be")
            row = Head(head_id=wanted.head_id, provider=provider, generation=0)
        elif row.provider_id != provider.pk:
            moved = str(row.provider_id)
        before = {} if new else _tree(row)
        was_online, was_approved = row.online, row.approved and not new
        stays = was_approved and moved is None and row.endpoint == wanted.endpoint
        _fill(row, wanted, provider, actor)
        if not stays:
            _approve(row, _needs_no_approval(provider, wanted.endpoint), "")
        row.save(force_insert=new)
        _audit(actor, "head.registered", row, audit.difference(before, _tree(row)))
        reason = news.REGISTERED if new else news.REGISTERED_AGAIN
        news.tell(row, "" if new else "online" if was_online else "offline", "registered", reason, actor.name)
        if row.approved and not was_approved:
            news.tell(row, "waiting", "approved", news.INSIDE_NETWORKS, actor.name)
        actions.heads_changed(documents())
    if moved is not None:
        liveness.forget(moved, row.head_id)
    liveness.hear(str(provider.pk), row.head_id, None, False)
    return row, new


@audit.in_turn()
def approve(head_id: str, *, actor: Actor) -> Head:
    """Let a head outside the provider's ``head_networks`` take traffic. Approving again changes nothing. Raises
    HeadMissing."""
    actor.require("operate")
    Installation.get(lock=True)
    row = find(head_id)
    if row.approved:
        return row
    _approve(row, True, actor.name[:200])
    row.save(update_fields=["approved", "approved_at", "approved_by"])
    _audit(actor, "head.approved", row, {"approved": [False, True], "endpoint": row.endpoint})
    news.tell(row, "waiting", "approved", news.BY_OPERATOR, actor.name)
    actions.heads_changed(documents())
    return row


def deregister(head_id: str, *, actor: Actor, generation: int | None = None) -> None:
    """Out of every ranking at once. ``generation`` given: only if it is still the current one, so that a process that
    ends late does not take its successor with it. Raises HeadMissing, OldGeneration."""
    actor.require("operate")
    with audit.in_turn():
        Installation.get(lock=True)
        row = find(head_id)
        if generation is not None and generation != row.generation:
            raise OldGeneration(generation, row.generation)
        _remove(row, actor, news.LEFT)
        actions.heads_changed(documents())
    liveness.forget(str(row.provider_id), row.head_id)


def forget_gone(*, actor: Actor, now: datetime | None = None) -> int:
    """Remove heads that have been offline for seven days; how many. One query when there are none."""
    gone = Head.objects.filter(online=False, seen_at__lt=(now or timezone.now()) - KEPT).select_related("provider")
    if not gone.exists():
        return 0
    with audit.in_turn():
        Installation.get(lock=True)
        rows = list(gone)
        for row in rows:
            _remove(row, actor, news.FORGOTTEN)
        actions.heads_changed(documents())
    for row in rows:
        liveness.forget(str(row.provider_id), row.head_id)
    return len(rows)


def find(head_id: str) -> Head:
    """The registered head with its provider. Raises HeadMissing."""
    row = Head.objects.select_related("provider").filter(head_id=head_id).first() if "\x00" not in head_id else None
    if row is None:
        raise HeadMissing
    return row


def _provider(wanted: HeadRegistration) -> Provider:
    provider = Provider.objects.filter(slug=wanted.provider).first()
    if provider is None:
        raise Invalid.from_errors([("provider", "there is no such provider")])
    refused = network_warning(wanted.endpoint, provider.network, get_env().upstream_network_ceiling)
    if refused is not None:
        raise Invalid.from_errors([("endpoint", refused)])
    return provider


def _fill(row: Head, wanted: HeadRegistration, provider: Provider, actor: Actor) -> None:
    """What was said, and a fresh start: active, online, of the next generation."""
    now = timezone.now()
    row.provider = provider
    row.endpoint = wanted.endpoint
    row.region = wanted.region or suggested_region(wanted.head_id)
    row.model_type, row.version, row.capacity = wanted.model_type, wanted.version, wanted.capacity
    row.metadata = wanted.metadata.model_dump(mode="json")
    row.generation += 1
    row.registered_at = row.seen_at = now
    row.registered_by = actor.name[:200]
    row.online, row.reported = True, Head.Reported.ACTIVE


def _approve(row: Head, approved: bool, by: str) -> None:
    """``by`` "" = nobody had to."""
    row.approved, row.approved_by = approved, by
    row.approved_at = timezone.now() if approved else None


def _needs_no_approval(provider: Provider, endpoint: str) -> bool:
    """Whether its address is written out and inside the ``head_networks`` that are published. A name never is: it may
    lead elsewhere tomorrow, with the provider's credential."""
    address = literal_address(endpoint)
    if address is None:
        return False
    newest = ConfigRevision.objects.values_list("number", "created_at").first()
    networks = _networks(*newest).get(str(provider.pk), []) if newest else []
    return any(address in ip_network(network) for network in networks)


@lru_cache(maxsize=4)
def _networks(number: int, _published: datetime) -> dict[str, list[str]]:
    """Published ``head_networks`` by provider id. The time is part of the key because another database may have
    another revision of that number."""
    compiled = ConfigRevision.objects.get(number=number).compiled
    return {entry["id"]: entry.get("head_networks") or [] for entry in compiled["providers"]}


def _remove(row: Head, actor: Actor, reason: str) -> None:
    before = "online" if row.online else "offline"
    _audit(actor, "head.deregistered", row, audit.difference(_tree(row), {}), reason)
    news.tell(row, before, "deregistered", reason, actor.name)
    Head.objects.filter(pk=row.pk).delete()


def _tree(row: Head) -> dict[str, Any]:
    return {
        "provider": row.provider.slug,
        **{name: getattr(row, name) for name in TOLD},
        "generation": row.generation,
    }


def _audit(actor: Actor, action: str, row: Head, changes: dict[str, Any], reason: str = "") -> None:
    audit.record(
        actor,
        action,
        category="head",
        object_type="head",
        object_id=row.pk,
        object_name=row.head_id,
        changes=changes,
        reason=reason,
    )
