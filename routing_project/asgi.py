"""The console's ASGI application: static files, Django for HTTP, Channels for its sockets.

Used by the console's process and by ``runserver`` alike.
"""

import os
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "routing_project.settings")

from channels.routing import ProtocolTypeRouter
from django.conf import settings
from django.core.asgi import get_asgi_application

from routing_project.static import StaticFiles

CLOSE_UNKNOWN = 4404


async def unknown_socket(
    _scope: dict[str, Any],
    receive: Callable[[], Awaitable[Mapping[str, Any]]],
    send: Callable[[Mapping[str, Any]], Awaitable[None]],
) -> None:
    """Accept and close: refused before accepting, a browser would only see 1006."""
    await receive()
    await send({"type": "websocket.accept"})
    await send({"type": "websocket.close", "code": CLOSE_UNKNOWN, "reason": "no such socket"})


application = ProtocolTypeRouter(
    {
        "http": StaticFiles(get_asgi_application(), Path(settings.STATIC_ROOT), settings.STATIC_URL),
        "websocket": unknown_socket,
    }
)
