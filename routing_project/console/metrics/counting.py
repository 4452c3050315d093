"""What the console counts beside its pages: streams, sockets, decisions, static files, what was refused.

All labels are route templates, configured names and closed lists: nothing a caller sends becomes one. What heads are
called is configured by whoever registers them, so there are only so many of those.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from routes.engine.types import MODEL_TYPES
from routes.gateway.metrics import METHODS
from routing_project.metrics import catalogue
from routing_project.metrics.instruments import MOST_MODEL_TYPES, MOST_REGIONS, Few, counter, gauge, histogram

if TYPE_CHECKING:
    from collections.abc import Collection

    from routes.engine.types import Decision

SWITCHING_PROTOCOLS: Final = 101
_AFFINITY: Final = "affinity"
_TYPES: Final = frozenset(MODEL_TYPES.values())

few_types: Final = Few(MOST_MODEL_TYPES, "other")
few_regions: Final = Few(MOST_REGIONS, "none")


def count_answer(method: str | None, endpoint: str, status: int, seconds: float | None = None) -> None:
    """A request that was answered. Without ``seconds`` (how long an event stream stays open is no time to an answer) it
    is not observed."""
    method = method if method in METHODS else "other"
    counter(catalogue.HTTP_REQUESTS).labels(method, endpoint, str(status)).inc()
    if seconds is not None:
        histogram(catalogue.HTTP_DURATION).labels(method, endpoint).observe(seconds)


def count_refused(kind: str) -> None:
    """A stream (``sse``) or socket (``websocket``) too many of one key or person."""
    counter(catalogue.WATCHERS_REFUSED).labels(kind).inc()


def show_open(sse: int, websocket: int) -> None:
    """How many there are in this process now. The sum over all processes is scraped, and this part of it ends with the
    process."""
    gauge(catalogue.SSE_CONNECTIONS).set(sse)
    gauge(catalogue.WEBSOCKET_CONNECTIONS).set(websocket)


def count_decision(
    decision: Decision, *, chosen: bool, model_type: str | None, known: Collection[str], region: str | None
) -> None:
    """A decision made in the console. ``known``: the model types of heads that are registered; ``region``: None unless
    it is configured somewhere."""
    kind, where = kind_of(model_type, known), few_regions.name(region) if region else "none"
    strategy = decision.would_rank if chosen else "none"
    counter(catalogue.ROUTING_DECISIONS).labels(strategy, kind, where).inc()
    if decision.pin is not None:
        counter(catalogue.CACHE_HITS if decision.pin.honoured else catalogue.CACHE_MISSES).labels(_AFFINITY).inc()
    for entry in decision.stages:
        histogram(catalogue.ROUTE_STAGE).labels(entry.stage).observe(entry.us / 1e6)


def kind_of(model_type: str | None, known: Collection[str]) -> str:
    """What a decision's ``model_type`` is counted as."""
    if model_type is None or model_type in _TYPES:
        return model_type or "other"
    return few_types.name(model_type) if model_type in known else "other"
