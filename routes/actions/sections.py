"""The document's single sections: policy and prices. Draft until published."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.utils import timezone

from routes import document, draft
from routes.actions import _rows, audit
from routes.actions.errors import Invalid
from routes.document import DocumentError
from routes.document.base import merged
from routes.document.provider import PriceSection
from routes.models import Policy, PriceTable
from routes.pricing import builtin_prices

if TYPE_CHECKING:
    from collections.abc import Mapping

    from routes.actions.actor import Actor


@audit.in_turn()
def update_policy(changes: Mapping[str, Any], *, actor: Actor, version: int | None = None) -> Policy:
    """Change some fields of the policy. Raises Invalid, StaleVersion."""
    actor.require("admin")
    row = Policy.get(lock=True)
    _rows.check_version(row, "the policy", version)
    return store_policy(_rows.parse(document.Policy, merged(draft.policy_tree(row), changes, {})), actor=actor, row=row)


def store_policy(wanted: document.Policy, *, actor: Actor, row: Policy) -> Policy:
    """Write a validated section into the locked row. Private to actions."""
    changes = audit.difference(draft.policy_tree(row), wanted.model_dump(mode="json"))
    if changes:
        _rows.fill(row, wanted.model_dump(mode="json"), draft.POLICY_COLUMNS)
        _rows.bump(row)
        audit.record(actor, "policy.updated", category="policy", object_type="policy", changes=changes)
    return row


@audit.in_turn()
def replace_prices(data: Mapping[str, Any], *, actor: Actor, version: int | None = None) -> PriceTable:
    """Set the whole table: ``{"prices": {model: {input, output, cached}}}``. Raises Invalid, StaleVersion."""
    actor.require("admin")
    row = PriceTable.get(lock=True)
    _rows.check_version(row, "the price table", version)
    return store_prices(_rows.parse(PriceSection, data).prices, actor=actor, row=row)


@audit.in_turn()
def sync_prices(*, actor: Actor, reset: bool = False) -> list[str]:
    """Copy the built-in figures of the models that the draft names into the table: those that are not in it, with
    ``reset`` also over those that are. Returns the models whose figures changed. Raises Invalid when the draft is no
    valid configuration."""
    actor.require("admin")
    row = PriceTable.get(lock=True)
    builtin = builtin_prices(timezone.now())
    try:
        configuration = draft.configuration()
    except DocumentError as error:
        raise Invalid.from_errors(error.errors) from None
    prices = dict(configuration.prices)
    for model in configured_models(configuration) & builtin.keys():
        if reset or model not in prices:
            prices[model] = document.Price.model_validate(builtin[model])
    changed = [model for model in sorted(prices) if prices[model] != configuration.prices.get(model)]
    store_prices(dict(sorted(prices.items())), actor=actor, row=row)
    return changed


def configured_models(configuration: document.Configuration) -> set[str]:
    """Every model that is named: by targets of profiles and rules, and on both sides of providers' ``models``."""
    names: set[str] = set()
    for profile in configuration.profiles:
        for targets in (profile.targets, *(rule.targets for rule in profile.rules)):
            names.update(target.model for target in targets if target.model)
    for provider in configuration.providers:
        for asked, upstream in (provider.models or {}).items():
            names |= {asked, upstream}
    return {name for name in names if not any(sign in name for sign in "*?[")}


def store_prices(wanted: Mapping[str, document.Price], *, actor: Actor, row: PriceTable) -> PriceTable:
    """Write a validated section into the locked row. Private to actions."""
    tree = {model: price.model_dump(mode="json") for model, price in wanted.items()}
    changes = audit.difference(row.prices, tree)
    if changes:
        row.prices = tree
        _rows.bump(row, "prices")
        audit.record(actor, "prices.updated", category="policy", object_type="prices", changes=changes)
    return row
