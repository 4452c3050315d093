"""Chains the audit log: every entry gets the hash of the one before it and its own.

Ids are given by ``routes.actions.audit`` from here on. What exists is read and written a few thousand entries at a time,
so that millions need no memory; about a minute a million. What exists counts as told on the channel: whoever listens
there is to hear what happens, not years of it at once.

Processes of the release before cannot write entries into this table, as they give no id: until they are replaced, each of
their actions fails and changes nothing. So stop all hosts first, or let nobody act meanwhile; requests are routed on.
"""

from django.db import migrations, models

from routes.audit.chain import FIELDS, NOTHING, document_of, hash_of

BATCH = 5000


def chain(apps, schema_editor):
    connection = schema_editor.connection
    entries = apps.get_model('routes', 'AuditEntry').objects.using(connection.alias).order_by('id')
    columns = [name for name in FIELDS if name != 'previous']
    last, previous, at = None, NOTHING, None
    while rows := list((entries if last is None else entries.filter(id__gt=last)).values(*columns)[:BATCH]):
        links = []
        for row in rows:
            digest = hash_of(document_of({**row, 'previous': previous}))
            links.append((previous, digest, row['id']))
            last, previous, at = row['id'], digest, row['at']
        with connection.cursor() as cursor:
            cursor.executemany('UPDATE routes_auditentry SET previous = %s, hash = %s WHERE id = %s', links)
    if last is not None:
        apps.get_model('routes', 'AuditDelivery').objects.using(connection.alias).create(
            sink='channel', last_id=last, last_hash=previous, last_at=at
        )


class Migration(migrations.Migration):

    dependencies = [
        ('routes', '0004_health'),
    ]

    operations = [
        migrations.CreateModel(
            name='AuditDelivery',
            fields=[
                ('sink', models.CharField(max_length=16, primary_key=True, serialize=False)),
                ('last_id', models.BigIntegerField(default=0)),
                ('last_hash', models.CharField(max_length=64)),
                ('last_at', models.DateTimeField(null=True)),
            ],
        ),
        migrations.RemoveIndex(
            model_name='auditentry',
            name='audit_by_object',
        ),
        migrations.AlterField(
            model_name='auditentry',
            name='id',
            field=models.BigIntegerField(primary_key=True, serialize=False),
        ),
        migrations.AlterField(
            model_name='auditentry',
            name='at',
            field=models.DateTimeField(),
        ),
        migrations.AddField(
            model_name='auditentry',
            name='previous',
            field=models.CharField(default='', max_length=64),
            preserve_default=False,
        ),
        migrations.AddField(
            model_name='auditentry',
            name='hash',
            field=models.CharField(default='', max_length=64),
            preserve_default=False,
        ),
        migrations.RunPython(chain),
        migrations.AddIndex(
            model_name='auditentry',
            index=models.Index(fields=['at'], name='audit_by_at'),
        ),
        migrations.AddIndex(
            model_name='auditentry',
            index=models.Index(fields=['category', 'at'], name='audit_by_category'),
        ),
        migrations.AddIndex(
            model_name='auditentry',
            index=models.Index(fields=['action', 'at'], name='audit_by_action'),
        ),
        migrations.AddIndex(
            model_name='auditentry',
            index=models.Index(fields=['object_type', 'at'], name='audit_by_object_type'),
        ),
        migrations.AddIndex(
            model_name='auditentry',
            index=models.Index(fields=['object_id', 'at'], name='audit_by_object_id'),
        ),
        migrations.AddIndex(
            model_name='auditentry',
            index=models.Index(fields=['object_name', 'at'], name='audit_by_object_name'),
        ),
        migrations.AddIndex(
            model_name='auditentry',
            index=models.Index(fields=['actor_kind', 'at'], name='audit_by_actor_kind'),
        ),
        migrations.AddIndex(
            model_name='auditentry',
            index=models.Index(fields=['actor_id', 'at'], name='audit_by_actor_id'),
        ),
        migrations.AddIndex(
            model_name='auditentry',
            index=models.Index(fields=['actor_name', 'at'], name='audit_by_actor_name'),
        ),
        migrations.AddIndex(
            model_name='auditentry',
            index=models.Index(fields=['client_ip', 'at'], name='audit_by_client_ip'),
        ),
        migrations.AddIndex(
            model_name='auditentry',
            index=models.Index(fields=['request_id', 'at'], name='audit_by_request_id'),
        ),
        migrations.AddConstraint(
            model_name='auditentry',
            constraint=models.UniqueConstraint(fields=('previous',), name='audit_previous'),
        ),
    ]
