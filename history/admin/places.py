"""Where in the console people do what ``routes.engine.troubles`` advises. No query."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from django.urls import reverse

from history.admin.frame import Action


def of(see: str, slug: str, provider: Any, profile: Any) -> Action | None:
    """``see`` is ``Trouble.see``; ``provider`` and ``profile`` are primary keys, None where there is none."""
    match see:
        case "provider" if provider:
            return Action(reverse("admin:routes_provider_change", args=[provider]), f"Provider {slug}")
        case "health" | "provider":
            query = f"?{urlencode({'provider': slug})}" if slug else ""
            return Action(f"{reverse('admin:health_board')}{query}", "Health board")
        case "profile" if profile:
            return Action(reverse("admin:routes_profile_change", args=[profile]), "The profile")
        case "profile":
            return Action(reverse("admin:routes_profile_changelist"), "Profiles")
        case "keys":
            return Action(reverse("admin:routes_accesskey_changelist"), "Access keys")
        case "revisions":
            return Action(reverse("admin:routes_configrevision_changelist"), "Revisions")
    return None
