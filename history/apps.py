"""History as a Django app; answers what the control plane asks about traffic and requests (``routes.ports``)."""

from django.apps import AppConfig


class HistoryConfig(AppConfig):
    name = "history"

    def ready(self) -> None:
        from history.queries import provider_traffic, rule_traffic, spent
        from history.recorded import recent_routes, recorded_route
        from routes.ports import (
            provide_recent_routes,
            provide_recorded_routes,
            provide_rule_traffic,
            provide_spent,
            provide_traffic,
        )

        provide_traffic(provider_traffic)
        provide_rule_traffic(rule_traffic)
        provide_recorded_routes(recorded_route)
        provide_recent_routes(recent_routes)
        provide_spent(spent)
