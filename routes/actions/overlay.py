"""Live changes: whoever changes what acts at once calls ``touch`` in the same transaction. Private to actions."""

from __future__ import annotations

from django.db import transaction
from django.db.models import F

from routes import publish
from routes.models import Installation


def touch() -> None:
    """The overlay has a new version; it is delivered once, when the transaction has been committed."""
    Installation.get()
    Installation.objects.filter(pk=1).update(overlay_version=F("overlay_version") + 1)
    deliver_on_commit()


def deliver_on_commit() -> None:
    """Deliver revision and overlay after the outermost commit; asking again in one transaction does nothing."""
    connection = transaction.get_connection()
    if all(function is not publish.deliver for _sids, function, _robust in connection.run_on_commit):
        transaction.on_commit(publish.deliver)
