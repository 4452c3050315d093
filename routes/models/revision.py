"""ConfigRevision: an immutable published configuration. Imports only ``routes.models.base``.

Both documents are kept as the exact text that was published, not as database JSON, which may reorder keys; the
compiled one compressed, because the price table in it is a hundred kilobytes.
"""

from __future__ import annotations

import json
import zlib
from typing import Any

from django.db import models

from routes.models.base import AppendOnly, AppendOnlyManager


class ConfigRevision(AppendOnly):
    number = models.PositiveBigIntegerField(primary_key=True)
    author = models.CharField(max_length=200)
    message = models.TextField(default="", blank=True)
    created_at = models.DateTimeField()
    rolled_back_to = models.PositiveBigIntegerField(null=True, blank=True)
    document_text = models.TextField(editable=False)  # the sections policy, prices, providers, profiles
    compiled_zlib = models.BinaryField(editable=False)  # what gateways read

    objects = AppendOnlyManager["ConfigRevision"]()

    class Meta:
        ordering = ["-number"]
        verbose_name = "revision"

    def __str__(self) -> str:
        return f"revision {self.number}"

    @property
    def document(self) -> dict[str, Any]:
        """The configuration document without its live sections."""
        value: dict[str, Any] = json.loads(self.document_text)
        return value

    @property
    def compiled_text(self) -> bytes:
        """What ``revision.json`` holds, UTF-8."""
        return zlib.decompress(self.compiled_zlib)

    @property
    def compiled(self) -> dict[str, Any]:
        """What ``routes.engine.snapshot.Snapshot.from_document`` takes. Costs a parse of some milliseconds."""
        value: dict[str, Any] = json.loads(self.compiled_text)
        return value
