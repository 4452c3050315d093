"""What is kept of health: events, checks and their results, heads. One concept a module."""

from health.models.check import Check, CheckHour, ProbeResult, TargetHour
from health.models.event import Collected, HealthEvent
from health.models.head import Head

__all__ = ["Check", "CheckHour", "Collected", "Head", "HealthEvent", "ProbeResult", "TargetHour"]
