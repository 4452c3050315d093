"""History as a Django app: its system checks, and its answers to what the control plane asks about traffic and requests
(``routes.ports``)."""

from django.apps import AppConfig


class HistoryConfig(AppConfig):
    name = "history"

    def ready(self) -> None:
        from django.db.backends.signals import connection_created

        from history import checks, status  # noqa: F401 - checks register themselves
        from history.queries import provider_traffic, rule_traffic, spent, tally
        from history.recorded import oldest_route, recent_routes, recorded_route
        from history.rollups.fields import register_functions
        from routes.ports import (
            provide_journal_backlog,
            provide_oldest_route,
            provide_recent_routes,
            provide_recorded_routes,
            provide_rule_traffic,
            provide_spent,
            provide_tally,
            provide_traffic,
        )
        from routing_project.env import get_env

        connection_created.connect(register_functions, dispatch_uid="history.rollups")
        provide_traffic(provider_traffic)
        provide_rule_traffic(rule_traffic)
        provide_recorded_routes(recorded_route)
        provide_recent_routes(recent_routes)
        provide_oldest_route(oldest_route)
        provide_spent(spent)
        provide_tally(tally)
        provide_journal_backlog(lambda: status.unshipped_bytes(get_env().journal_dir))
