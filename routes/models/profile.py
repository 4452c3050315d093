"""Profile, its ordered targets, its smart rules and theirs. Imports only ``routes.models.base``. The rows are the
draft.

A profile's version covers all of it, rules included; a rule's covers what the rule itself says, not its position,
which other rules change by moving.
"""

from __future__ import annotations

from django.db import models

from routes.models.base import Resource


class Profile(Resource):
    slug = models.CharField(max_length=64, unique=True)
    name = models.CharField(max_length=200)
    strategy = models.CharField(max_length=64, default="failover")
    params = models.JSONField(default=dict, blank=True)
    affinity = models.JSONField(default=dict)
    failover = models.JSONField(default=dict)
    limits = models.JSONField(default=dict)
    scenario = models.JSONField(default=dict)
    accounting = models.CharField(max_length=16, default="when_asked")
    require_tags = models.BooleanField(default=False)

    class Meta:
        ordering = ["slug"]

    def __str__(self) -> str:
        return self.slug


class Rule(Resource):
    """One smart rule. Rules of a profile are numbered without gaps."""

    profile = models.ForeignKey(Profile, on_delete=models.CASCADE, related_name="rules")
    position = models.PositiveSmallIntegerField()
    name = models.CharField(max_length=200)
    description = models.TextField(default="", blank=True)
    enabled = models.BooleanField(default=True)
    when = models.JSONField()  # the condition's canonical tree
    strategy = models.CharField(max_length=64, null=True, blank=True)  # null = the profile's
    params = models.JSONField(null=True, blank=True)  # null = the profile's
    fallback_to_profile = models.BooleanField(default=True)

    class Meta:
        ordering = ["profile", "position"]
        constraints = [models.UniqueConstraint(fields=["profile", "name"], name="one_rule_per_name")]
        indexes = [models.Index(fields=["profile", "position"], name="rule_by_position")]

    def __str__(self) -> str:
        return self.name


class Place(models.Model):
    """A target at its place. Replaced as a whole with what it belongs to, whose version covers it."""

    position = models.PositiveSmallIntegerField()
    model = models.CharField(max_length=200, null=True, blank=True)
    weight = models.FloatField(null=True, blank=True)
    tier = models.PositiveSmallIntegerField(default=0)

    class Meta:
        abstract = True


class ProfileTarget(Place):
    """``model`` null = what the client asked for, ``weight`` null = the provider's."""

    profile = models.ForeignKey(Profile, on_delete=models.CASCADE, related_name="targets")
    provider = models.ForeignKey("routes.Provider", on_delete=models.PROTECT, related_name="targets")

    class Meta:
        ordering = ["profile", "position"]
        constraints = [models.UniqueConstraint(fields=["profile", "position"], name="one_target_per_position")]

    def __str__(self) -> str:
        return f"{self.provider_id}/{self.model or '*'}"


class RuleTarget(Place):
    """``model`` and ``weight`` null = what the profile's first target of that provider has."""

    rule = models.ForeignKey(Rule, on_delete=models.CASCADE, related_name="targets")
    provider = models.ForeignKey("routes.Provider", on_delete=models.PROTECT, related_name="rule_targets")

    class Meta:
        ordering = ["rule", "position"]
        constraints = [models.UniqueConstraint(fields=["rule", "position"], name="one_rule_target_per_position")]

    def __str__(self) -> str:
        return f"{self.provider_id}/{self.model or '*'}"
