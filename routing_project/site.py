"""The admin site of the product: its name, its face and its order of things."""

from django.contrib.admin import AdminSite
from django.contrib.admin.apps import AdminConfig


class ConsoleSite(AdminSite):
    site_header = "Signalbox"
    site_title = "Signalbox"
    index_title = "Dashboard"


class ConsoleAdminConfig(AdminConfig):
    default_site = "routing_project.site.ConsoleSite"
