"""What a fresh installation needs before it can run: tables, cache table, static files, the first admin.

Every step looks first and does nothing when nothing is missing, so that a second start is quick. Called by
``manage.py setup``; the demo is in ``demo``.
"""

from __future__ import annotations

import hashlib
import secrets
from pathlib import Path
from typing import TYPE_CHECKING

from django.conf import settings
from django.contrib.staticfiles.finders import get_finders
from django.core.management import call_command
from django.db import DEFAULT_DB_ALIAS, connection
from django.db.migrations.executor import MigrationExecutor

from routes.actions import users
from routes.actions.actor import Actor
from routes.actions.errors import Invalid

if TYPE_CHECKING:
    from routing_project.env import Env

STATIC_STAMP = ".collected"


def migrate() -> bool:
    """Bring the tables up to date; True when there was something to do. Costs two queries when there is not."""
    executor = MigrationExecutor(connection)
    plan = executor.migration_plan(executor.loader.graph.leaf_nodes())
    if plan:
        call_command("migrate", interactive=False, verbosity=0, database=DEFAULT_DB_ALIAS)
    table = settings.CACHES["default"]["LOCATION"]
    if table not in connection.introspection.table_names():
        call_command("createcachetable", verbosity=0)
    return bool(plan)


def collect_static() -> bool:
    """Copy, hash and compress the static files when one of them changed; True when it did. Costs a stat per file."""
    root = Path(settings.STATIC_ROOT)
    stamp = root / STATIC_STAMP
    wanted = _static_digest()
    if stamp.exists() and stamp.read_text() == wanted:
        return False
    stamp.unlink(missing_ok=True)
    call_command("collectstatic", interactive=False, verbosity=0)
    stamp.write_text(wanted)
    return True


def _static_digest() -> str:
    digest = hashlib.sha256(settings.STORAGES["staticfiles"]["BACKEND"].encode())
    for finder in get_finders():
        for path, storage in finder.list([]):
            status = Path(storage.path(path)).stat()
            digest.update(f"{path}:{status.st_size}:{status.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def first_admin(env: Env) -> tuple[str, str | None]:
    """The admin's name, and the password if this call made one up. Does nothing while an admin can log in.
    Raises Invalid, naming the setting."""
    existing = users.admins().order_by("-is_superuser", "pk").first()
    if existing is not None:
        return existing.get_username(), None
    password = env.admin_password or secrets.token_urlsafe(12)
    try:
        user, made = users.first_admin(env.admin_user, password, actor=Actor.command("setup"))
    except Invalid as error:
        raise Invalid.from_errors(("SIGNALBOX_ADMIN_USER", text) for text in error.fields["username"]) from None
    return user.get_username(), password if made and not env.admin_password else None
