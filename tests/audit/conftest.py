"""The control plane's fixtures, and what tests of the audit log write, read and tamper with."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from routes.actions import Actor
from routes.actions.audit import record
from routes.audit import delivery, file
from routing_project.env import get_env
from tests.control.conftest import both_databases, env

if TYPE_CHECKING:
    from collections.abc import Iterator

    from routes.models import AuditEntry

__all__ = ["both_databases", "env"]

ADA = Actor("user", "ada", "7", frozenset({"read", "operate", "admin"}), "192.0.2.7", "req-1")


@pytest.fixture(autouse=True)
def sinks_are_up() -> Iterator[None]:
    """Whether a sink is down is remembered by the process."""
    yield
    delivery._down.clear()


def write(name: str = "alpha", action: str = "provider.updated", actor: Actor = ADA, **more: Any) -> AuditEntry:
    told = {"category": "admin", "object_type": action.partition(".")[0], "object_id": f"id of {name}", **more}
    return record(actor, action, object_name=name, **told)


def lines() -> list[dict[str, Any]]:
    """Of the file, heads too."""
    return [json.loads(line) for line in get_env().audit_log_path.read_bytes().splitlines()]


def entries() -> list[dict[str, Any]]:
    """Of the file, without heads."""
    return [line for line in lines() if "head" not in line]


def names() -> list[str]:
    return [entry["object_name"] for entry in entries()]


def forget_place() -> None:
    file.place_path().unlink()
