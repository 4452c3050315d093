"""What is kept of health: events, checks and their results, heads, alerts. One concept a module."""

from health.models.alert import Alert, AlertChannel, AlertDelivery, AlertRule, ProviderOutage
from health.models.check import Check, CheckHour, ProbeResult, TargetHour
from health.models.event import Collected, HealthEvent
from health.models.head import Head

__all__ = [
    "Alert",
    "AlertChannel",
    "AlertDelivery",
    "AlertRule",
    "Check",
    "CheckHour",
    "Collected",
    "Head",
    "HealthEvent",
    "ProbeResult",
    "ProviderOutage",
    "TargetHour",
]
