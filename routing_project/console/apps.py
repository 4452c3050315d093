from django.apps import AppConfig


class ConsoleConfig(AppConfig):
    name = "routing_project.console"
    label = "console"
