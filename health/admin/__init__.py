"""The pages of health in the admin site. Found by Django's autodiscovery."""

from health.admin import heads

__all__ = ["heads"]
