"""How test databases come to be and are emptied again.

Migrations run once in a run: every process of it begins with a copy. A test that commits leaves its rows to be deleted,
where Django would empty every table and then write permissions, content types and roles anew, which takes longer than
most such tests.
"""

from __future__ import annotations

import fcntl
import shutil
from typing import TYPE_CHECKING, Any

from django.core.management import call_command
from django.db import connections, transaction
from django.test import TransactionTestCase

from tests.servers import FOLDER

if TYPE_CHECKING:
    from collections.abc import Iterable

#: What migrating leaves in an empty database; tests that commit leave it alone.
LASTING = ("django_migrations", "django_content_type", "auth_permission", "auth_group", "auth_group_permissions")
_FINGERPRINT = (
    "SELECT (SELECT count(*) FROM django_content_type), (SELECT count(*) FROM auth_permission), "
    "(SELECT count(*) FROM auth_group), (SELECT count(*) FROM auth_group_permissions), "
    "(SELECT sum(permission_id) FROM auth_group_permissions)"
)
_left: dict[str, Any] = {}  # alias -> the fingerprint after it was first emptied


def prepare(aliases: Iterable[str]) -> None:
    """Before test databases are made: let them begin as copies of migrated ones."""
    for alias in sorted(aliases):  # the default one first: migrations may write there whatever they migrate
        settings = connections.databases[alias]
        migrated = FOLDER / f"{alias}.migrated"
        with (FOLDER / f"{alias}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not migrated.exists():
                _migrate(alias)
                migrated.touch()
        if connections[alias].vendor == "sqlite":
            shutil.copy(settings["NAME"], settings["TEST"]["NAME"])
        else:
            settings["TEST"]["TEMPLATE"] = settings["NAME"]


def _migrate(alias: str) -> None:
    connection = connections[alias]
    if connection.vendor != "sqlite":
        with connection._nodb_cursor() as cursor:
            cursor.execute(f"CREATE DATABASE {connection.ops.quote_name(connection.settings_dict['NAME'])}")
    call_command("migrate", verbosity=0, interactive=False, database=alias)
    if connection.vendor == "sqlite":
        with connection.cursor() as cursor:
            cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()


def _empty(case: TransactionTestCase) -> None:
    """In place of Django's own way; which is taken for the first time, and when something lasting was touched."""
    for alias in case._databases_names(include_mirrors=False):
        if alias not in _left or _fingerprint(alias) != _left[alias]:
            call_command("flush", verbosity=0, interactive=False, database=alias, reset_sequences=False)
            _left[alias] = _fingerprint(alias)
        else:
            _delete(alias)


def _fingerprint(alias: str) -> Any:
    with connections[alias].cursor() as cursor:
        cursor.execute(_FINGERPRINT)
        return cursor.fetchone()


def _delete(alias: str) -> None:
    connection = connections[alias]
    names = set(connection.introspection.django_table_names(only_existing=True, include_views=False)) - set(LASTING)
    tables = [connection.ops.quote_name(name) for name in sorted(names)]
    with transaction.atomic(using=alias), connection.cursor() as cursor:  # foreign keys are checked at its end
        cursor.execute("SELECT " + ", ".join(f"EXISTS (SELECT 1 FROM {table})" for table in tables))
        for table, filled in zip(tables, cursor.fetchone(), strict=True):
            if filled:
                cursor.execute(f"DELETE FROM {table}")


TransactionTestCase._fixture_teardown = _empty
