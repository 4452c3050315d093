"""Alerts: where they are told (channels), of what (rules), what is going on (alerts), and every message (deliveries).

Live: channels and rules act at once and are no part of a revision. Deliveries and alerts are removed by retention.
Imports ``routes.models.base`` only.
"""

from __future__ import annotations

import uuid

from django.db import models

from routes.models.base import Resource


class AlertChannel(Resource):
    class Kind(models.TextChoices):
        WEBHOOK = "webhook", "Webhook"
        SLACK = "slack", "Slack"
        DISCORD = "discord", "Discord"
        EMAIL = "email", "E-mail"

    class Network(models.TextChoices):
        PUBLIC = "public", "Public internet"
        PRIVATE = "private", "Private networks, and public"
        LOOPBACK = "loopback", "This machine, private and public"

    name = models.CharField(max_length=200, unique=True)
    kind = models.CharField(max_length=16, choices=Kind.choices)
    enabled = models.BooleanField(default=True)
    # Sealed; see ``context``. Addresses of Slack and Discord are secrets, and so may be those of webhooks.
    url = models.BinaryField(null=True, editable=False)
    host = models.CharField(max_length=300, blank=True, editable=False)  # all of the URL that is shown
    secret = models.BinaryField(null=True, editable=False)
    recipients = models.JSONField(default=list, blank=True)
    network = models.CharField(max_length=16, choices=Network.choices, default=Network.PUBLIC)
    per_hour = models.PositiveIntegerField(default=60)  # messages; 0 = no limit

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name

    def context(self, field: str) -> str:
        """Binds a sealed value to this row and its column."""
        return f"alert-channel:{self.id}:{field}"


class AlertRule(Resource):
    class Severity(models.TextChoices):
        INFO = "info", "Information"
        WARNING = "warning", "Warning"
        CRITICAL = "critical", "Critical"

    name = models.CharField(max_length=200, unique=True)
    enabled = models.BooleanField(default=True)
    severity = models.CharField(max_length=16, choices=Severity.choices, default=Severity.WARNING)
    events = models.JSONField(default=list)  # see ``health.alerts.kinds``
    providers = models.JSONField(default=list, blank=True)  # slugs; empty = all
    thresholds = models.JSONField(default=dict)
    window = models.PositiveIntegerField(default=300)  # seconds
    repeat = models.PositiveIntegerField(default=900)  # seconds
    channels = models.ManyToManyField(AlertChannel, related_name="rules", blank=True)

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name


class Alert(models.Model):
    """One event that a rule asked for, with everything that was the same again before it was told anew."""

    id = models.BigAutoField(primary_key=True)
    rule = models.ForeignKey(AlertRule, models.SET_NULL, null=True, related_name="alerts")
    rule_name = models.CharField(max_length=200)
    severity = models.CharField(max_length=16, choices=AlertRule.Severity.choices)
    kind = models.CharField(max_length=32)
    key = models.CharField(max_length=300)  # events of one kind and key are the same thing again
    subject = models.CharField(max_length=500)
    provider = models.CharField(max_length=64, blank=True)  # slug
    title = models.CharField(max_length=300)
    text = models.TextField()
    path = models.CharField(max_length=500, blank=True)  # of the page in the console
    fields = models.JSONField(default=list)  # [[name, value], …]
    first_at = models.DateTimeField()
    last_at = models.DateTimeField()
    count = models.PositiveIntegerField(default=1)
    told_count = models.PositiveIntegerField(default=0)  # how many of them have been told
    told_at = models.DateTimeField(db_index=True)
    over_at = models.DateTimeField(null=True)  # when the opposite happened; null = not yet, or there is none

    class Meta:
        ordering = ["-last_at", "-id"]
        indexes = [
            models.Index(fields=["rule", "kind", "key", "-id"], name="alert_again"),
            models.Index(fields=["kind", "key"], name="alert_under_way", condition=models.Q(over_at=None)),
            models.Index(fields=["-last_at", "-id"], name="alert_by_time"),
        ]

    def __str__(self) -> str:
        return self.title


class AlertDelivery(models.Model):
    """One message to one channel. Its id goes with every attempt, so that a receiver knows a second one."""

    class Status(models.TextChoices):
        PENDING = "pending", "Pending"
        SENT = "sent", "Sent"
        FAILED = "failed", "Failed"
        SUPPRESSED = "suppressed", "Held back"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    alert = models.ForeignKey(Alert, models.CASCADE, null=True, related_name="deliveries")  # null = a test
    channel = models.ForeignKey(AlertChannel, models.SET_NULL, null=True, related_name="deliveries")
    channel_name = models.CharField(max_length=200)
    event = models.CharField(max_length=32)  # kind of the event, or "test"
    message = models.JSONField()  # see ``health.alerts.formats``; holds no secret
    status = models.CharField(max_length=16, choices=Status.choices, default=Status.PENDING)
    attempts = models.PositiveIntegerField(default=0)
    next_try_at = models.DateTimeField(null=True)  # pending: when, or until when a worker has claimed it
    http_status = models.PositiveSmallIntegerField(null=True)
    error = models.CharField(max_length=300, blank=True)
    created_at = models.DateTimeField()
    ended_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ["-created_at", "-id"]
        verbose_name_plural = "alert deliveries"
        indexes = [
            models.Index(fields=["next_try_at"], name="delivery_due", condition=models.Q(status="pending")),
            models.Index(fields=["channel", "-created_at"], name="delivery_by_channel"),
            models.Index(fields=["-created_at", "-id"], name="delivery_by_time"),
        ]

    def __str__(self) -> str:
        return f"{self.event} to {self.channel_name}: {self.status}"


class ProviderOutage(models.Model):
    """A provider of which every target is out. The row is there for as long as that is so."""

    provider_id = models.UUIDField(primary_key=True)
    provider = models.CharField(max_length=64)  # slug
    since = models.DateTimeField()

    class Meta:
        ordering = ["provider"]

    def __str__(self) -> str:
        return f"{self.provider} is down"
