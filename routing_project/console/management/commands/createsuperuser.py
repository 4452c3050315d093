"""``createsuperuser NAME``: another superuser, in the place of Django's command, which leaves no audit entry."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from routes.actions import users
from routes.management.base import ControlCommand
from routing_project.console.management import passwords

if TYPE_CHECKING:
    from django.core.management.base import CommandParser


class Command(ControlCommand):
    help = "Add a user who may do everything. Asks for the password, or reads a line from stdin."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("username")
        parser.add_argument("--email", default="")

    def run(self, *, username: str, email: str, **_: Any) -> None:
        account = {"username": username, "email": email, "password": passwords.ask(), "is_superuser": True}
        users.create_user(account, actor=self.actor())
        self.stdout.write(f"Superuser {username} can log in now.")
