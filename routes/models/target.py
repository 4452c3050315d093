"""What people decided about single targets. Live: it acts at once and is never part of a revision.

Imports only the provider beside it.
"""

from __future__ import annotations

from django.db import models

from routes.models.provider import Provider


class TargetOverride(models.Model):
    """One row per target that anybody ever acted on, keyed by the target's stable id (see ``engine.provider``).

    ``forced`` holds the target's circuit open or closed until ``forced_until``, null = until it is reset.
    ``circuit_acted_at`` is when it was forced or reset last: gateways do each act once.
    """

    class Forced(models.TextChoices):
        NOT = "", "Not forced"
        OPEN = "open", "Held open"
        CLOSED = "closed", "Held closed"

    id = models.UUIDField(primary_key=True, editable=False)
    provider = models.ForeignKey(Provider, models.CASCADE, related_name="target_overrides")
    label = models.CharField(max_length=500)  # for people, as the engine calls the target

    admin_state = models.CharField(
        max_length=16, choices=Provider.AdminState.choices, default=Provider.AdminState.ACTIVE
    )
    admin_until = models.DateTimeField(null=True, blank=True)
    admin_reason = models.CharField(max_length=500, default="", blank=True)
    admin_by = models.CharField(max_length=200, default="", blank=True)

    forced = models.CharField(max_length=8, choices=Forced.choices, default=Forced.NOT, blank=True)
    forced_until = models.DateTimeField(null=True, blank=True)
    forced_reason = models.CharField(max_length=500, default="", blank=True)
    forced_by = models.CharField(max_length=200, default="", blank=True)
    circuit_acted_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["label"]

    def __str__(self) -> str:
        return self.label
