"""Head: one backend instance that registered itself under a provider. Imports the provider's model only.

Live: registrations and approvals act through the overlay, at once. What moves with every heartbeat (load, liveness,
what it reports of itself) is in the hosts' live state and not here.
"""

from __future__ import annotations

import uuid

from django.db import models

from routes.models import Provider


class Head(models.Model):
    class Reported(models.TextChoices):
        ACTIVE = "active", "Active"
        DRAINING = "draining", "Draining"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    head_id = models.CharField(max_length=200, unique=True)
    provider = models.ForeignKey(Provider, models.CASCADE, related_name="heads")
    endpoint = models.CharField(max_length=2000)
    region = models.CharField(max_length=64, null=True, blank=True)
    model_type = models.CharField(max_length=200, blank=True)
    version = models.CharField(max_length=64, blank=True)
    capacity = models.FloatField(null=True, blank=True)  # requests at once; null = not known
    metadata = models.JSONField(default=dict, blank=True)  # {"max_model_size", "capabilities", anything else}
    generation = models.PositiveBigIntegerField(default=1)  # rises with every registration
    registered_at = models.DateTimeField()
    registered_by = models.CharField(max_length=200, blank=True)
    approved = models.BooleanField(default=False)
    approved_at = models.DateTimeField(null=True)
    approved_by = models.CharField(max_length=200, blank=True)
    # As the last event told it; the truth of the moment is in the live state.
    online = models.BooleanField(default=True)
    reported = models.CharField(max_length=16, choices=Reported.choices, default=Reported.ACTIVE)
    seen_at = models.DateTimeField()  # at least once a minute while it is online

    class Meta:
        ordering = ["head_id"]

    def __str__(self) -> str:
        return self.head_id
