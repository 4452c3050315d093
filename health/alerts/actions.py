"""Writes of people: channels, rules, a test message. Live: every one acts at once.

As in ``routes.actions``: keyword-only ``actor``, one transaction, an audit entry; refusals are ActionErrors. URLs and
secrets are parameters and then ciphertext; they are in no log, error, audit entry or return value.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.utils import timezone

from health.alerts import delivery, formats
from health.alerts import document as documents
from health.models import AlertChannel, AlertDelivery, AlertRule
from routes import crypto
from routes.actions import _rows, audit
from routes.actions.errors import Conflict, InUse, Invalid
from routes.document.base import merged
from routes.models import Provider

if TYPE_CHECKING:
    from collections.abc import Mapping

    from routes.actions.actor import Actor

CHANNEL_COLUMNS = {name: name for name in ("name", "kind", "enabled", "recipients", "network", "per_hour")}
RULE_COLUMNS = {
    name: name
    for name in ("name", "enabled", "severity", "events", "providers", "thresholds", "window", "repeat")
}  # fmt: skip
#: AlertSecret columns, and what is wrong with a value.
SECRETS = {"url": documents.check_url, "secret": documents.check_signing_secret}


def channel_tree(row: AlertChannel) -> dict[str, Any]:
    """A channel as the API has it; of what is sealed only that it is there."""
    return {
        "name": row.name,
        "kind": row.kind,
        "enabled": row.enabled,
        **{field: None if getattr(row, field) is None else {"keep": True} for field in SECRETS},
        "recipients": row.recipients,
        "network": row.network,
        "per_hour": row.per_hour,
    }


def rule_tree(row: AlertRule) -> dict[str, Any]:
    """A rule as the API has it. One query, unless its channels were prefetched."""
    tree = {field: getattr(row, column) for field, column in RULE_COLUMNS.items()}
    # A row of an older release lacks what came later.
    tree["thresholds"] = {**documents.AlertThresholds().model_dump(mode="json"), **row.thresholds}
    return {**tree, "channels": sorted(channel.name for channel in row.channels.all())}


# -- channels ----------------------------------------------------------------------------------------
@audit.in_turn()
def create_channel(data: Mapping[str, Any], *, actor: Actor) -> AlertChannel:
    """Raises Invalid, or Conflict when the name is taken."""
    actor.require("admin")
    return _store_channel(_rows.parse(documents.AlertChannel, data), None, actor)


@audit.in_turn()
def update_channel(
    channel: AlertChannel, changes: Mapping[str, Any], *, actor: Actor, version: int | None = None
) -> AlertChannel:
    """Change some fields; a ``url`` or ``secret`` that is left out is kept. Raises Invalid, Conflict, StaleVersion,
    Missing."""
    actor.require("admin")
    row = _rows.lock(AlertChannel.objects, channel.pk, f"alert channel {channel.name}", version)
    wanted = _rows.parse(documents.AlertChannel, {**channel_tree(row), **changes})
    if wanted.kind != row.kind:
        raise Invalid.from_errors([("kind", "cannot be changed; add another channel instead")])
    return _store_channel(wanted, row, actor)


def _store_channel(wanted: documents.AlertChannel, row: AlertChannel | None, actor: Actor) -> AlertChannel:
    new = row is None
    row = row or AlertChannel()
    if AlertChannel.objects.exclude(pk=row.pk).filter(name=wanted.name).exists():
        raise Conflict(f"there is already an alert channel '{wanted.name}'", {"name": ["is taken"]})
    before = {} if new else _open_part(channel_tree(row))
    after = wanted.model_dump(mode="json", exclude=set(SECRETS))
    changes: dict[str, Any] = audit.difference(before, after)
    for field in SECRETS:
        if _seal(row, field, getattr(wanted, field)):
            changes[field] = "changed"
    if not new and not changes:
        return row
    _rows.fill(row, after, CHANNEL_COLUMNS)
    if new:
        row.save(force_insert=True)
    else:
        _rows.bump(row)
    _audit(actor, "alert_channel.created" if new else "alert_channel.updated", row, changes)
    return row


def _open_part(tree: dict[str, Any]) -> dict[str, Any]:
    return {field: value for field, value in tree.items() if field not in SECRETS}


def _seal(row: AlertChannel, field: str, given: documents.AlertSecret | None) -> bool:
    """Put a secret into its column; whether that changed it. Does not save."""
    if given is None:
        return False  # of a kind that has none, which it never had
    if given.value is None:
        if getattr(row, field) is None:
            raise Invalid.from_errors([(field, "there is none yet to keep")])
        return False
    try:
        value = SECRETS[field](given.value)
    except ValueError as error:
        raise Invalid.from_errors([(field, str(error))]) from None
    setattr(row, field, crypto.seal(value.encode(), row.context(field)))
    if field == "url":
        row.host = documents.host_of(value)
    return True


@audit.in_turn()
def delete_channel(channel: AlertChannel, *, actor: Actor, version: int | None = None) -> None:
    """Raises InUse while rules name it. Messages that still wait are not sent any more."""
    actor.require("admin")
    row = _rows.lock(AlertChannel.objects, channel.pk, f"alert channel {channel.name}", version)
    users = [f"alert rule {name}" for name in row.rules.order_by("name").values_list("name", flat=True)]
    if users:
        raise InUse(f"alert channel '{row.name}' is used by {', '.join(users)}", users)
    delivery.drop(row, "the channel was deleted")
    _audit(actor, "alert_channel.deleted", row, audit.difference(_open_part(channel_tree(row)), {}))
    row.delete()


@audit.in_turn()
def send_test(channel: AlertChannel, *, actor: Actor) -> AlertDelivery:
    """Queue a message that says it is a test: tried once, whatever rules and limits say. Raises Conflict while the
    test before it is under way."""
    actor.require("operate")
    row = _rows.lock(AlertChannel.objects, channel.pk, f"alert channel {channel.name}", None)
    if row.deliveries.filter(event=formats.TEST, status=AlertDelivery.Status.PENDING).exists():
        raise Conflict(f"a test of '{row.name}' is under way already; its result is in the delivery log")
    now = timezone.now()
    made = delivery.enqueue(row, formats.test_message(row, actor.name, now), now)
    _audit(actor, "alert_channel.tested", row, {})
    return made


# -- rules -------------------------------------------------------------------------------------------
@audit.in_turn()
def create_rule(data: Mapping[str, Any], *, actor: Actor) -> AlertRule:
    """Raises Invalid, or Conflict when the name is taken."""
    actor.require("admin")
    return _store_rule(_rows.parse(documents.AlertRule, data), None, actor)


@audit.in_turn()
def update_rule(rule: AlertRule, changes: Mapping[str, Any], *, actor: Actor, version: int | None = None) -> AlertRule:
    """Change some fields: thresholds are merged, lists replaced. Raises Invalid, Conflict, StaleVersion, Missing."""
    actor.require("admin")
    row = _rows.lock(AlertRule.objects, rule.pk, f"alert rule {rule.name}", version)
    tree = merged(rule_tree(row), changes, documents.AlertRule.OBJECTS)
    return _store_rule(_rows.parse(documents.AlertRule, tree), row, actor)


def _store_rule(wanted: documents.AlertRule, row: AlertRule | None, actor: Actor) -> AlertRule:
    new = row is None
    row = row or AlertRule()
    if AlertRule.objects.exclude(pk=row.pk).filter(name=wanted.name).exists():
        raise Conflict(f"there is already an alert rule '{wanted.name}'", {"name": ["is taken"]})
    channels = {channel.name: channel for channel in AlertChannel.objects.filter(name__in=wanted.channels)}
    # What the rule named before may be gone since: that is no reason to refuse another change.
    known = {*Provider.objects.filter(slug__in=wanted.providers).values_list("slug", flat=True), *row.providers}
    if errors := [
        *((f"channels[{n}]", f"there is no alert channel '{name}'") for n, name in _missing(wanted.channels, channels)),
        *((f"providers[{n}]", f"there is no provider '{slug}'") for n, slug in _missing(wanted.providers, known)),
    ]:
        raise Invalid.from_errors(errors)
    after = wanted.model_dump(mode="json")
    after["channels"] = sorted(after["channels"])
    changes = audit.difference({} if new else rule_tree(row), after)
    if not new and not changes:
        return row
    _rows.fill(row, after, RULE_COLUMNS)
    if new:
        row.save(force_insert=True)
    else:
        _rows.bump(row)
    row.channels.set(channels.values())
    _audit(actor, "alert_rule.created" if new else "alert_rule.updated", row, changes)
    return row


def _missing(names: list[str], known: Any) -> list[tuple[int, str]]:
    return [(number, name) for number, name in enumerate(names) if name not in known]


@audit.in_turn()
def delete_rule(rule: AlertRule, *, actor: Actor, version: int | None = None) -> None:
    """What it has told stays in the log; messages under way are still sent."""
    actor.require("admin")
    row = _rows.lock(AlertRule.objects, rule.pk, f"alert rule {rule.name}", version)
    _audit(actor, "alert_rule.deleted", row, audit.difference(rule_tree(row), {}))
    row.delete()


def _audit(actor: Actor, action: str, row: AlertChannel | AlertRule, changes: Mapping[str, Any]) -> None:
    audit.record(
        actor,
        action,
        category="admin",
        object_type=action.partition(".")[0],
        object_id=row.pk,
        object_name=row.name,
        changes=changes,
    )
