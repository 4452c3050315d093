"""AuditEntry: who did what, when. Written by ``routes.actions.audit`` in the transaction of the change.

Each entry carries the hash of the one before it and its own (``routes.audit.chain``): what is changed or removed
afterwards does not fit any more. AuditDelivery: how far the entries have been told outside.
"""

from __future__ import annotations

from django.db import models

from routes.models.base import AppendOnly, AppendOnlyManager


class AuditEntry(AppendOnly):
    class Category(models.TextChoices):
        ADMIN = "admin", "Administration"
        POLICY = "policy", "Policy"
        HEAD = "head", "Heads"
        ROUTING = "routing", "Routing"
        AUTH = "auth", "Access"
        EXPORT = "export", "Export"

    # Given by whoever holds the lock on the chain, one more than the last: in the order of commits, without gaps.
    id = models.BigIntegerField(primary_key=True)
    at = models.DateTimeField()
    category = models.CharField(max_length=16, choices=Category.choices)
    action = models.CharField(max_length=64)
    object_type = models.CharField(max_length=32)
    object_id = models.CharField(max_length=64, blank=True)
    object_name = models.CharField(max_length=200, blank=True)
    actor_kind = models.CharField(max_length=16)  # user | key | command | system
    actor_id = models.CharField(max_length=64, blank=True)
    actor_name = models.CharField(max_length=200)
    client_ip = models.GenericIPAddressField(null=True, blank=True)
    request_id = models.CharField(max_length=64, blank=True)
    reason = models.TextField(blank=True)
    changes = models.JSONField(default=dict)  # field -> [before, after]; a credential is "changed"
    previous = models.CharField(max_length=64)  # hash of the entry before; zeros in the first
    hash = models.CharField(max_length=64)

    objects = AppendOnlyManager["AuditEntry"]()

    class Meta:
        ordering = ["-id"]
        verbose_name = "audit entry"
        verbose_name_plural = "audit entries"
        constraints = [
            # The chain cannot fork, whatever becomes of the lock.
            models.UniqueConstraint(fields=["previous"], name="audit_previous"),
        ]
        # Lists are newest first by time, the filter before it: `WHERE filter = … ORDER BY at DESC, id DESC LIMIT 51`.
        indexes = [
            # GET /api/v1/audit/ without a filter, `from` and `to`; and how delivery goes on behind a moment
            models.Index(fields=["at"], name="audit_by_at"),
            models.Index(fields=["category", "at"], name="audit_by_category"),  # ?category=
            models.Index(fields=["action", "at"], name="audit_by_action"),  # ?action=; health/acts.py catching up
            models.Index(fields=["object_type", "at"], name="audit_by_object_type"),  # ?object_type=
            models.Index(fields=["object_id", "at"], name="audit_by_object_id"),  # ?object_id=; History in the admin
            models.Index(fields=["object_name", "at"], name="audit_by_object_name"),  # ?object_name=
            models.Index(fields=["actor_kind", "at"], name="audit_by_actor_kind"),  # ?actor_kind=
            models.Index(fields=["actor_id", "at"], name="audit_by_actor_id"),  # ?actor_id=
            models.Index(fields=["actor_name", "at"], name="audit_by_actor_name"),  # ?actor_name=
            models.Index(fields=["client_ip", "at"], name="audit_by_client_ip"),  # ?client_ip=
            models.Index(fields=["request_id", "at"], name="audit_by_request_id"),  # ?request_id=
        ]

    def __str__(self) -> str:
        return f"{self.actor_name}: {self.action} {self.object_name}"


class AuditDelivery(models.Model):
    """How far a sink that all hosts share has been told: the channel. A host's file keeps its own place beside it."""

    sink = models.CharField(max_length=16, primary_key=True)
    last_id = models.BigIntegerField(default=0)
    last_hash = models.CharField(max_length=64)
    last_at = models.DateTimeField(null=True)

    def __str__(self) -> str:
        return f"{self.sink} up to {self.last_id}"
