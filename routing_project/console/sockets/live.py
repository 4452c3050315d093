"""``/ws/live``: routes as they happen, filtered here, with a pause. Needs the scope ``read``.

In: ``subscribe {filter, after}``, ``pause``, ``resume``, ``ping``. Out: ``routes {seq, events}``, ``gap {from, to}``,
and the answers. Nothing comes before ``subscribe``; a second one takes the place of the first. An access key is
recognised by the overlay's copy, so that new ones get in while the database is away.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple, Self

from health.heads.auth import KnownBearer
from routes.actions.errors import Conflict, Invalid
from routing_project.console.sockets.base import Socket, handles
from routing_project.feed.names import ROUTES
from routing_project.feed.where import ROUTE_FIELDS, Where

if TYPE_CHECKING:
    from routing_project.feed.watcher import Watcher
    from routing_project.feed.where import Fields

MAX_NUMBER: Final = 2**53


class LiveSocket(Socket):
    needs = frozenset({"read"})
    bearer = KnownBearer
    _watcher: Watcher | None = None

    @handles("subscribe")
    async def subscribe(self, payload: dict[str, Any]) -> Any:
        self._watcher = await self.follow(ROUTES, "routes", *Subscription.read(payload))
        return {"success": True, "message": "subscribed"}

    @handles("pause")
    async def pause(self, _payload: dict[str, Any]) -> Any:
        self._subscribed().pause()
        return {"success": True, "message": "paused"}

    @handles("resume")
    async def resume(self, _payload: dict[str, Any]) -> Any:
        return {"success": True, "message": "resumed", "missed": self._subscribed().resume()}

    @handles("ping")
    async def ping(self, _payload: dict[str, Any]) -> Any:
        """While it pauses, also how much has come meanwhile."""
        missed = {"missed": self._watcher.missed} if self._watcher is not None and self._watcher.paused else {}
        return {"success": True, "message": "pong", **missed}

    def _subscribed(self) -> Watcher:
        if self._watcher is None:
            raise Conflict("subscribe first")
        return self._watcher


class Subscription(NamedTuple):
    """What a ``subscribe`` asks for. ``after``: the number of the last event its sender has."""

    where: Where
    after: int | None

    @classmethod
    def read(cls, payload: dict[str, Any], fields: Fields = ROUTE_FIELDS) -> Self:
        """Raises Invalid and BadFilter."""
        given, after = payload.get("filter"), payload.get("after")
        errors = [(name, "is not a field of a subscription") for name in sorted(payload.keys() - {"filter", "after"})]
        if given is not None and not isinstance(given, dict):
            errors.append(("filter", "must be an object of fields and the values they must have"))
        if after is not None and (type(after) is not int or not 0 <= after < MAX_NUMBER):
            errors.append(("after", "must be the number of an event"))
        if errors:
            raise Invalid.from_errors(errors)
        return cls(Where.parse(given or {}, fields), after)
