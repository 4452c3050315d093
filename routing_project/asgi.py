"""The console's ASGI application: static files, Django for HTTP, Channels' router for its sockets.

Used by the console's process and by ``runserver`` alike.
"""

import os
from pathlib import Path

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "routing_project.settings")

from channels.routing import ProtocolTypeRouter, URLRouter
from django.conf import settings
from django.core.asgi import get_asgi_application

from routing_project.static import StaticFiles

django = get_asgi_application()

from routing_project.console.sockets.routing import socket_urls  # noqa: E402 - needs Django set up

application = ProtocolTypeRouter(
    {
        "http": StaticFiles(django, Path(settings.STATIC_ROOT), settings.STATIC_URL),
        "websocket": URLRouter(socket_urls),
    }
)
