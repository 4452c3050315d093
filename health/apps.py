"""Health as a Django app: hears of what people do to providers and targets (``routes.events``), and tells the control
plane which heads are registered (``routes.ports``).
"""

from django.apps import AppConfig


class HealthConfig(AppConfig):
    name = "health"

    def ready(self) -> None:
        from health import acts
        from health.heads.store import documents
        from health.probes import acts as probes
        from routes.events import acted
        from routes.ports import provide_heads

        acted.connect(acts.listen, dispatch_uid="health.acts")
        acted.connect(probes.hear, dispatch_uid="health.probes")
        provide_heads(documents)
