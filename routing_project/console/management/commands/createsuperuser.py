"""``createsuperuser [NAME]``: another superuser, in the place of Django's command, which leaves no audit entry. Scripts
that were written for Django's work: ``--noinput`` with its variables.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from routes.actions import users
from routes.actions.errors import Invalid
from routes.management.base import ControlCommand
from routing_project.console.management import passwords
from routing_project.env import EnvError, read_secret_variable

if TYPE_CHECKING:
    from django.core.management.base import CommandParser


class Command(ControlCommand):
    help = "Add a user who may do everything. Asks for the password, or reads a line from stdin."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("name", nargs="?")
        parser.add_argument("--username", help="the same as NAME")
        parser.add_argument("--email")
        parser.add_argument(
            "--noinput",
            "--no-input",
            action="store_true",
            help="ask nothing: DJANGO_SUPERUSER_PASSWORD, and _USERNAME and _EMAIL for what is not given",
        )

    def run(self, *, name: str | None, username: str | None, email: str | None, noinput: bool, **_: Any) -> None:
        name = name or username or (_variable("USERNAME") if noinput else "")
        if not name:
            raise Invalid.from_errors([("username", "required: createsuperuser NAME")])
        password = _variable("PASSWORD") if noinput else passwords.ask()
        if noinput and not password:
            raise Invalid.from_errors([("password", "with --noinput, set DJANGO_SUPERUSER_PASSWORD")])
        email = email or (_variable("EMAIL") if noinput else "")
        account = {"username": name, "email": email, "password": password, "is_superuser": True}
        users.create_user(account, actor=self.actor())
        self.stdout.write(f"Superuser {name} can log in now.")


def _variable(name: str) -> str:
    try:
        return read_secret_variable(f"DJANGO_SUPERUSER_{name}")
    except EnvError:
        return ""
