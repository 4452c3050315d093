"""The console's ASGI application: Django for HTTP, Channels for its sockets and event streams."""

import os

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "routing_project.settings")

from django.core.asgi import get_asgi_application

application = get_asgi_application()
