"""What rows have in common: an optimistic version and two times, or the promise never to change.

Imports nothing of the project. Rows are changed only by ``routes.actions``; a model here holds data and says
what it is called, it does not decide.
"""

from __future__ import annotations

import uuid
from typing import Any, NoReturn, TypeVar

from django.db import models


class Versioned(models.Model):
    """``version`` rises by one with every edit and is the resource's ``ETag``: a stale write is refused."""

    version = models.PositiveIntegerField(default=1, editable=False)
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        abstract = True


class Resource(Versioned):
    """One of many, known by a UUID that survives renaming, export and rollback."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)

    class Meta:
        abstract = True


class Section(Versioned):
    """A section of the configuration document that exists once: row 1 of its table."""

    id = models.PositiveSmallIntegerField(primary_key=True, default=1, editable=False)

    class Meta:
        abstract = True


class AppendOnlyError(TypeError):
    """Somebody tried to change or remove a row that is kept for good."""


Row = TypeVar("Row", bound=models.Model)


class AppendOnlyQuerySet(models.QuerySet[Row]):
    """Refuses what would change rows behind the model's back."""

    def update(self, **values: Any) -> NoReturn:
        raise AppendOnlyError(f"{self.model._meta.verbose_name} rows are never changed")

    def delete(self) -> NoReturn:
        raise AppendOnlyError(f"{self.model._meta.verbose_name} rows are never deleted")


class AppendOnlyManager(models.Manager[Row]):
    def get_queryset(self) -> AppendOnlyQuerySet[Row]:
        return AppendOnlyQuerySet(self.model, using=self._db)


class AppendOnly(models.Model):
    """Inserted once, then only read. Concrete models have an ``AppendOnlyManager``."""

    class Meta:
        abstract = True

    def save(self, *args: Any, **kwargs: Any) -> None:
        if not self._state.adding:
            raise AppendOnlyError(f"{self._meta.verbose_name} rows are never changed")
        kwargs["force_insert"] = True
        super().save(*args, **kwargs)

    def delete(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise AppendOnlyError(f"{self._meta.verbose_name} rows are never deleted")
