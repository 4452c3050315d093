from django.apps import AppConfig


class ConsoleConfig(AppConfig):
    name = "routing_project.console"
    label = "console"

    def ready(self) -> None:
        from history.queries import provider_traffic, rule_traffic
        from routes.ports import provide_health, provide_rule_traffic, provide_traffic
        from routing_project import (
            celery,  # noqa: F401 - the application that tasks are sent through
            checks,  # noqa: F401 - registers them
        )
        from routing_project.console.board.rows import provider_badges

        provide_traffic(provider_traffic)
        provide_rule_traffic(rule_traffic)
        provide_health(provider_badges)
