"""Active probing: what is asked, when next, what came of it. Imports the provider's model only.

A check is one endpoint of a provider, or one of its models where probes are real requests; its id is that of the
target for the whole endpoint (``engine.provider.target_id`` of provider, model or none, head).
"""

from __future__ import annotations

from django.db import models

from routes.models import Provider


class Check(models.Model):
    class Observed(models.TextChoices):
        UNKNOWN = "unknown", "Unknown"
        HEALTHY = "healthy", "Healthy"
        DEGRADED = "degraded", "Degraded"
        UNHEALTHY = "unhealthy", "Unhealthy"

    id = models.UUIDField(primary_key=True, editable=False)
    provider = models.ForeignKey(Provider, models.CASCADE, related_name="checks")
    label = models.CharField(max_length=500)
    model = models.CharField(max_length=200, null=True)  # upstream model; null = the endpoint as a whole
    head_id = models.CharField(max_length=200, blank=True)

    next_probe_at = models.DateTimeField(db_index=True)  # health.tick claims what is due by moving this on
    good = models.PositiveIntegerField(default=0)  # successes in a row
    bad = models.PositiveIntegerField(default=0)  # failures in a row
    observed = models.CharField(max_length=16, choices=Observed.choices, default=Observed.UNKNOWN)
    observed_since = models.DateTimeField(null=True)
    checked_at = models.DateTimeField(null=True)  # by a probe, or by traffic that stood in for one
    kind = models.CharField(max_length=16, blank=True)  # of the last probe; "tcp" where there was no list of models
    latency_ms = models.FloatField(null=True)
    error_class = models.CharField(max_length=32, null=True)
    message = models.CharField(max_length=300, blank=True)

    class Meta:
        ordering = ["label"]

    def __str__(self) -> str:
        return self.label


class ProbeResult(models.Model):
    """One probe, kept for 24 hours."""

    id = models.BigAutoField(primary_key=True)
    check_of = models.ForeignKey(Check, models.CASCADE, related_name="results", db_column="check_id")
    at = models.DateTimeField(db_index=True)  # retention, and what paid probes cost today
    kind = models.CharField(max_length=16)
    ok = models.BooleanField()
    latency_ms = models.FloatField(null=True)
    http_status = models.PositiveSmallIntegerField(null=True)
    error_class = models.CharField(max_length=32, null=True)
    message = models.CharField(max_length=300, blank=True)
    micro_usd = models.PositiveBigIntegerField(default=0)

    class Meta:
        ordering = ["-id"]

    def __str__(self) -> str:
        return f"{self.kind} at {self.at:%H:%M:%S}: {'ok' if self.ok else self.error_class}"


class CheckHour(models.Model):
    """Sums of an hour's probes, kept for 7 days."""

    id = models.BigAutoField(primary_key=True)
    check_of = models.ForeignKey(Check, models.CASCADE, related_name="hours", db_column="check_id")
    hour = models.DateTimeField(db_index=True)
    probes = models.PositiveIntegerField(default=0)
    failures = models.PositiveIntegerField(default=0)
    latency_ms_sum = models.FloatField(default=0)  # of those that succeeded

    class Meta:
        ordering = ["-hour"]
        constraints = [models.UniqueConstraint(fields=["check_of", "hour"], name="one_row_per_check_and_hour")]

    def __str__(self) -> str:
        return f"{self.probes} probes from {self.hour:%Y-%m-%d %H}:00"


class TargetHour(models.Model):
    """The p95 that a target's traffic had in an hour: what "slower than usual" is measured by."""

    id = models.BigAutoField(primary_key=True)
    target_id = models.UUIDField()
    hour = models.DateTimeField(db_index=True)
    p95_ms = models.FloatField()
    samples = models.PositiveIntegerField()

    class Meta:
        ordering = ["-hour"]
        constraints = [models.UniqueConstraint(fields=["target_id", "hour"], name="one_row_per_target_and_hour")]

    def __str__(self) -> str:
        return f"p95 {self.p95_ms:.0f} ms from {self.hour:%Y-%m-%d %H}:00"
