"""What people decided about providers, targets and circuits: read in one query, for whoever looks at health and for the
overlay that gateways are told.

Pages look every few seconds, so the two tables that say it come as one. Reads only; must not import actions, history or
health.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast

from django.db.models import DateTimeField, F, PositiveBigIntegerField, Q, Value

from routes.engine.live import Forced
from routes.models import Provider, TargetOverride

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime
    from uuid import UUID

    from routes.engine.circuit import Act
    from routes.engine.types import AdminState


class Decision(NamedTuple):
    """About one provider or target. ``until`` and ``forced_until`` None = for good; either may have passed.
    ``generation`` (of providers): how often quarantines were made void, by a new credential or by hand."""

    id: UUID
    admin_state: AdminState
    admin_until: datetime | None
    admin_reason: str
    admin_by: str
    forced: str
    forced_until: datetime | None
    forced_reason: str
    forced_by: str
    circuit_acted_at: datetime | None
    generation: int


Decisions = dict[str, Decision]

_NO: Final = Value(0, output_field=PositiveBigIntegerField())
_NEVER: Final = Value(None, output_field=DateTimeField())


def decisions() -> Decisions:
    """By id of a provider or target; who is missing is as at first. One query."""
    of_targets: Any = TargetOverride.objects.order_by().values_list(*Decision._fields[:-1], _NO)
    said = ~Q(admin_state=Provider.AdminState.ACTIVE) | ~Q(quarantines_cleared=0) | ~Q(credential_generation=0)
    of_providers: Any = (
        Provider.with_deleted.filter(said)
        .order_by()
        .values_list(
            *Decision._fields[:5],
            Value(""),
            _NEVER,
            Value(""),
            Value(""),
            _NEVER,
            F("quarantines_cleared") + F("credential_generation"),
        )
    )
    return {str(row[0]): Decision(*row) for row in of_targets.union(of_providers, all=True)}


def admin_states(found: Mapping[str, Decision]) -> dict[str, tuple[AdminState, float | None]]:
    """As a live state is told them, until Unix time; one whose time has passed ends there by itself."""
    return {
        key: (each.admin_state, _epoch(each.admin_until)) for key, each in found.items() if each.admin_state != "active"
    }


def circuits(found: Mapping[str, Decision]) -> dict[str, Forced]:
    """What people last did to circuits, as a live state is told it."""
    return {
        key: Forced(cast("Act", each.forced or "reset"), _epoch(each.forced_until), each.circuit_acted_at.timestamp())
        for key, each in found.items()
        if each.circuit_acted_at is not None
    }


def generations(found: Mapping[str, Decision]) -> dict[str, int]:
    """How often the quarantines of providers were made void, as a live state is told it. It only ever grows, also when
    a credential is removed, or a quarantine of before would be in force again."""
    return {key: each.generation for key, each in found.items() if each.generation}


def _epoch(moment: datetime | None) -> float | None:
    return moment.timestamp() if moment else None
