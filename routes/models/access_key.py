"""AccessKey: what a client authenticates with. Only its hash is stored. Imports ``routes.models.base``.

Keys are live: they act at once through the overlay and never wait for a publish. A profile is named by slug,
not by a foreign key, because a rollback may remove a profile that a key still names (requests then get
``profile_not_found`` until it is back).
"""

from __future__ import annotations

from django.db import models
from django.utils import timezone

from routes.models.base import Resource


class AccessKey(Resource):
    class Scope(models.TextChoices):
        ROUTE = "route", "Route requests"
        READ = "read", "Read the control API"
        OPERATE = "operate", "Operate: health and admin states"
        ADMIN = "admin", "Administer: configuration, keys, publishing"

    class Allow(models.TextChoices):
        DEBUG = "debug", "Debug headers"
        OVERRIDES = "overrides", "Strategy and provider overrides"

    name = models.CharField(max_length=200, unique=True)
    prefix = models.CharField(max_length=12, editable=False)
    last4 = models.CharField(max_length=4, editable=False)
    digest = models.CharField(max_length=64, unique=True, editable=False)  # SHA-256 of the whole value, hex
    profile = models.CharField(max_length=64, default="default")
    scopes = models.JSONField(default=list)
    enabled = models.BooleanField(default=True)
    expires = models.DateTimeField(null=True, blank=True)
    region = models.CharField(max_length=64, null=True, blank=True)
    tags = models.JSONField(default=list, blank=True)
    allowed_models = models.JSONField(null=True, blank=True)  # globs; null = any
    allowed_profiles = models.JSONField(null=True, blank=True)  # slugs; null = any
    allow = models.JSONField(default=list, blank=True)
    limits = models.JSONField(default=dict)

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name

    @property
    def expired(self) -> bool:
        return self.expires is not None and self.expires <= timezone.now()

    @property
    def usable(self) -> bool:
        return self.enabled and not self.expired
