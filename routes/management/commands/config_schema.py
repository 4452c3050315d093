"""``config_schema``: the JSON Schema of the configuration document, made from the models that validate it."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand

from routes.document.schema import document_schema
from routes.document.text import dump_json


class Command(BaseCommand):
    help = "Print the JSON Schema of the configuration document."
    requires_system_checks: list[str] = []

    def handle(self, *args: Any, **options: Any) -> None:
        self.stdout.write(dump_json(document_schema()), ending="")
