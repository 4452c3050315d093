"""Django's cache in the database, with its look-ups counted under django-prometheus's names: it has no such backend,
and the ones it has take a zero that was found for nothing found.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from django.core.cache.backends.db import DatabaseCache
from django_prometheus.cache.metrics import django_cache_get_total, django_cache_hits_total, django_cache_misses_total

if TYPE_CHECKING:
    from collections.abc import Iterable

BACKEND: Final = "database"


class CountedDatabaseCache(DatabaseCache):
    def get_many(self, keys: Iterable[Any], version: int | None = None) -> dict[Any, Any]:
        """``get`` asks this too."""
        wanted = list(keys)
        found: dict[Any, Any] = super().get_many(wanted, version)
        for metric, count in (
            (django_cache_get_total, len(wanted)),
            (django_cache_hits_total, len(found)),
            (django_cache_misses_total, len(wanted) - len(found)),
        ):
            if count:
                metric.labels(backend=BACKEND).inc(count)
        return found
