"""What the dashboard puts first: things somebody should look at, worst first, and the steps of a fresh install.

Pure functions over rows that the dashboard has loaded; they ask the database nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from django.urls import reverse

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from health.report import HealthReport
    from history.queries import Opening
    from routes.models import AccessKey, Profile

#: Keys that expire within this many days are pointed out.
EXPIRY_DAYS = 7
#: Failure rate of the last hour that is worth a line, and the requests it needs to mean anything.
FAILURE_RATE = 0.05
MIN_REQUESTS = 20


class Item(NamedTuple):
    tone: str  # bad | warn | info: the order in which they are shown
    icon: str
    title: str
    text: str
    url: str = ""
    button: str = ""


class Step(NamedTuple):
    title: str
    text: str
    done: bool
    now: bool = False
    url: str = ""
    button: str = ""
    snippet: str = ""


def profiles_without_target(profiles: Iterable[Profile]) -> list[Item]:
    """Profiles (with their targets prefetched) whose requests can go nowhere."""
    items = []
    for profile in profiles:
        targets = list(profile.targets.all())
        if any(target.provider.admin_state == "active" for target in targets):
            continue
        why = "every provider of its targets is drained or disabled" if targets else "it has no target"
        items.append(
            Item(
                "bad",
                "circle-x",
                f"Profile {profile.slug} can serve nothing",
                f"Requests to it are refused with 503, because {why}.",
                reverse("admin:routes_profile_change", args=[profile.pk]),
                "Open profile",
            )
        )
    return items


def circuits_that_opened(openings: Iterable[Opening], found: HealthReport) -> list[Item]:
    """Targets that failed so often in the last hour that they were left alone for a while. Not those that are left
    alone now: they are told of as such."""
    out = {(target.provider, target.upstream_model) for target in found.targets if target.circuit.state == "open"}
    items = []
    for provider, model, times, last in openings:
        if (provider, model) in out or (provider, None) in out:
            continue
        often = {1: "once", 2: "twice"}.get(times, f"{times} times")
        items.append(
            Item(
                "warn",
                "unplug",
                f"The circuit of {provider} / {model} opened {often} in the last hour",
                f"Last at {last:%H:%M:%S} UTC. While a circuit is open, requests go to the other targets.",
                reverse("admin:history_routehistory_changelist") + "?range=1h&attempt_count__gt=1",
                "See requests",
            )
        )
    return items


def keys_that_expire(keys: Iterable[AccessKey], now: datetime) -> list[Item]:
    """Enabled keys whose clients are or will soon be locked out."""
    items = []
    for key in keys:
        if not key.enabled or key.expires is None or (key.expires - now).days >= EXPIRY_DAYS:
            continue
        gone = key.expires <= now
        items.append(
            Item(
                "bad" if gone else "warn",
                "key-round",
                f"Access key {key.name} {'has expired' if gone else 'expires soon'}",
                f"{'Since' if gone else 'On'} {key.expires:%Y-%m-%d %H:%M} UTC its requests are refused with 401.",
                reverse("admin:routes_accesskey_change", args=[key.pk]),
                "Open key",
            )
        )
    return items


def first_steps(
    has_provider: bool,
    profiles: Sequence[Profile],
    keys: Sequence[AccessKey],
    live_number: int | None,
    unpublished: int,
    any_route: bool,
    curl: str,
) -> list[Step]:
    """The way from an empty install to the first request; the first undone step is the one to take now."""
    has_target = any(list(profile.targets.all()) for profile in profiles)
    has_key = any(key.usable for key in keys)
    steps = [
        Step(
            "Add a provider",
            "An account with OpenAI, Anthropic or anyone who speaks their API: address and credential.",
            has_provider,
            url=reverse("admin:routes_provider_add"),
            button="Add provider",
        ),
        Step(
            "Make a profile",
            "Which targets serve a request, in which order, with which weights.",
            has_target,
            url=reverse("admin:routes_profile_add"),
            button="Make profile",
        ),
        Step(
            "Publish",
            "Edits are a draft until you publish them; then every process follows within two seconds.",
            live_number is not None and not (unpublished and not any_route and not has_key),
            url=reverse("admin:routes_configrevision_changelist"),
            button="Review and publish",
        ),
        Step(
            "Create an access key",
            "What your application sends instead of the provider’s own key. It is shown once.",
            has_key,
            url=reverse("admin:routes_accesskey_add"),
            button="Create key",
        ),
        Step(
            "Send the first request",
            "With your access key in place of $SIGNALBOX_KEY. It appears in the history within two seconds.",
            any_route,
            snippet=curl,
        ),
    ]
    first_open = next((place for place, step in enumerate(steps) if not step.done), None)
    return [
        step._replace(now=place == first_open, snippet=step.snippet if place == first_open else "")
        for place, step in enumerate(steps)
    ]
