"""PostgreSQL: route_history and its children become tables partitioned by day. SQLite: nothing.

Rows stay where they are: the table of before becomes the partition of everything up to the day after tomorrow, with the
indexes it has. That it holds nothing else is checked by reading it once, during which nobody writes history (some
seconds for a million rows); the journal keeps what arrives meanwhile.
"""

from datetime import UTC, datetime, timedelta

from django.db import migrations

from history.ids import first_id, time_of

#: As they were called when this was written, parents before children.
TABLES = ("route_history", "route_attempts", "route_history_metrics", "route_payloads")
AHEAD_DAYS = 7
#: A clock that ran ahead wrote no more than this; they are moved, so that the old partition can end soon.
FEW = 100_000
DAY = timedelta(days=1)


def lock(apps, schema_editor):
    """All tables, in the order a shipper writes to them. Else dropping an index of a child would lock that first, and
    a shipper between a route and its attempts would end in a deadlock with us."""
    if schema_editor.connection.vendor == "postgresql":
        known = {model._meta.db_table for model in apps.get_app_config("history").get_models()}
        for table in TABLES:
            if table in known:
                schema_editor.execute(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")


def partition(apps, schema_editor):
    if schema_editor.connection.vendor != "postgresql":
        return
    models = {model._meta.db_table: model for model in apps.get_app_config("history").get_models()}
    with schema_editor.connection.cursor() as cursor:
        today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        boundary = today + 2 * DAY
        for table in TABLES:
            if table not in models:
                continue
            if table == TABLES[0]:
                boundary = _after_most(cursor, table, boundary)
            _convert(schema_editor, cursor, models[table], today, boundary)


def _after_most(cursor, table, boundary):
    """``boundary``, or the end of the newest row's day if there is much behind it (then our own clock is wrong)."""
    cursor.execute(
        f"SELECT count(*) FROM (SELECT 1 FROM {table} WHERE id >= %s LIMIT %s) AS beyond", [first_id(boundary), FEW + 1]
    )
    if cursor.fetchone()[0] <= FEW:
        return boundary
    cursor.execute(f"SELECT id FROM {table} ORDER BY id DESC LIMIT 1")
    newest = time_of(cursor.fetchone()[0])
    return newest.replace(hour=0, minute=0, second=0, microsecond=0) + DAY


def _convert(schema_editor, cursor, model, today, boundary):
    table = model._meta.db_table
    old = f"{table}_old"
    columns = ", ".join(f'"{field.column}"' for field in model._meta.local_concrete_fields)
    cursor.execute(f"SELECT EXISTS (SELECT FROM {table})")
    (filled,) = cursor.fetchone()
    if filled:
        cursor.execute(f"ALTER TABLE {table} RENAME TO {old}")
        # The names of its indexes, the primary key's too, are wanted for the new table's.
        cursor.execute(
            "SELECT relname FROM pg_index JOIN pg_class ON oid = indexrelid WHERE indrelid = %s::regclass", [old]
        )
        for (index,) in cursor.fetchall():
            cursor.execute(f'ALTER INDEX "{index}" RENAME TO "{index[:59]}_old"')
    else:
        cursor.execute(f"DROP TABLE {table}")
    sql, parameters = schema_editor.table_sql(model)
    schema_editor.execute(f"{sql} PARTITION BY RANGE (id)", parameters or None)
    for index in model._meta.indexes:
        schema_editor.add_index(model, index)
    cursor.execute(f"CREATE TABLE {table}_default PARTITION OF {table} DEFAULT")
    day = boundary if filled else today - DAY
    while day <= today + AHEAD_DAYS * DAY:
        cursor.execute(
            f"CREATE TABLE {table}_p{day:%Y%m%d} PARTITION OF {table} "
            f"FOR VALUES FROM ('{first_id(day)}') TO ('{first_id(day + DAY)}')"
        )
        day += DAY
    if filled:
        cursor.execute(
            f"WITH beyond AS (DELETE FROM {old} WHERE id >= %s RETURNING {columns}) "
            f"INSERT INTO {table} ({columns}) SELECT {columns} FROM beyond",
            [first_id(boundary)],
        )
        cursor.execute(
            f"ALTER TABLE {table} ATTACH PARTITION {old} FOR VALUES FROM (MINVALUE) TO ('{first_id(boundary)}')"
        )


class Migration(migrations.Migration):

    dependencies = [
        ("history", "0006_smaller_rows"),
    ]

    operations = [
        migrations.RunPython(lock),
        migrations.AlterModelOptions(name="routeattempt", options={"ordering": ("history_id", "ordinal")}),
        migrations.AlterModelOptions(name="routehistorymetric", options={"ordering": ("history_id", "timestamp", "id")}),
        # A route's children are found by the primary key (ids.same_moment).
        migrations.RemoveIndex(model_name="routeattempt", name="attempt_history"),
        migrations.RemoveIndex(model_name="routehistorymetric", name="metric_history"),
        migrations.RunPython(partition),
    ]
