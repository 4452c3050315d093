"""Housekeeping of the console."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, cast

from celery import shared_task
from django.conf import settings

if TYPE_CHECKING:
    from django.contrib.sessions.backends.base import SessionBase


@shared_task(name="console.clear_sessions")
def clear_sessions() -> None:
    """Delete expired browser sessions; one DELETE on the database."""
    engine = import_module(settings.SESSION_ENGINE)
    cast("type[SessionBase]", engine.SessionStore).clear_expired()
