"""The document as a whole: its sections, what refers to what, and its two written forms. Free of Django.

``Configuration`` is what revisions hold (no credentials, no keys). ``Document`` is what people write and
``export_config`` prints; a section left out is left alone.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import Field, ValidationError

from routes.document.access_key import AccessKey
from routes.document.base import Strict
from routes.document.errors import DocumentError
from routes.document.policy import Policy
from routes.document.profile import Profile
from routes.document.provider import Prices, Provider

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Iterator, Mapping

VERSION: Literal[1] = 1


class Configuration(Strict):
    """The sections that are published."""

    version: Literal[1] = VERSION
    policy: Policy = Field(default_factory=Policy)
    prices: Prices = Field(default_factory=dict)
    providers: list[Provider] = Field(default_factory=list)
    profiles: list[Profile] = Field(default_factory=list)

    @classmethod
    def parse(cls, tree: Mapping[str, Any]) -> Self:
        """Validate in full, references too. Raises DocumentError with every error found."""
        try:
            configuration = cls.model_validate(tree)
        except ValidationError as error:
            raise DocumentError.from_pydantic(error) from None
        if errors := reference_errors(configuration.providers, configuration.profiles):
            raise DocumentError(errors)
        return configuration

    def canonical(self) -> dict[str, Any]:
        """Every field with its default, maps in order, providers and profiles by slug."""
        tree = self.model_dump(mode="json")
        for section in ("providers", "profiles"):
            tree[section].sort(key=lambda entry: entry["slug"])
        return tree

    def text(self) -> str:
        """Equal configurations are equal text."""
        return json.dumps(self.canonical(), ensure_ascii=False, separators=(",", ":"))


class Document(Strict):
    """What ``import_config`` reads. None = the section is absent and stays as it is."""

    version: Literal[1] = VERSION
    policy: Policy | None = None
    prices: Prices | None = None
    providers: list[Provider] | None = None
    profiles: list[Profile] | None = None
    access_keys: list[AccessKey] | None = None

    @classmethod
    def parse(cls, tree: Any) -> Self:
        """Validate everything that can be known without the database. Raises DocumentError."""
        try:
            document = cls.model_validate(tree)
        except ValidationError as error:
            raise DocumentError.from_pydantic(error) from None
        errors = [
            *duplicates("providers", (provider.slug for provider in document.providers or ()), "slug"),
            *duplicates("profiles", (profile.slug for profile in document.profiles or ()), "slug"),
            *duplicates("access_keys", (key.name for key in document.access_keys or ()), "name"),
            *duplicates("access_keys", (key.value for key in document.access_keys or ()), "value"),
        ]
        if errors:
            raise DocumentError(errors)
        return document


def duplicates(section: str, values: Iterable[str | None], field: str) -> list[tuple[str, str]]:
    """Errors for values that a section may hold only once; None never counts."""
    seen: dict[str, int] = {}
    errors = []
    for index, value in enumerate(values):
        first = seen.setdefault(value, index) if value is not None else index
        if first != index:
            errors.append((f"{section}[{index}].{field}", f"the same as {section}[{first}].{field}"))
    return errors


def reference_errors(providers: Iterable[Provider], profiles: Iterable[Profile]) -> list[tuple[str, str]]:
    """Names given twice, and targets, of profiles and of their rules, whose provider does not exist."""
    providers, profiles = list(providers), list(profiles)
    errors = [
        *duplicates("providers", (provider.slug for provider in providers), "slug"),
        *duplicates("profiles", (profile.slug for profile in profiles), "slug"),
    ]
    slugs = {provider.slug for provider in providers}
    for index, profile in enumerate(profiles):
        errors += unknown_providers(named_providers(profile, f"profiles[{index}]."), slugs)
    return errors


def named_providers(profile: Profile, path: str = "") -> Iterator[tuple[str, list[str]]]:
    """(path of the part, providers of its targets) for the profile itself and each of its rules."""
    yield path, [target.provider for target in profile.targets]
    for index, rule in enumerate(profile.rules):
        yield f"{path}rules[{index}].", [target.provider for target in rule.targets]


def unknown_providers(parts: Iterable[tuple[str, list[str]]], slugs: Container[str]) -> Iterator[tuple[str, str]]:
    """Errors for targets whose provider is not among ``slugs``."""
    for path, named in parts:
        for place, slug in enumerate(named):
            if slug not in slugs:
                yield f"{path}targets[{place}].provider", f"there is no provider '{slug}'"
