"""Tables of what happened: routes, their attempts, their metrics, their sums, and how far the shipper has read.

Rows are written by the shipper only (``history.shipper``), sums by ``history.rollups``; everything else reads. Nothing
here references a row of the configuration: history outlives what it names, so names are copied and ids stand without
foreign keys. Primary keys of what PostgreSQL has in partitions by day (``history.partitions``) are UUIDv7, and no other
column of it is unique. Attempts and metrics need no index of their own: whoever asks for those of a route or of a
stretch of time gives bounds of the primary key (``ids.same_moment``, ``TimeRange.q``).
"""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.db.models import Q

from history.fields import CompactJSONField
from history.indexes import NewestIndex
from history.rollups.fields import HistogramField


class RouteStatus(models.TextChoices):
    ROUTED = "routed", "routed"
    FAILED = "failed", "failed"
    TIMEOUT = "timeout", "timed out"
    REJECTED = "rejected", "rejected"
    CANCELLED = "cancelled", "cancelled by the client"
    INTERRUPTED = "interrupted", "interrupted"
    DECIDED = "decided", "decided, outcome not reported"


class RouteType(models.TextChoices):
    SESSION = "session", "session"
    SERVICE = "service", "service"
    INFERENCE = "inference", "inference"


#: What the failures report is about; ``cancelled`` is the client's own doing, ``decided`` has no outcome yet.
FAILURE_STATUSES = (RouteStatus.FAILED, RouteStatus.TIMEOUT, RouteStatus.REJECTED, RouteStatus.INTERRUPTED)
#: Of a WebSocket. How long it was open says nothing of how quick anybody was: it stays out of latency figures.
SWITCHING_PROTOCOLS = 101


class RouteHistory(models.Model):
    """One data-plane request with a valid key, or one decision: what was asked, chosen, tried, and what came of it."""

    id = models.UUIDField(primary_key=True, editable=False)
    created_at = models.DateTimeField(help_text="When the request was accepted: the time inside the id.")
    route_id = models.UUIDField(null=True, help_text="Id of the profile.")
    profile = models.CharField(max_length=128, blank=True)
    session_id = models.UUIDField(null=True, help_text="Derived from access key and session_key.")
    session_key = models.CharField(max_length=256, null=True, help_text="The client's own name of its session.")
    endpoint_id = models.UUIDField(null=True, help_text="Id of the target that answered, or was tried last.")
    route_type = models.CharField(max_length=16, choices=RouteType.choices, default=RouteType.INFERENCE)
    status = models.CharField(max_length=16, choices=RouteStatus.choices)
    error_code = models.CharField(max_length=64, null=True)
    message = models.CharField(max_length=2000, blank=True)
    http_status = models.SmallIntegerField(null=True, help_text="What the client was answered.")
    latency_ms = models.IntegerField(null=True)
    selection_us = models.IntegerField(default=0, help_text="What the decision itself took.")
    ttfb_ms = models.IntegerField(null=True, help_text="To the first byte; streams: to the first content event.")
    provider = models.CharField(max_length=128, blank=True)
    model = models.CharField(max_length=256, blank=True, help_text="As sent upstream.")
    requested_model = models.CharField(max_length=256, blank=True)
    strategy = models.CharField(max_length=32, blank=True)
    source = models.CharField(max_length=32, blank=True)
    rule = models.CharField(max_length=200, null=True)
    attempt_count = models.SmallIntegerField(default=0)
    recovered = models.BooleanField(default=False, help_text="Answered after at least one attempt failed.")
    degraded = models.BooleanField(default=False)
    input_tokens = models.IntegerField(null=True)
    output_tokens = models.IntegerField(null=True)
    cached_tokens = models.IntegerField(null=True)
    usage_estimated = models.BooleanField(default=False)
    cost_micro_usd = models.BigIntegerField(null=True)
    revision = models.IntegerField(default=0)
    access_key_id = models.UUIDField(null=True)
    access_key = models.CharField(max_length=200, blank=True, help_text="Name of the key at that time.")
    source_info = CompactJSONField(default=dict)
    target_info = CompactJSONField(default=dict)
    routing_decision = CompactJSONField(default=dict, help_text="Packed; rendered on read from the revision.")

    class Meta:
        db_table = "route_history"
        ordering = ("-id",)
        verbose_name = "route"
        verbose_name_plural = "routes"
        indexes: ClassVar = [
            # Lists by any status but routed, the failures report, the dashboard's last failures.
            models.Index(fields=["id"], name="history_not_routed", condition=~Q(status="routed")),
            # recovered=true, and the recovered part of the failures report.
            models.Index(fields=["id"], name="history_recovered", condition=Q(recovered=True)),
            # Lists by profile=, by provider= and by access_key= (the key's name), newest first, of any time.
            NewestIndex(fields=["profile", "id"], name="history_profile"),
            NewestIndex(fields=["provider", "id"], name="history_provider"),
            NewestIndex(fields=["access_key", "id"], name="history_access_key"),
            # queries.spent: covers what a key has spent, which is asked for a month at a time; requests without a cost
            # are not in it.
            models.Index(
                fields=["access_key_id", "id", "cost_micro_usd"],
                name="history_spent",
                condition=Q(access_key_id__isnull=False, cost_micro_usd__isnull=False),
            ),
            # A session's routes, and lists by session_id=.
            NewestIndex(fields=["session_id", "id"], name="history_session", condition=Q(session_id__isnull=False)),
            # Lists by error_code=.
            NewestIndex(fields=["error_code", "id"], name="history_error_code", condition=Q(error_code__isnull=False)),
            # queries.rule_traffic: covers the counters of rules, which ask for a day at a time.
            models.Index(
                fields=["id", "profile", "rule", "created_at"], name="history_rule", condition=Q(rule__isnull=False)
            ),
        ]

    def __str__(self) -> str:
        return str(self.id)


class RouteAttempt(models.Model):
    """One try against one target, of a route that needed several, did not succeed, or moved a circuit.

    Any other has no row here: its only attempt is told by the route's own columns.
    """

    id = models.UUIDField(primary_key=True, editable=False)
    history = models.ForeignKey(
        RouteHistory, on_delete=models.DO_NOTHING, db_constraint=False, db_index=False, related_name="attempts"
    )
    ordinal = models.SmallIntegerField()
    provider = models.CharField(max_length=128)
    model = models.CharField(max_length=256)
    endpoint_id = models.UUIDField(null=True, help_text="Id of the target.")
    endpoint = models.CharField(max_length=512, blank=True)
    http_status = models.SmallIntegerField(null=True)
    error_class = models.CharField(max_length=64, null=True)
    message = models.CharField(max_length=2000, blank=True)
    started_at = models.DateTimeField()
    ttfb_ms = models.IntegerField(null=True)
    latency_ms = models.IntegerField()
    bytes = models.BigIntegerField(default=0)
    transitions = models.JSONField(default=list, help_text="Circuit changes it caused: [before, after, reason].")

    class Meta:
        db_table = "route_attempts"
        ordering = ("history_id", "ordinal")

    def __str__(self) -> str:
        return f"{self.history_id} #{self.ordinal}"


class RouteHistoryMetric(models.Model):
    """A measurement of a route: the three that every route has (by ``SIGNALBOX_HISTORY_METRICS``), what a WebSocket
    carried, and what callers add."""

    id = models.UUIDField(primary_key=True, editable=False)
    history = models.ForeignKey(
        RouteHistory, on_delete=models.DO_NOTHING, db_constraint=False, db_index=False, related_name="metrics"
    )
    metric_name = models.CharField(max_length=128)
    metric_value = models.FloatField()
    metric_unit = models.CharField(max_length=32, blank=True)
    timestamp = models.DateTimeField()

    class Meta:
        db_table = "route_history_metrics"
        ordering = ("history_id", "timestamp", "id")

    def __str__(self) -> str:
        return f"{self.history_id} {self.metric_name}"


class RoutePayload(models.Model):
    """Copies of what a client sent and was answered, redacted and cut, while SIGNALBOX_HISTORY_PAYLOADS asks for them.
    Kept for SIGNALBOX_PAYLOAD_DAYS, read by ``history.payloads`` only."""

    id = models.UUIDField(primary_key=True, editable=False, help_text="The route's.")
    created_at = models.DateTimeField(help_text="When the request was accepted: the time inside the id.")
    redactions = models.IntegerField(default=0, help_text="Secrets that were taken out of both.")
    request_type = models.CharField(max_length=128, blank=True)
    request_size = models.BigIntegerField(null=True, help_text="Bytes; null if it was not received in full.")
    request_text = models.TextField(blank=True)
    request_tail = models.TextField(blank=True, help_text="The end of a text that was cut.")
    request_cut = models.BooleanField(default=False)
    response_type = models.CharField(max_length=128, blank=True)
    response_size = models.BigIntegerField(null=True)
    response_text = models.TextField(blank=True)
    response_tail = models.TextField(blank=True)
    response_cut = models.BooleanField(default=False)

    class Meta:
        db_table = "route_payloads"
        ordering = ("-id",)
        default_permissions = ()  # reading needs ``control_admin``; a role that may look at tables does not have it
        verbose_name = "payload copy"
        verbose_name_plural = "payload copies"

    def __str__(self) -> str:
        return str(self.id)


class JournalPosition(models.Model):
    """How far a segment has been shipped; written in the transaction of the rows it stands for."""

    segment = models.CharField(max_length=64, primary_key=True)
    node = models.UUIDField(help_text="The journal folder: several hosts may ship into one database.")
    position = models.BigIntegerField()

    class Meta:
        db_table = "history_journal_positions"

    def __str__(self) -> str:
        return f"{self.segment} @ {self.position}"


class ParkedRecord(models.Model):
    """A record that was read but cannot be applied yet: an update before its insert, or a request that was still
    running when the segment that announced it was deleted."""

    key = models.CharField(max_length=96, primary_key=True, help_text="segment:offset, so that a replay meets it.")
    node = models.UUIDField()
    route = models.UUIDField()
    payload = models.BinaryField()
    parked_at = models.DateTimeField()

    class Meta:
        db_table = "history_journal_parked"

    def __str__(self) -> str:
        return self.key


class RollupPeriod(models.Model):
    """A stretch of time that has or had rows: five minutes, an hour or a day (``history.rollups.periods``)."""

    pk = models.CompositePrimaryKey("grain", "start")
    grain = models.IntegerField(help_text="Its length in seconds.")
    start = models.BigIntegerField(help_text="Unix seconds; a multiple of the grain.")
    version = models.BigIntegerField(help_text="Rises with every batch that inserts or updates rows of this time.")
    rolled = models.BigIntegerField(null=True, help_text="The version that was summed up; null = none yet.")
    sealed = models.BooleanField(default=False, help_text="An hour whose rows may be gone.")

    class Meta:
        db_table = "history_periods"

    def __str__(self) -> str:
        return f"{self.grain} s from {self.start}"


class Rollup(models.Model):
    """Sums over the rows of a period that are alike in the dimensions of a view (``history.rollups.sums``).

    Other dimensions are empty. A period may have several rows for the same dimensions: they add up, like all rows here.
    Dimensions have the names of the rows' columns, so that the same filters work on both.
    """

    id = models.BigAutoField(primary_key=True)
    grain = models.IntegerField(help_text="Length of the period in seconds.")
    view = models.CharField(max_length=16)
    start = models.BigIntegerField(help_text="Unix seconds.")
    profile = models.CharField(max_length=128, blank=True)
    provider = models.CharField(max_length=128, blank=True)
    model = models.CharField(max_length=256, blank=True)
    strategy = models.CharField(max_length=32, blank=True)
    rule = models.CharField(max_length=200, null=True)
    status = models.CharField(max_length=16, blank=True)
    error_code = models.CharField(max_length=64, null=True)
    recovered = models.BooleanField()
    first_error = models.CharField(max_length=64, null=True, help_text="Of recovered: what the first attempt met,")
    first_provider = models.CharField(max_length=128, null=True, help_text="and where.")
    requests = models.BigIntegerField()
    routed = models.BigIntegerField()
    failed = models.BigIntegerField()
    timeout = models.BigIntegerField()
    rejected = models.BigIntegerField()
    cancelled = models.BigIntegerField()
    interrupted = models.BigIntegerField()
    decided = models.BigIntegerField()
    recoveries = models.BigIntegerField(help_text="Requests that were answered after an attempt failed.")
    reached = models.BigIntegerField(help_text="Requests that reached a provider.")
    latency_count = models.BigIntegerField()
    latency_sum = models.BigIntegerField(help_text="Milliseconds.")
    ttfb_count = models.BigIntegerField()
    ttfb_sum = models.BigIntegerField(help_text="Milliseconds.")
    input_tokens = models.BigIntegerField()
    output_tokens = models.BigIntegerField()
    cached_tokens = models.BigIntegerField()
    cost_micro_usd = models.FloatField()
    latency_histogram = HistogramField(null=True)
    ttfb_histogram = HistogramField(null=True)
    first_at = models.DateTimeField()
    last_at = models.DateTimeField()
    samples = models.TextField(null=True, help_text="The newest few ids of what failed or was recovered.")

    class Meta:
        db_table = "history_rollups"
        indexes: ClassVar = [
            # Every question about a range of time, and what is replaced when a period is summed up again.
            models.Index(fields=["grain", "view", "start"], name="rollup_period"),
            # Statistics by hour of one profile, provider or model, out of a month or a year of hours.
            models.Index(fields=["profile", "grain", "start"], name="rollup_profile", condition=Q(view="full")),
            models.Index(fields=["provider", "grain", "start"], name="rollup_provider", condition=Q(view="full")),
            models.Index(fields=["model", "grain", "start"], name="rollup_model", condition=Q(view="full")),
        ]

    def __str__(self) -> str:
        return f"{self.view} of {self.grain} s from {self.start}"
