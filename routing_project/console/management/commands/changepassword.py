"""``changepassword [NAME]``: a new password for somebody who forgot it, in the place of Django's command, which leaves
no audit entry."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib.auth.models import User

from routes.actions import users
from routes.actions.errors import Missing
from routes.management.base import ControlCommand
from routing_project.console.management import passwords
from routing_project.env import get_env

if TYPE_CHECKING:
    from django.core.management.base import CommandParser


class Command(ControlCommand):
    help = "Set a user's password, and end the user's sessions. Asks for it, or reads a line from stdin."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("username", nargs="?", help="SIGNALBOX_ADMIN_USER by default")

    def run(self, *, username: str | None, **_: Any) -> None:
        name = username or get_env().admin_user
        user = User.objects.filter(username=name).first()
        if user is None:
            raise Missing(f"there is no user '{name}'")
        users.update_user(user, {"password": passwords.ask()}, actor=self.actor())
        self.stdout.write(f"{name} has a new password.")
