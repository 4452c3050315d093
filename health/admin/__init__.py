"""The pages of health in the admin site. Found by Django's autodiscovery."""

from health.admin import alerts, heads

__all__ = ["alerts", "heads"]
