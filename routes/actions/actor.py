"""Who acts: a person, an access key, a command or the system itself, and with which scopes.

Every action takes one, asks it for the scope it needs and writes it into the audit entry, so that the same rules
bind API, admin and commands. Imports ``routes.scopes``, the action errors and the request's id only.
"""

from __future__ import annotations

import os
import pwd
from dataclasses import dataclass
from ipaddress import ip_address
from typing import TYPE_CHECKING, Final, Literal

from routes.actions.errors import Forbidden
from routes.scopes import SCOPES, scopes_of_user
from routing_project import request_ids

if TYPE_CHECKING:
    from django.contrib.auth.base_user import AbstractBaseUser
    from django.contrib.auth.models import AnonymousUser
    from django.http import HttpRequest

EVERYTHING = frozenset(SCOPES)
#: The name of who is nobody that Signalbox knows.
STRANGER: Final = "not logged in"


@dataclass(frozen=True, slots=True)
class Actor:
    kind: Literal["user", "key", "command", "system"]
    name: str
    id: str = ""
    scopes: frozenset[str] = frozenset()
    client_ip: str | None = None
    request_id: str = ""

    @classmethod
    def user(cls, user: AbstractBaseUser | AnonymousUser, request: HttpRequest | None = None) -> Actor:
        """A person, in the browser or by session; scopes come from their permissions."""
        return cls("user", user.get_username(), str(user.pk), scopes_of_user(user), *_origin(request))

    @classmethod
    def key(cls, id: str, name: str, scopes: frozenset[str], request: HttpRequest | None = None) -> Actor:  # noqa: A002
        """An access key; ``scopes`` with all they include."""
        return cls("key", name, id, scopes, *_origin(request))

    @classmethod
    def stranger(cls, request: HttpRequest | None) -> Actor:
        """Somebody who has not said who they are, or not truly; may do nothing."""
        return cls("system", STRANGER, "", frozenset(), *_origin(request))

    @classmethod
    def command(cls, command: str) -> Actor:
        """Somebody at the machine's own command line, who owns the data folder and may do everything."""
        try:
            account = pwd.getpwuid(os.getuid()).pw_name
        except KeyError:
            account = str(os.getuid())
        return cls("command", f"{command} ({account})", scopes=EVERYTHING, request_id=request_ids.current())

    @classmethod
    def system(cls, name: str) -> Actor:
        """A task of ours; of a request, if one has caused it."""
        return cls("system", name, scopes=EVERYTHING, request_id=request_ids.current())

    def require(self, scope: str) -> None:
        """Raise Forbidden unless the actor has ``scope``."""
        if scope not in self.scopes:
            raise Forbidden(f"this needs the scope '{scope}'")


def _origin(request: HttpRequest | None) -> tuple[str | None, str]:
    """(client address, request id); what is not an address is left out."""
    request_id = request_ids.current()
    if request is None:
        return None, request_id
    try:
        client_ip: str | None = str(ip_address(request.META.get("REMOTE_ADDR", "")))
    except ValueError:
        client_ip = None
    return client_ip, request_id
