"""Django's system checks for the environment: what ``serve`` refuses, said by ``manage.py check`` too, with ids.

The findings themselves are in ``preflight``, which works without Django.
"""

from __future__ import annotations

from typing import Any

from django.core import checks
from django.core.checks import CheckMessage, Error, register

from routing_project.env import EnvError, get_env
from routing_project.preflight import findings


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
