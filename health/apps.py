from django.apps import AppConfig


class HealthConfig(AppConfig):
    name = "health"

    def ready(self) -> None:
        from health.probes import acts
        from routes.events import acted

        acted.connect(acts.hear, dispatch_uid="health.probes")
