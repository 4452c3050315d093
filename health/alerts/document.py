"""Channels and rules as the API takes them; validated here, stored by ``health.alerts.actions``. Free of Django."""

from __future__ import annotations

import re
from typing import Annotated, ClassVar, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, model_validator

from health.alerts.kinds import BY_URL, ChannelKind, EventKind, Severity
from routes.document.address import check_base_url
from routes.document.base import TIDY, Name, Slug, Strict, unique
from routes.document.errors import refused

URL_LENGTH = 2000
SECRET_LENGTH = (16, 500)
#: Deliberately simple: whether an address works is the mail server's to say.
ADDRESS = re.compile(r"[^\s@<>,;:\"()\\]+@[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?")


class AlertSecret(Strict):
    """A secret on its way in; exactly one of two. Never written out again."""

    value: str | None = Field(default=None, repr=False)
    keep: Literal[True] | None = None

    @model_validator(mode="after")
    def exactly_one(self) -> Self:
        if (self.value is None) == (self.keep is None):
            raise ValueError("must be exactly one of value, keep")
        return self


def check_url(url: str) -> str:
    """An address to post to. Unlike a base URL it may have a query. Raises ValueError, which never quotes it."""
    if len(url) > URL_LENGTH:
        raise ValueError(f"has at most {URL_LENGTH} characters")
    if "#" in url:
        raise ValueError("must not hold a fragment")
    base, _, query = url.partition("?")
    check_base_url(base)
    if not query.isascii() or not query.isprintable() or " " in query:
        raise ValueError("must be a URL in plain ASCII")
    return url


def check_signing_secret(value: str) -> str:
    shortest, longest = SECRET_LENGTH
    if not shortest <= len(value) <= longest:
        raise ValueError(f"has {shortest} to {longest} characters")
    if not value.isascii() or not value.isprintable() or value != value.strip():
        raise ValueError("is one line of ASCII without outer spaces")
    return value


def host_of(url: str) -> str:
    """What may be shown of a URL: scheme and host."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def check_recipient(address: str) -> str:
    if len(address) > 254 or not address.isascii() or not ADDRESS.fullmatch(address):
        raise ValueError("is not an e-mail address")
    return address


class AlertChannel(Strict):
    """Where alerts are told. ``url`` and ``secret`` (of webhooks: signs what is sent) are write-only and come back as
    ``{"keep": true}``; ``per_hour`` caps its messages, 0 = no cap."""

    name: Name
    kind: ChannelKind
    enabled: bool = True
    url: AlertSecret | None = Field(default=None, repr=False)
    secret: AlertSecret | None = Field(default=None, repr=False)
    recipients: Annotated[
        list[Annotated[str, AfterValidator(check_recipient)]], AfterValidator(unique), Field(max_length=50)
    ] = Field(default_factory=list)
    network: Literal["public", "private", "loopback"] = "public"
    per_hour: int = Field(default=60, ge=0, le=10_000)

    @model_validator(mode="after")
    def what_the_kind_needs(self) -> Self:
        """Kinds by URL need one, and nothing but e-mail has recipients."""
        if error := self._problem():
            raise refused(error)
        return self

    def _problem(self) -> tuple[str, str] | None:
        """(field, what is wrong with it)."""
        if self.kind in BY_URL:
            if self.url is None:
                return "url", "required for this kind of channel"
            if self.recipients:
                return "recipients", "only e-mail has recipients"
        else:
            if not self.recipients:
                return "recipients", "e-mail needs at least one"
            if self.url is not None:
                return "url", "e-mail has none; its server is set by SIGNALBOX_EMAIL_URL"
        if self.kind == "webhook" and self.secret is None:
            return "secret", "required for a webhook: it signs what is sent"
        if self.kind != "webhook" and self.secret is not None:
            return "secret", "only webhooks are signed"
        return None


class AlertThresholds(Strict):
    """From where on the measured events happen. ``failover_rate``: percent of the requests of the window, of which
    there must be ``min_requests``; ``no_target``: refused requests in the window; ``journal_backlog``: MiB."""

    failover_rate: Annotated[float, Field(gt=0, le=100), TIDY] = 20
    min_requests: int = Field(default=20, ge=1, le=1_000_000)
    no_target: int = Field(default=1, ge=1, le=1_000_000)
    journal_backlog: Annotated[float, Field(gt=0, le=1_000_000), TIDY] = 100


class AlertRule(Strict):
    """Which events are told to which channels. ``providers`` (slugs; none = all) narrows events that are about a
    provider. Times in seconds: ``window`` is what measured events look back on, ``repeat`` how long the same event
    about the same thing is only counted."""

    #: Fixed-field objects that a partial update merges instead of replacing.
    OBJECTS: ClassVar[dict[str, dict[str, object]]] = {"thresholds": {}}

    name: Name
    enabled: bool = True
    severity: Severity = "warning"
    events: Annotated[list[EventKind], AfterValidator(unique), Field(min_length=1)]
    providers: Annotated[list[Slug], AfterValidator(unique), Field(max_length=1000)] = Field(default_factory=list)
    channels: Annotated[list[Name], AfterValidator(unique), Field(max_length=100)] = Field(default_factory=list)
    thresholds: AlertThresholds = Field(default_factory=AlertThresholds)
    window: int = Field(default=300, ge=60, le=3600)
    repeat: int = Field(default=900, ge=0, le=86_400)
