"""``manage.py setup``: make an installation ready to run; quick and harmless when it already is.

``serve --setup`` runs it in a process of its own and reads what there is to tell from ``--report-fd``, so that the
password and the key are printed once everything answers, and never written to a file.
"""

from __future__ import annotations

import json
import logging
import os
import sqlite3
from typing import TYPE_CHECKING, Any

from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError, OperationalError

from routes.actions.actor import Actor
from routes.actions.errors import Invalid
from routing_project import announce, logs
from routing_project.console import demo, installation
from routing_project.env import get_env
from routing_project.preflight import DATABASE_AWAY

if TYPE_CHECKING:
    from argparse import ArgumentParser


class Command(BaseCommand):
    help = "Create or update tables, static files, the first admin and, on an empty database, the demo."
    # A database that cannot be reached is one line here, not a traceback from the checks.
    requires_system_checks = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--report-fd", type=int, help="write the report as JSON to this descriptor")

    def handle(self, *, report_fd: int | None, **_options: Any) -> None:
        env = get_env()
        logs.start_command("setup", logging.INFO)
        try:
            env.make_folders()
            installation.migrate()
            installation.collect_static()
            report: dict[str, Any] = dict(
                zip(("admin_user", "admin_password"), installation.first_admin(env), strict=True)
            )
            if env.demo and demo.wanted():
                report |= demo.create(env, Actor.command("setup"))
        except OperationalError as error:
            raise CommandError(_reason(error), returncode=1 if _locked(error) else DATABASE_AWAY) from None
        except Invalid as error:
            raise CommandError(error.message) from None
        except (DatabaseError, OSError) as error:
            raise CommandError(_reason(error)) from None
        if report_fd is not None:
            with os.fdopen(report_fd, "w") as stream:
                json.dump(report, stream)
        else:
            self.stdout.write(announce.credentials(env, report))


def _locked(error: Exception) -> bool:
    return isinstance(error.__cause__, sqlite3.Error) and "locked" in str(error)


def _reason(error: Exception) -> str:
    env = get_env()
    text = " ".join(str(error).split())
    if _locked(error):
        return f"the database {env.database_path} is locked by another program; close it and start again."
    if isinstance(error, DatabaseError):
        where = "DATABASE_URL" if env.database_url else str(env.database_path)
        return f"cannot use the database ({where}): {text}"
    return f"cannot set up {env.data}: {text}"
