"""Credentials of providers: live, sealed to their row, write-only. A new one lifts every quarantine.

The value is a parameter and then ciphertext; it is in no log, error, audit entry or return value.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from routes import crypto
from routes.actions import _rows, audit, overlay
from routes.actions.errors import Invalid
from routes.document.provider import check_secret
from routes.models import Provider

if TYPE_CHECKING:
    from routes.actions.actor import Actor

COLUMNS = ("credential", "credential_last4", "credential_generation")
#: Shorter secrets would lose too much by showing four characters.
SHOW_LAST4_FROM = 12


def put(row: Provider, value: str | None) -> None:
    """Seal ``value`` into the row (None removes it); does not save. Private to actions."""
    if value is None:
        row.credential = None
        row.credential_last4 = ""
    else:
        row.credential = crypto.seal(value.encode(), row.credential_context)
        row.credential_last4 = value[-4:] if len(value) >= SHOW_LAST4_FROM else ""
    row.credential_generation += 1


@audit.in_turn()
def set_credential(provider: Provider, value: str | None, *, actor: Actor, version: int | None = None) -> Provider:
    """Replace or (None) remove the credential; acts at once. Raises Invalid, StaleVersion, Missing."""
    actor.require("admin")
    if value is not None:
        try:
            check_secret(value)
        except ValueError as error:
            raise Invalid.from_errors([("credential", str(error))]) from None
    row = _rows.lock(Provider.objects, provider.pk, f"provider {provider.slug}", version)
    put(row, value)
    _rows.bump(row, *COLUMNS)
    audit.record(
        actor,
        "provider.credential",
        category="admin",
        object_type="provider",
        object_id=row.pk,
        object_name=row.slug,
        changes={"credential": "removed" if value is None else "changed"},
    )
    overlay.touch()
    return row
