"""HealthEvent: one change of state of a target, provider or head. Together they are the timeline that operators read.

Imports nothing of the project. Written by ``health.events``; never changed, removed by retention.
"""

from __future__ import annotations

from django.db import models


class HealthEvent(models.Model):
    class Kind(models.TextChoices):
        CIRCUIT = "circuit", "Circuit"
        OBSERVED = "observed", "Observed state"
        ADMIN = "admin", "Admin state"
        QUARANTINE = "quarantine", "Quarantine"
        HEAD = "head", "Head"
        BUDGET = "budget", "Budget"  # of an access key: told by gateways in the same way

    id = models.BigAutoField(primary_key=True)
    at = models.DateTimeField()
    kind = models.CharField(max_length=16, choices=Kind.choices)
    # Ids and names as they were: the timeline outlives what it tells of.
    provider_id = models.UUIDField(null=True)
    provider = models.CharField(max_length=64, blank=True)  # slug
    target_id = models.UUIDField(null=True)
    subject = models.CharField(max_length=500)  # for people: the target's label, a head, a key
    before = models.CharField(max_length=32, blank=True)
    after = models.CharField(max_length=32)
    reason = models.CharField(max_length=64)  # a stable code, see ``health.words``
    # {"outcomes": [{"at", "ok", "error_class", "http_status", "source"}], "until", "model", "note", …}: times are Unix
    # time, outcomes come oldest first.
    detail = models.JSONField(default=dict)
    actor = models.CharField(max_length=200)  # "traffic", "probe", "clock", or who acted
    # Where the host's live state has it, so that it is written once however often it is read; null = not from there.
    origin = models.CharField(max_length=64, null=True, unique=True)

    class Meta:
        ordering = ["-at", "-id"]
        indexes = [
            models.Index(fields=["-at", "-id"], name="event_by_time"),  # the board's timeline, and retention
            models.Index(fields=["target_id", "-at"], name="event_by_target"),  # GET circuits/{target}/transitions/
            models.Index(fields=["provider_id", "-at"], name="event_by_provider"),  # the timeline of one provider
        ]

    def __str__(self) -> str:
        return f"{self.kind} of {self.subject}: {self.before or 'new'} -> {self.after}"


class Collected(models.Model):
    """How far a host's log has been written down here: lines below ``number`` are."""

    host = models.CharField(max_length=64, primary_key=True)
    number = models.PositiveBigIntegerField(default=0)

    def __str__(self) -> str:
        return f"{self.host}: {self.number}"
