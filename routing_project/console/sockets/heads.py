"""``/ws/head-management``: what heads say over REST, over one socket, and a feed of what happens to all of them.

In: ``register_head``, ``update_status``, ``deregister_head`` (the REST bodies, with ``head_id``), ``get_heads``
(``provider`` and ``approved`` narrow it), ``subscribe {filter}``. Needs the scope ``operate``. A message that is
understood but refused is answered with ``success: false``. Keys are recognised by the overlay's copy, so that heads
connect and stay alive while the database is away.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from health.heads import render
from health.heads.auth import KnownBearer
from health.heads.documents import HeadRegistration, HeadStatus, HeadsWanted, NamedHead, NamedHeadStatus
from health.heads.errors import HeadsError
from health.heads.service import desk
from health.heads.store import wanted_rows
from routes.actions.errors import Conflict, Missing
from routes.api.resources import parse_tree
from routing_project.console.sockets.access import in_thread
from routing_project.console.sockets.base import Socket, handles
from routing_project.console.sockets.live import Subscription
from routing_project.console.sockets.opened import Bound
from routing_project.feed.names import HEADS
from routing_project.feed.where import HEAD_FIELDS

if TYPE_CHECKING:
    from collections.abc import Callable

#: Every head may hold a socket of its own, all with one key.
HEAD_SOCKETS: Final = Bound("sockets for heads", 5000)


class HeadSocket(Socket):
    needs = frozenset({"operate"})
    bearer = KnownBearer
    bound = HEAD_SOCKETS

    @handles("register_head")
    async def register(self, payload: dict[str, Any]) -> Any:
        wanted = parse_tree(HeadRegistration, payload)
        return await self._answer("registered", lambda: desk.register(wanted, self.visitor.actor).body)

    @handles("update_status")
    async def update(self, payload: dict[str, Any]) -> Any:
        named = parse_tree(NamedHeadStatus, payload)
        said = HeadStatus.model_validate(named.model_dump(exclude={"head_id"}))
        return await self._answer("updated", lambda: desk.update(named.head_id, said, self.visitor.actor).body)

    @handles("deregister_head")
    async def deregister(self, payload: dict[str, Any]) -> Any:
        named = parse_tree(NamedHead, payload)

        def leave() -> dict[str, Any]:
            desk.deregister(named, self.visitor.actor)
            return {"head_id": named.head_id}

        return await self._answer("deregistered", leave)

    @handles("get_heads")
    async def heads(self, payload: dict[str, Any]) -> Any:
        wanted = parse_tree(HeadsWanted, payload)
        return {"heads": await in_thread(lambda: [render.document(row) for row in wanted_rows(wanted)])}

    @handles("subscribe")
    async def subscribe(self, payload: dict[str, Any]) -> Any:
        await self.follow(HEADS, "heads", *Subscription.read(payload, HEAD_FIELDS))
        return {"success": True, "message": "subscribed"}

    async def _answer(self, message: str, act: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        try:
            return {"success": True, "message": message, **await in_thread(act)}
        except (Missing, Conflict, HeadsError) as error:
            return {"success": False, "message": error.message, "code": error.code}
