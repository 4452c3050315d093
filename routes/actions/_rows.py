"""What every action does with its row: lock it, check its version, read the document's part, save and count.

Private to actions, those of ``health`` too. Every function here must be called inside a transaction.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import BaseModel, ValidationError

from routes.actions.errors import Invalid, Missing, StaleVersion
from routes.document import DocumentError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from django.db.models import Manager, Model

    from routes import document
    from routes.models import ProfileTarget, Provider, RuleTarget
    from routes.models.base import Versioned

Row = TypeVar("Row", bound="Versioned")
Doc = TypeVar("Doc", bound=BaseModel)


def lock(rows: Manager[Row], key: Any, name: str, version: int | None) -> Row:
    """The row as it is now, held until the transaction ends. Raises Missing and StaleVersion."""
    row = rows.select_for_update().filter(pk=key).first()
    if row is None:
        raise Missing(f"{name} does not exist any more")
    check_version(row, name, version)
    return row


def check_version(row: Versioned, name: str, version: int | None) -> None:
    """``version`` None = the caller did not look at one; last write wins."""
    if version is not None and version != row.version:
        raise StaleVersion(name, version, row.version)


def parse(model: type[Doc], tree: Mapping[str, Any], prefix: str = "") -> Doc:
    """Validate ``tree``. Raises Invalid with the path of every error; messages never quote the input."""
    try:
        return model.model_validate(dict(tree))
    except ValidationError as error:
        raise Invalid.from_errors(DocumentError.from_pydantic(error, prefix).errors) from None


def fill(row: Model, tree: Mapping[str, Any], columns: Mapping[str, str]) -> None:
    """Copy document fields into their columns; does not save."""
    for field, column in columns.items():
        setattr(row, column, tree[field])


def replace_targets(
    kind: type[ProfileTarget] | type[RuleTarget],
    owner: Mapping[str, Model],
    wanted: Iterable[document.Target],
    providers: Mapping[str, Provider],
) -> None:
    """Write the ordered targets of ``owner`` (``{"rule": row}``) anew; ``providers`` by slug holds all they name."""
    rows: Manager[Any] = kind._default_manager
    rows.filter(**owner).delete()
    rows.bulk_create(
        kind(
            **owner,
            provider=providers[target.provider],
            position=position,
            model=target.model,
            weight=target.weight,
            tier=target.tier,
        )
        for position, target in enumerate(wanted)
    )


def bump(row: Versioned, *columns: str) -> None:
    """Save ``columns`` (all when none is named) as the next version."""
    row.version += 1
    row.save(update_fields=[*columns, "version", "updated_at"] if columns else None)


def touch(row: Versioned) -> None:
    """The next version of a row of which a part changed that has rows of its own."""
    row.version += 1
    row.save(update_fields=["version", "updated_at"])
