"""The pages of the configuration in the admin site. Found by Django's autodiscovery."""

from routes.admin import access_keys, audit, policy, profiles, providers, revisions, rules

__all__ = ["access_keys", "audit", "policy", "profiles", "providers", "revisions", "rules"]
