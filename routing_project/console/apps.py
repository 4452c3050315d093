from django.apps import AppConfig


class ConsoleConfig(AppConfig):
    name = "routing_project.console"
    label = "console"

    def ready(self) -> None:
        from django.contrib.auth.signals import user_logged_in, user_logged_out

        from history.queries import provider_traffic, rule_traffic
        from routes.ports import provide_health, provide_rule_traffic, provide_traffic
        from routing_project import (
            celery,  # noqa: F401 - the application that tasks are sent through
            checks,  # noqa: F401 - registers them
        )
        from routing_project.console.board.rows import provider_badges
        from routing_project.console.logins import record_login, record_logout

        user_logged_in.connect(record_login)
        user_logged_out.connect(record_logout)
        provide_traffic(provider_traffic)
        provide_rule_traffic(rule_traffic)
        provide_health(provider_badges)
