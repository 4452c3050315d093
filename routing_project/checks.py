"""Django's system checks for the environment: what ``serve`` refuses, said by ``manage.py check`` too, with ids.

The findings themselves are in ``preflight``, which works without Django. ``check --database default`` says besides
whether the database answers; other checks of the database have nothing to say while it does not.

signalbox.E010  the database cannot be reached, or does not answer
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.core import checks
from django.core.checks import CheckMessage, Error, Tags, register
from django.db import connections
from django.db.utils import DatabaseError

from routing_project.env import EnvError, get_env
from routing_project.preflight import findings
from routing_project.redaction import redact_text

if TYPE_CHECKING:
    from collections.abc import Sequence


@register("signalbox")
def check_environment(**_options: Any) -> list[CheckMessage]:
    """Settings that cannot work (errors) or should be looked at (warnings)."""
    env = get_env()
    messages: list[CheckMessage] = []
    for finding in findings(env):
        kind = Error if finding.refuses else checks.Warning
        messages.append(kind(finding.message, hint=finding.hint, id=finding.id))
    try:
        env.encryption_keys  # noqa: B018 - reading is what checks them
    except EnvError as error:
        messages.append(Error(str(error), hint="Use base64 of 32 random bytes.", id="signalbox.E004"))
    except OSError as error:
        hint = "Make the folder writable for this user, or set SIGNALBOX_ENCRYPTION_KEYS."
        messages.append(Error(f"Cannot keep keys in {env.data}: {error.strerror}.", hint=hint, id="signalbox.E005"))
    return messages


@register(Tags.database)
def check_database(databases: Sequence[str] | None = None, **_options: Any) -> list[CheckMessage]:
    """Asks each database for the names of its tables; waits as long as connecting may take. Of an SQLite file that
    cannot be opened Django's own checks tell, before this one."""
    found: list[CheckMessage] = []
    for alias in databases or ():
        try:
            connections[alias].introspection.table_names()
        except DatabaseError as error:
            reason = " ".join(redact_text(str(error)).split())
            hint = "See docs/runbooks/DatabaseAway.md."
            found.append(Error(f"The database '{alias}' cannot be used: {reason}", hint=hint, id="signalbox.E010"))
    return found
