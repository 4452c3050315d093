"""This installation's identity and the counter of its live overlay. Imports nothing of the project."""

from __future__ import annotations

import uuid

from django.db import models


class Installation(models.Model):
    """One row. Gateways only take files that carry its ``uuid``, so that two installations never mix.

    The row is also the lock under which revisions are numbered: whoever publishes holds it.
    """

    id = models.PositiveSmallIntegerField(primary_key=True, default=1, editable=False)
    uuid = models.UUIDField(default=uuid.uuid4, editable=False)
    overlay_version = models.PositiveBigIntegerField(default=0, editable=False)

    class Meta:
        # What a role may do, apart from the model permissions that Django's admin asks for.
        permissions = [
            ("control_read", "Read everything but credentials and payload copies"),
            ("control_operate", "Act on health, heads and admin states"),
            ("control_admin", "Change configuration, keys and users; publish"),
        ]

    def __str__(self) -> str:
        return str(self.uuid)

    @classmethod
    def get(cls, *, lock: bool = False) -> Installation:
        """The row, made on first use. ``lock`` needs a transaction; one query, two on the very first call."""
        rows = cls.objects.select_for_update() if lock else cls.objects
        row = rows.filter(pk=1).first()
        if row is None:
            cls.objects.get_or_create(pk=1)
            row = rows.get(pk=1)
        return row
