"""``/ws/routing-decisions``: decisions without forwarding, as ``POST /api/v1/decisions/`` makes them, over one socket.

In: ``get_routing_decision`` with the request of the contract, ``get_routing_strategies``, ``subscribe {filter,
after}``. Needs the scope ``route`` or ``operate``; a key that may only route is told of its own routes. What REST would
answer is counted with the calls over REST. Deciding needs the database, so while that is away nobody new gets in here.
"""

from __future__ import annotations

from typing import Any

from routes.api.resources import parse_tree
from routes.api.throttling import take_call
from routes.engine import strategies
from routes.snapshots import live_snapshot
from routing_project.console.decisions import views
from routing_project.console.decisions.documents import DecisionRequest
from routing_project.console.decisions.service import Caller
from routing_project.console.sockets.access import in_thread
from routing_project.console.sockets.base import Socket, handles
from routing_project.console.sockets.live import Subscription
from routing_project.feed.names import ROUTES


class DecisionSocket(Socket):
    needs = frozenset({"route", "operate"})

    @handles("get_routing_decision")
    async def decide(self, payload: dict[str, Any]) -> Any:
        visitor = self.visitor
        caller = Caller.of(visitor.key, visitor.name, visitor.scopes)

        def decide() -> dict[str, Any]:
            take_call(visitor.caller)
            return views.decisions().decide(parse_tree(DecisionRequest, payload), caller)

        return await in_thread(decide)

    @handles("get_routing_strategies")
    async def strategies(self, _payload: dict[str, Any]) -> Any:
        def listed() -> list[dict[str, Any]]:
            take_call(self.visitor.caller)
            return known_strategies()

        return {"strategies": await in_thread(listed)}

    @handles("subscribe")
    async def subscribe(self, payload: dict[str, Any]) -> Any:
        where, after = Subscription.read(payload)
        if not self.visitor.may(frozenset({"read"})):
            where = where.also("access_key", frozenset({self.visitor.name}))
        await self.follow(ROUTES, "routes", where, after)
        return {"success": True, "message": "subscribed"}


def known_strategies() -> list[dict[str, Any]]:
    """Every strategy, and whether the live policy lets it rank. Two small queries."""
    snapshot = live_snapshot()
    return [
        {
            "name": strategy.name,
            "description": strategy.description,
            "enabled": snapshot is None or strategies.allowed(strategy, snapshot.policy),
            "default": snapshot is not None and strategy is snapshot.default_strategy,
        }
        for strategy in strategies.REGISTRY.values()
    ]
