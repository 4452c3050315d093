"""Health as a Django app; tells the control plane which heads are registered (``routes.ports``)."""

from django.apps import AppConfig


class HealthConfig(AppConfig):
    name = "health"

    def ready(self) -> None:
        from health.probes import acts
        from routes.events import acted

        acted.connect(acts.hear, dispatch_uid="health.probes")
        from health.heads.store import documents
        from routes.ports import provide_heads

        provide_heads(documents)
