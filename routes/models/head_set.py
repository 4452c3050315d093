"""Which heads there were: what a recorded decision needs, beside its revision, to be told again.

Imports nothing of the project.
"""

from __future__ import annotations

import zlib
from typing import Any

import orjson
from django.db import models


class HeadSet(models.Model):
    """The approved heads of a moment, by the digest of what a decision can know of them
    (``engine.provider.heads_digest``). The same heads again are the same row."""

    digest = models.CharField(max_length=16, primary_key=True)
    document_zlib = models.BinaryField()
    used_at = models.DateTimeField(db_index=True)  # when it was last put in force

    class Meta:
        ordering = ["-used_at"]

    def __str__(self) -> str:
        return self.digest

    @property
    def heads(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = orjson.loads(zlib.decompress(bytes(self.document_zlib)))
        return found

    @staticmethod
    def pack(heads: list[dict[str, Any]]) -> bytes:
        return zlib.compress(orjson.dumps(heads, option=orjson.OPT_SORT_KEYS))
