"""Provider: an upstream account or service. Imports only ``routes.models.base``.

The row is the draft. Fields that mirror the configuration document hold values in the document's own form,
validated and with defaults filled in by ``routes.document``. Credential and admin state are live: they act
at once through the overlay and are never part of a revision.
"""

from __future__ import annotations

from django.db import models

from routes.models.base import Resource


class PresentProviders(models.Manager["Provider"]):
    """Providers that have not been deleted."""

    def get_queryset(self) -> models.QuerySet[Provider]:
        return super().get_queryset().filter(deleted_at=None)


class Provider(Resource):
    class Wire(models.TextChoices):
        OPENAI = "openai", "OpenAI"
        ANTHROPIC = "anthropic", "Anthropic"
        GENERIC = "generic", "Generic"

    class Network(models.TextChoices):
        PUBLIC = "public", "Public internet"
        PRIVATE = "private", "Private networks, and public"
        LOOPBACK = "loopback", "This machine, private and public"

    class AdminState(models.TextChoices):
        ACTIVE = "active", "Active"
        DRAINING = "draining", "Draining"
        DISABLED = "disabled", "Disabled"

    slug = models.CharField(max_length=64, unique=True)
    name = models.CharField(max_length=200)
    wire = models.CharField(max_length=16, choices=Wire.choices)
    base_url = models.CharField(max_length=2000)
    network = models.CharField(max_length=16, choices=Network.choices, default=Network.PUBLIC)
    auth = models.JSONField()  # "bearer" | "x-api-key" | "none" | {"header", "prefix"}
    headers = models.JSONField(default=dict, blank=True)
    query = models.JSONField(default=dict, blank=True)
    proxy = models.CharField(max_length=2000, null=True, blank=True)
    region = models.CharField(max_length=64, null=True, blank=True)
    tags = models.JSONField(default=list, blank=True)
    weight = models.FloatField(default=1)
    capacity = models.FloatField(null=True, blank=True)  # seats
    max_concurrency = models.PositiveIntegerField(default=0)  # 0 = unlimited
    model_map = models.JSONField(null=True, blank=True)  # the document's ``models``; null = serves anything
    context = models.JSONField(default=dict, blank=True)  # model -> tokens
    prices = models.JSONField(default=dict, blank=True)
    stream_usage = models.BooleanField(default=True)
    circuit = models.JSONField(default=dict)
    quarantine = models.JSONField(default=dict)
    probe = models.JSONField(default=dict)
    fallback_to_base_url = models.BooleanField(default=False)  # while none of its heads can be used
    head_networks = models.JSONField(default=list, blank=True)  # CIDRs in which heads need no approval

    # -- live -------------------------------------------------------------------------------------
    credential = models.BinaryField(null=True, editable=False)  # sealed; see ``credential_context``
    credential_last4 = models.CharField(max_length=4, default="", editable=False)
    credential_generation = models.PositiveBigIntegerField(default=0, editable=False)
    admin_state = models.CharField(max_length=16, choices=AdminState.choices, default=AdminState.ACTIVE)
    admin_until = models.DateTimeField(null=True, blank=True)
    admin_reason = models.CharField(max_length=500, default="", blank=True)
    admin_by = models.CharField(max_length=200, default="", blank=True)
    # How often quarantines were lifted by hand: those made under another number are void.
    quarantines_cleared = models.PositiveBigIntegerField(default=0, editable=False)

    # Kept when a revision names it, so that a rollback finds it under the same id.
    deleted_at = models.DateTimeField(null=True, editable=False)

    objects = PresentProviders()
    with_deleted = models.Manager["Provider"]()

    class Meta:
        ordering = ["slug"]

    def __str__(self) -> str:
        return self.slug

    @property
    def credential_context(self) -> str:
        """Binds the sealed credential to this row."""
        return f"provider:{self.id}"

    @property
    def has_credential(self) -> bool:
        return self.credential is not None
