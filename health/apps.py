"""Health as a Django app: hears of what people do (``routes.events``) and of what happens to targets, which alerts are
made of; tells the control plane which heads are registered (``routes.ports``).
"""

from django.apps import AppConfig


class HealthConfig(AppConfig):
    name = "health"

    def ready(self) -> None:
        from health import acts
        from health.alerts import events as alerts
        from health.events import happened
        from health.heads.store import documents
        from health.metrics import moved
        from health.probes import acts as probes
        from routes import live
        from routes.events import acted
        from routes.ports import provide_heads

        acted.connect(acts.listen, dispatch_uid="health.acts")
        acted.connect(probes.hear, dispatch_uid="health.probes")
        acted.connect(alerts.acted, dispatch_uid="health.alerts")
        happened.connect(alerts.heard, dispatch_uid="health.alerts")
        provide_heads(documents)
        live.hear_moves(moved)
