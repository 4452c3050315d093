"""Import and export of whole documents: what ``import_config`` and ``export_config`` do, all or nothing.

Import lays sections over the draft through the same functions as single edits, so audit, versions and the overlay
are the same. Credentials named by ``env`` and ``file`` are resolved here, on the machine of whoever runs the
command, and never over the API.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from routes import document, draft
from routes.actions import access_keys, audit, profiles, providers, sections
from routes.actions.errors import ActionError, Invalid
from routes.actions.revisions import publish
from routes.document import DocumentError
from routes.document.configuration import reference_errors, unknown_providers
from routes.document.provider import check_secret
from routes.models import AccessKey, ConfigRevision, Installation, Policy, PriceTable, Profile, Provider
from routing_project.env import EnvError, read_secret_variable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from routes.actions.actor import Actor

T = TypeVar("T")


@audit.in_turn()
def import_configuration(
    tree: Any, *, actor: Actor, merge: bool = False, publish_now: bool = False, message: str = ""
) -> ConfigRevision | None:
    """Lay a document over the draft. Sections present replace those of the draft, with ``merge`` they add to and
    replace single entries. Keys and credentials act at once, the rest with ``publish_now``, whose revision is
    returned. Raises Invalid with every error found; then nothing has changed."""
    actor.require("admin")
    try:
        wanted = document.Document.parse(tree)
        for index, provider in enumerate(wanted.providers or ()):
            resolve_credential(provider, f"providers[{index}].credential")
    except DocumentError as error:
        raise Invalid.from_errors(error.errors) from None
    Installation.get(lock=True)  # imports and publishes one after the other
    _check_references(wanted, merge)
    errors: list[tuple[str, str]] = []
    if wanted.policy is not None:
        sections.store_policy(wanted.policy, actor=actor, row=Policy.get(lock=True))
    if wanted.prices is not None:
        row = PriceTable.get(lock=True)
        kept = {model: document.Price.model_validate(price) for model, price in row.prices.items()} if merge else {}
        sections.store_prices(dict(sorted({**kept, **wanted.prices}.items())), actor=actor, row=row)
    leaving = _store_all(wanted.providers, Provider, "slug", "providers", providers.store, errors, actor)
    leaving_profiles = _store_all(wanted.profiles, Profile, "slug", "profiles", profiles.store, errors, actor)
    leaving_keys = _store_all(wanted.access_keys, AccessKey, "name", "access_keys", access_keys.store, errors, actor)
    if errors:
        raise Invalid.from_errors(errors)
    if not merge:
        for key in leaving_keys:
            access_keys.remove(key, actor=actor)
        for profile in leaving_profiles:
            profiles.remove(profile, actor=actor)
        for provider_row in leaving:
            providers.remove(provider_row, actor=actor)
    audit.record(
        actor,
        "document.imported",
        category="admin",
        object_type="document",
        changes={"sections": [None, sorted(wanted.model_fields_set - {"version"})], "merge": [None, merge]},
        reason=message,
    )
    return publish(actor=actor, message=message) if publish_now else None


def _store_all(
    entries: Iterable[Any] | None,
    model: Any,
    field: str,
    section: str,
    store: Callable[..., Any],
    errors: list[tuple[str, str]],
    actor: Actor,
) -> list[Any]:
    """Store every entry of a section, collecting errors; the rows that the section does not name."""
    if entries is None:
        return []
    rows = {getattr(row, field): row for row in model.objects.select_for_update()}
    for index, entry in enumerate(entries):
        path = f"{section}[{index}]."
        try:
            store(entry, actor=actor, row=rows.pop(getattr(entry, field), None), path=path)
        except ActionError as error:
            errors.extend(
                [(field_path, text) for field_path, texts in error.fields.items() for text in texts]
                or [(f"{section}[{index}]", error.message)]
            )
    return list(rows.values())


def _check_references(wanted: document.Document, merge: bool) -> None:
    """What the draft would be as a whole must hold together. Errors of sections that are not in the document name
    the profile instead of a place in the file."""
    slugs = {provider.slug for provider in wanted.providers or ()}
    if wanted.providers is None or merge:
        slugs.update(Provider.objects.values_list("slug", flat=True))
    known = [document.Provider.model_construct(slug=slug) for slug in slugs]
    errors = reference_errors(known, wanted.profiles or ())
    if wanted.providers is not None and not merge:
        named = {profile.slug for profile in wanted.profiles or ()}
        remaining = [] if wanted.profiles is not None else draft.profiles_with_targets()
        for row in remaining:
            if row.slug not in named:
                path = f"profiles[{row.slug}]."
                errors += unknown_providers(_named_providers(draft.profile_tree(row), path), slugs)
    if errors:
        raise Invalid.from_errors(errors)


def _named_providers(profile: dict[str, Any], path: str) -> list[tuple[str, list[str]]]:
    """Of a stored profile, which need not be valid; see ``routes.document.configuration.named_providers``."""
    parts = [(path, profile), *((f"{path}rules[{index}].", rule) for index, rule in enumerate(profile["rules"]))]
    return [(where, [target["provider"] for target in part["targets"]]) for where, part in parts]


def resolve_credential(provider: document.Provider, path: str) -> None:
    """Turn ``env`` and ``file`` into the value they name. Raises DocumentError, which never quotes it."""
    given = provider.credential
    if given is None or (given.env is None and given.file is None):
        return
    try:
        if given.env is not None:
            value = read_secret_variable(given.env)
        else:
            value = Path(given.file or "").expanduser().read_text(encoding="utf-8").strip()
        provider.credential = document.Credential(value=check_secret(value))
    except EnvError as error:
        raise DocumentError([(f"{path}.env", str(error))]) from None
    except OSError as error:
        raise DocumentError([(f"{path}.file", f"cannot be read: {error.strerror}")]) from None
    except ValueError as error:
        text = "is not UTF-8" if isinstance(error, UnicodeDecodeError) else "does not hold a usable credential"
        raise DocumentError([(f"{path}.{'env' if given.env is not None else 'file'}", text)]) from None


def apply_configuration(configuration: document.Configuration, *, actor: Actor) -> None:
    """Make the draft say exactly this; credentials stay. For rollback; inside its transaction."""
    deleted = {row.slug: row for row in Provider.with_deleted.select_for_update()}
    present = {row.slug for row in Provider.objects.all()}
    for provider in configuration.providers:
        row = deleted.get(provider.slug)
        if row is not None and row.has_credential:
            provider.credential = document.Credential(keep=True)
        providers.store(provider, actor=actor, row=row, restore=True)
    rows = {row.slug: row for row in Profile.objects.select_for_update()}
    for profile in configuration.profiles:
        profiles.store(profile, actor=actor, row=rows.pop(profile.slug, None))
    for profile_row in rows.values():
        profiles.remove(profile_row, actor=actor)
    for slug in present - {provider.slug for provider in configuration.providers}:
        providers.remove(deleted[slug], actor=actor)
    sections.store_policy(configuration.policy, actor=actor, row=Policy.get(lock=True))
    sections.store_prices(configuration.prices, actor=actor, row=PriceTable.get(lock=True))


@audit.in_turn()
def export_configuration(*, actor: Actor) -> dict[str, Any]:
    """The draft with keys and credentials as ``{keep: true}``, so that importing it changes nothing. No secrets."""
    actor.require("admin")
    configuration = draft.configuration()
    stored = {row.slug for row in Provider.objects.all() if row.has_credential}
    tree = configuration.canonical()
    for entry in tree["providers"]:
        fields = dict(entry)
        entry.clear()
        for name, value in fields.items():
            entry[name] = value
            if name == "auth" and entry["slug"] in stored:
                entry["credential"] = {"keep": True}
    tree["access_keys"] = [draft.key_tree(row) for row in AccessKey.objects.all()]
    audit.record(actor, "document.exported", category="export", object_type="document")
    return tree
