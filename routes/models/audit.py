"""AuditEntry: who did what, when. Written by ``routes.actions.audit`` in the transaction of the change."""

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

    id = models.BigAutoField(primary_key=True)
    at = models.DateTimeField(db_index=True)
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

    objects = AppendOnlyManager["AuditEntry"]()

    class Meta:
        ordering = ["-id"]
        verbose_name = "audit entry"
        verbose_name_plural = "audit entries"
        indexes = [models.Index(fields=["object_type", "object_id"], name="audit_by_object")]

    def __str__(self) -> str:
        return f"{self.actor_name}: {self.action} {self.object_name}"
