"""Profile and its ordered targets. Imports only ``routes.models.base``. The rows are the draft."""

from __future__ import annotations

from django.db import models

from routes.models.base import Resource


class Profile(Resource):
    slug = models.CharField(max_length=64, unique=True)
    name = models.CharField(max_length=200)
    strategy = models.CharField(max_length=64, default="failover")
    params = models.JSONField(default=dict, blank=True)
    failover = models.JSONField(default=dict)
    accounting = models.CharField(max_length=16, default="when_asked")

    class Meta:
        ordering = ["slug"]

    def __str__(self) -> str:
        return self.slug


class ProfileTarget(models.Model):
    """One place of a profile. Replaced as a whole with its profile, whose version covers it."""

    profile = models.ForeignKey(Profile, on_delete=models.CASCADE, related_name="targets")
    provider = models.ForeignKey("routes.Provider", on_delete=models.PROTECT, related_name="targets")
    position = models.PositiveSmallIntegerField()
    model = models.CharField(max_length=200, null=True, blank=True)  # null = the model the client asked for
    weight = models.FloatField(null=True, blank=True)  # null = the provider's
    tier = models.PositiveSmallIntegerField(default=0)

    class Meta:
        ordering = ["profile", "position"]
        constraints = [models.UniqueConstraint(fields=["profile", "position"], name="one_target_per_position")]

    def __str__(self) -> str:
        return f"{self.provider_id}/{self.model or '*'}"
