"""History as a Django app; answers what the control plane asks about traffic (``routes.ports``)."""

from django.apps import AppConfig


class HistoryConfig(AppConfig):
    name = "history"

    def ready(self) -> None:
        from history.queries import provider_traffic
        from routes.ports import provide_traffic

        provide_traffic(provider_traffic)
