"""The closed list of events that rules can be about, what there is to say about each, and one of them as it happens.
Imports nothing of the project."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, NamedTuple, get_args

if TYPE_CHECKING:
    from datetime import datetime

EventKind = Literal[
    "provider_down",
    "provider_up",
    "circuit_opened",
    "circuit_closed",
    "failover_rate",
    "no_target",
    "budget_warning",
    "budget_exceeded",
    "head_registered",
    "head_offline",
    "policy_updated",
    "config_published",
    "journal_backlog",
]
EVENTS: Final[tuple[EventKind, ...]] = get_args(EventKind)
#: What somebody who has no wishes yet probably wants to hear of.
DEFAULT_EVENTS: Final[tuple[EventKind, ...]] = ("provider_down", "provider_up", "no_target", "journal_backlog")
#: Looked at every minute, against a threshold of the rule.
MEASURED: Final = frozenset({"failover_rate", "no_target", "journal_backlog"})

Severity = Literal["info", "warning", "critical"]
SEVERITIES: Final[tuple[Severity, ...]] = get_args(Severity)

ChannelKind = Literal["webhook", "slack", "discord", "email"]
#: Kinds that are told by a POST to a URL.
BY_URL: Final = frozenset({"webhook", "slack", "discord"})


class Told(NamedTuple):
    """An event as people read of it: its name, and when it happens."""

    name: str
    when: str


WORDS: Final[dict[str, Told]] = {
    "provider_down": Told(
        "Provider down", "every target of a provider is out: circuit open, found unhealthy, or head offline"
    ),
    "provider_up": Told("Provider up again", "a provider that was down has a working target again"),
    "circuit_opened": Told("Circuit opened", "a target failed so often that it is left alone for a while"),
    "circuit_closed": Told("Circuit closed", "a target that had been left alone takes requests again"),
    "failover_rate": Told("Many failovers", "too large a share of requests needs more than one attempt"),
    "no_target": Told("No target available", "requests were refused because nothing was left to try"),
    "budget_warning": Told("Budget nearly used up", "an access key has spent 80 % of a budget"),
    "budget_exceeded": Told("Budget used up", "an access key has spent a budget; its requests are refused"),
    "head_registered": Told("Head registered", "a head registered itself under a provider"),
    "head_offline": Told("Head offline", "a head sent no heartbeat for its time to live"),
    "policy_updated": Told("Routing policy changed", "somebody changed the routing policy of the draft"),
    "config_published": Told("Configuration published", "a revision was published, or an old one brought back"),
    "journal_backlog": Told("Journal backlog", "too much of the journal is not in the database yet"),
}


@dataclass(frozen=True, slots=True)
class AlertEvent:
    """Events of one ``kind`` and ``key`` are the same thing happening again. ``provider`` is a slug where the event is
    about one, ``path`` a page of the console."""

    kind: str
    key: str
    subject: str
    text: str
    at: datetime
    provider: str = ""
    path: str = ""
    fields: tuple[tuple[str, str], ...] = ()

    @property
    def title(self) -> str:
        return f"{WORDS[self.kind].name}: {self.subject}" if self.subject else WORDS[self.kind].name


class Over(NamedTuple):
    """What was going on has ended."""

    kind: str
    key: str
    at: datetime
