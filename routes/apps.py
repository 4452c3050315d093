"""The control plane as a Django app: roles after each migrate, system checks."""

from django.apps import AppConfig
from django.db.models.signals import post_migrate


class RoutesConfig(AppConfig):
    name = "routes"

    def ready(self) -> None:
        from routes import checks  # noqa: F401 - registers itself
        from routes.roles import grant_roles

        post_migrate.connect(grant_roles, dispatch_uid="routes.roles")
