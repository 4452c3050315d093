"""``/ws/live``: routes as they happen, filtered here, with a pause. Needs the scope ``read``.

In: ``subscribe {filter}``, ``pause``, ``resume``, ``ping``. Out: ``routes {seq, events}``, ``gap {from, to}``, and the
answers. Nothing comes before ``subscribe``; a second one takes the place of the first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from routes.actions.errors import Conflict, Invalid
from routing_project.console.sockets.base import Socket, handles
from routing_project.feed.names import ROUTES
from routing_project.feed.where import ROUTE_FIELDS, Where

if TYPE_CHECKING:
    from routing_project.feed.watcher import Watcher


class LiveSocket(Socket):
    needs = frozenset({"read"})
    _watcher: Watcher | None = None

    @handles("subscribe")
    async def subscribe(self, payload: dict[str, Any]) -> Any:
        self._watcher = await self.follow(ROUTES, "routes", filter_of(payload))
        return {"success": True, "message": "subscribed"}

    @handles("pause")
    async def pause(self, _payload: dict[str, Any]) -> Any:
        self._subscribed().pause()
        return {"success": True, "message": "paused"}

    @handles("resume")
    async def resume(self, _payload: dict[str, Any]) -> Any:
        self._subscribed().resume()
        return {"success": True, "message": "resumed"}

    @handles("ping")
    async def ping(self, _payload: dict[str, Any]) -> Any:
        return {"success": True, "message": "pong"}

    def _subscribed(self) -> Watcher:
        if self._watcher is None:
            raise Conflict("subscribe first")
        return self._watcher


def filter_of(payload: dict[str, Any], fields: tuple[str, ...] = ROUTE_FIELDS) -> Where:
    """The ``filter`` of a subscription; ``fields`` may be filtered by. Raises Invalid and BadFilter."""
    given = payload.get("filter")
    if given is not None and not isinstance(given, dict):
        raise Invalid.from_errors([("filter", "must be an object of fields and the values they must have")])
    if unknown := payload.keys() - {"filter"}:
        raise Invalid.from_errors([(name, "is not a field of a subscription") for name in sorted(unknown)])
    return Where.parse(given or {}, fields)
