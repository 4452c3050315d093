"""System checks of what is stored: credentials, the draft, the networks of addresses. Each says what to do.

Run by ``check --database default`` and by ``migrate``. They are warnings, because each is repaired in the admin,
which must be able to start; settings that cannot work at all are refused by ``routing_project.checks``.

routes.W001  a stored credential does not open with the key ring
routes.W002  the draft is not a valid configuration
routes.W003  a provider's address is in a network that it, or the ceiling, does not allow
routes.W004  the draft says something that is allowed and probably not meant
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.core import checks
from django.db.utils import DatabaseError

from routes import crypto
from routes.document.address import network_warning
from routing_project.env import EnvError, get_env

if TYPE_CHECKING:
    from collections.abc import Sequence


@checks.register(checks.Tags.database)
def check_stored_configuration(databases: Sequence[str] | None = None, **_: Any) -> list[checks.CheckMessage]:
    """Looks into the tables, so only where Django asks for database checks."""
    if not databases or "default" not in databases:
        return []
    try:
        return [*_credentials(), *_draft()]
    except DatabaseError:
        return []  # not migrated yet


def _credentials() -> list[checks.CheckMessage]:
    from routes.models import Provider

    found: list[checks.CheckMessage] = []
    for row in Provider.objects.exclude(credential=None):
        try:
            crypto.unseal(bytes(row.credential or b""), row.credential_context)
        except (crypto.SealError, EnvError) as error:
            found.append(
                checks.Warning(
                    f"The credential of provider '{row.slug}' cannot be read: {error}",
                    hint="Put the key it was sealed with back into SIGNALBOX_ENCRYPTION_KEYS, or enter the "
                    "credential again.",
                    id="routes.W001",
                )
            )
    return found


def _draft() -> list[checks.CheckMessage]:
    from routes import draft, lint
    from routes.document import DocumentError

    try:
        configuration = draft.configuration()
    except (DocumentError, ValueError) as error:
        return [
            checks.Warning(
                f"The draft cannot be published: {error}",
                hint="Correct it in the admin, or roll back to a revision.",
                id="routes.W002",
            )
        ]
    ceiling = get_env().upstream_network_ceiling
    return [
        *(
            checks.Warning(
                f"Provider '{provider.slug}': {problem}",
                hint="Set the provider's network, or SIGNALBOX_UPSTREAM_NETWORKS.",
                id="routes.W003",
            )
            for provider in configuration.providers
            if (problem := network_warning(provider.base_url, provider.network, ceiling))
        ),
        *(
            checks.Warning(
                f"The draft: {finding.message}",
                hint=f"Look at {finding.path} in the admin; publishing is not refused.",
                id="routes.W004",
            )
            for finding in lint.findings(configuration)
        ),
    ]
