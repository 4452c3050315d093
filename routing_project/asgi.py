"""The console's ASGI application: static files, event streams, Django for other HTTP, and WebSockets.

Used by the console's process and by ``runserver`` alike.
"""

import gc
import os
from pathlib import Path

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "routing_project.settings")

from channels.routing import ProtocolTypeRouter, URLRouter
from django.conf import settings
from django.core.asgi import get_asgi_application
from django.urls import get_resolver, re_path

from routing_project.static import StaticFiles

django = get_asgi_application()

from routing_project.console.metrics.counting import count_answer  # noqa: E402 - needs Django set up
from routing_project.console.sockets.routing import socket_urls, stream_urls  # noqa: E402

http_urls = [*stream_urls, re_path(r"", django)]  # type: ignore[arg-type]  # an ASGI application in a view's place
application = ProtocolTypeRouter(
    {
        "http": StaticFiles(URLRouter(http_urls), Path(settings.STATIC_ROOT), settings.STATIC_URL, count_answer),
        "websocket": URLRouter(socket_urls),
    }
)

# What is loaded by now stays: the collector need not go through it again whenever a page makes rows by the thousand
# (statistics of a month by hours: about a sixth of its time).
_ = get_resolver().url_patterns
gc.collect()
gc.freeze()
