"""Typed, frozen settings of a compiled revision: circuit, quarantine, failover, affinity, policy. Imports nothing.

The compiler has filled in every default, so every field is required here; unknown fields are ignored so that
a gateway of this version can run a revision of a newer one during an upgrade. Times are seconds.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from routes.engine.errors import SnapshotError

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(slots=True, frozen=True)
class CircuitSettings:
    """When a target's circuit opens, how long, and what closes it again."""

    failure_threshold: int
    failure_rate: float  # percent
    window: float
    min_results: int
    recovery_timeout: float
    recovery_timeout_max: float
    half_open_max_calls: int
    success_threshold: int
    slow_start: float  # 0 = off


@dataclass(slots=True, frozen=True)
class QuarantineSettings:
    """How long traffic keeps away after 429 and after refused credentials."""

    rate_limit: float  # without a Retry-After
    rate_limit_max: float
    auth: float
    auth_max: float  # doubling ends here


@dataclass(slots=True, frozen=True)
class ProbeSettings:
    """How idle targets, and those that are out, are asked whether they work; nothing here is read by a decision."""

    kind: Literal["models", "completion", "tcp", "http", "off"] = "off"
    interval: float = 30
    timeout: float = 10  # over all that one probe does
    rise: int = 2  # successes in a row after which an unhealthy target is healthy
    fall: int = 3  # failures in a row that make one unhealthy
    path: str | None = None  # kind http: below the base URL
    expect: int = 200  # kind http: the status that is right
    daily_requests: int = 0  # kind completion, per UTC day; 0 = no cap
    daily_usd: float = 0

    @classmethod
    def of(cls, section: Mapping[str, Any], path: str) -> ProbeSettings:
        """Revisions of older releases have no probes, or only their kind."""
        return build(cls, {**asdict(cls()), **section}, path)


@dataclass(slots=True, frozen=True)
class Timeouts:
    """Of one attempt, except ``total`` (until commit, over all attempts) and ``stream_max`` (after it)."""

    connect: float
    first_byte: float
    first_event: float
    first_event_soft: float  # 0 = off
    idle: float
    total: float
    stream_max: float


@dataclass(slots=True, frozen=True)
class Failover:
    """What a profile does about failures."""

    max_attempts: int
    same_target_retries: int
    retry_statuses: frozenset[int]
    auth_errors: Literal["failover", "surface"]
    when_all_unhealthy: Literal["try", "reject"]
    panic_concurrency: int
    non_idempotent: bool  # service requests of any method may be sent twice
    timeouts: Timeouts


@dataclass(slots=True, frozen=True)
class Affinity:
    """Whether sessions stay on a target, how long, and who counts as one."""

    enabled: bool
    ttl: float
    scope: Literal["rule", "profile"]  # profile: one pin per session, whatever rule matched
    sliding: bool  # use extends a pin; else it ends ``ttl`` after it was set
    promotion_hold: float  # a pin outlives the recovery of a lower tier by so much
    client_ip: bool  # who names no session is one by access key and address


@dataclass(slots=True, frozen=True)
class Policy:
    """What holds for all profiles: families of strategies that are allowed, and figures they share."""

    default_strategy: str
    enable_geo_routing: bool
    enable_load_balancing: bool
    enable_model_specific: bool
    enable_predictive: bool
    enable_adaptive: bool
    region_priority: tuple[str, ...]
    prediction_window: float  # minutes
    load_growth_factor: float
    capacity_threshold: float  # percent
    geo: Mapping[str, str]  # what the address database says -> region


@dataclass(slots=True, frozen=True)
class ProfileLimits:
    """How many requests may be under way on a profile (0 = any number), and how long more of them wait for a seat."""

    concurrency: float = 0
    queue_ms: float = 0

    @classmethod
    def from_document(cls, section: Mapping[str, Any] | None) -> ProfileLimits:
        """Revisions of older releases have no such section."""
        known = section or {}
        return cls(known.get("concurrency", 0), known.get("queue_ms", 0))


T = TypeVar("T", CircuitSettings, QuarantineSettings, ProbeSettings, Timeouts, Failover, Affinity, Policy)


def build(cls: type[T], section: Mapping[str, Any], path: str, **ready: Any) -> T:
    """``cls`` from a section of the document; ``ready`` holds fields already built."""
    values: dict[str, Any] = {}
    for field in fields(cls):
        if field.name in ready:
            values[field.name] = ready[field.name]
        elif field.name in section:
            values[field.name] = section[field.name]
        else:
            raise SnapshotError(f"{path}.{field.name}", "missing")
    return cls(**values)
