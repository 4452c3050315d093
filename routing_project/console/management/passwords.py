"""How commands ask for a password: twice at a terminal, else one line of what is piped in. Never an argument, which
other users of the machine could read.
"""

from __future__ import annotations

import sys
from getpass import getpass

from routes.actions.errors import Invalid


def ask() -> str:
    """Raises Invalid when the two are not the same."""
    if not sys.stdin.isatty():
        return sys.stdin.readline().rstrip("\r\n")
    password = getpass("Password: ")
    if getpass("The same again: ") != password:
        raise Invalid.from_errors([("password", "these are two different passwords")])
    return password
