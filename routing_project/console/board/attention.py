"""What the dashboard says of health, with links to the board: who is out of service, what people hold or set aside.

Pure functions over a health report, as those of ``console.attention`` beside which they are shown.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlencode

from django.urls import reverse

from health import words
from routing_project.console.attention import Item
from routing_project.console.board.rows import Need, need_of

if TYPE_CHECKING:
    from health.report import Admin, HealthReport, TargetHealth

#: Targets out of service that are named one by one.
MOST = 5


def out_of_service(found: HealthReport) -> list[Item]:
    """Providers whose credential rests, and targets that get no requests although nobody took them out of service."""
    items = [
        _item("bad", "clock", f"Provider {each.slug} is quarantined", words.quarantine(quarantine, found.at), each.slug)
        for each in found.providers
        for quarantine in each.quarantines
        if quarantine.model is None
    ]
    out = [target for target in found.targets if need_of(target) == Need.OUT]
    items += [_of_target("bad", "unplug", f"{target.label} is out of service", target) for target in out[:MOST]]
    more = len(out) - MOST
    if more > 0:
        title = f"{more} more target{'' if more == 1 else 's'} out of service"
        items.append(_item("bad", "unplug", title, "The health board shows them first, each with its reason."))
    return items


def held_circuits(found: HealthReport) -> list[Item]:
    """Circuits that people hold, lest it be forgotten."""
    return [
        _of_target("warn", "lock", f"The circuit of {target.label} is held {target.circuit.state}", target)
        for target in found.targets
        if target.circuit.forced and target.circuit.state != "half_open"
    ]


def heads_waiting(found: HealthReport) -> list[Item]:
    """Heads that nobody has approved yet."""
    items = []
    for provider in found.providers:
        waiting = provider.heads.registered - provider.heads.approved
        if waiting > 0:
            title = f"{waiting} head{' waits' if waiting == 1 else 's wait'} for approval"
            text = f"Registered at {provider.slug} from outside its head networks: no requests until it is approved."
            query = urlencode({"provider": provider.slug, "approved": "no"})
            url = f"{reverse('admin:health_head_changelist')}?{query}"
            items.append(Item("warn", "hard-drive", title, text, url, "Review heads"))
    return items


def set_aside(found: HealthReport) -> list[Item]:
    """Providers and targets that people took out of service, lest it be forgotten."""
    items = []
    for provider in found.providers:
        if provider.admin.state != "active":
            items.append(_aside(f"Provider {provider.slug}", provider.admin, provider.slug))
        items += [
            _aside(target.label, target.admin, target.provider, target.id)
            for target in provider.targets
            if target.admin.state != "active"
        ]
    return items


def _aside(name: str, admin: Admin, provider: str, target_id: str = "") -> Item:
    details = f"Set by {admin.by}" if admin.by else "Set by hand"
    if admin.until:
        details += f" until {admin.until:%Y-%m-%d %H:%M} UTC"
    if admin.reason:
        details += f": “{admin.reason}”"
    icon = "circle-pause" if admin.state == "draining" else "circle-off"
    return _item("warn", icon, f"{name} is {admin.state}", f"{details}.", provider, target_id)


def _of_target(tone: str, icon: str, title: str, target: TargetHealth) -> Item:
    return _item(tone, icon, title, target.why, target.provider, target.id)


def _item(tone: str, icon: str, title: str, text: str, provider: str = "", target_id: str = "") -> Item:
    url = reverse("admin:health_board")
    if provider:
        url += f"?{urlencode({'provider': provider})}"
    return Item(tone, icon, title, text, f"{url}#t-{target_id}" if target_id else url, "Health board")
