"""The targets of a profile or of a rule's partition in the configuration document. Free of Django."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import AfterValidator, Field

from routes.document.base import ModelName, Number, Slug, Strict

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


class Target(Strict):
    """One place. In a profile ``model`` null = what the client asks for, ``weight`` null = the provider's; in a rule
    null = what the profile's first target of that provider has."""

    provider: Slug
    model: ModelName | None = None
    weight: Number | None = None
    tier: int = Field(default=0, ge=0, le=1000)


def compact_tiers(targets: list[Target]) -> list[Target]:
    """Tiers become 0..n without gaps, in the order they had."""
    order = {tier: index for index, tier in enumerate(sorted({target.tier for target in targets}))}
    for target in targets:
        target.tier = order[target.tier]
    return targets


Targets = Annotated[list[Target], Field(max_length=1000), AfterValidator(compact_tiers)]


def doubles(named: Sequence[tuple[str, str | None]]) -> Iterator[tuple[int, int]]:
    """(place, earlier place) of every (provider, model) that is there already: circuits and samples belong to
    provider + model, so a second one would be the same target."""
    seen: dict[tuple[str, str | None], int] = {}
    for index, key in enumerate(named):
        first = seen.setdefault(key, index)
        if first != index:
            yield index, first
