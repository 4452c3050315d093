"""The forms of alert channels and rules. URL and secret are write-only: a form never holds stored ones, only what
somebody types. Values are judged by ``health.alerts.document`` through the action."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from django import forms

from health.alerts.actions import rule_tree
from health.alerts.document import AlertThresholds
from health.alerts.kinds import BY_URL, DEFAULT_EVENTS, WORDS
from health.models import AlertChannel, AlertRule
from routes.admin.forms.base import ConsoleForm
from routes.admin.forms.fields import Number, Whole, Words

if TYPE_CHECKING:
    from django.forms.boundfield import BoundField


def _write_only() -> forms.PasswordInput:
    return forms.PasswordInput(attrs={"autocomplete": "new-password", "spellcheck": "false"})


class AlertChannelForm(ConsoleForm):
    name = forms.CharField(label="Name", max_length=200, help_text="For people, like “On-call team”.")
    kind = forms.ChoiceField(
        label="Kind",
        choices=AlertChannel.Kind.choices,
        help_text="It cannot be changed later. Webhooks get signed JSON; Slack and Discord their own formats.",
    )
    enabled = forms.BooleanField(
        label="Switched on", required=False, help_text="Off: nothing is sent, and what waits is dropped."
    )
    url = forms.CharField(label="URL", required=False, strip=True, widget=_write_only())
    secret = forms.CharField(label="Signing secret", required=False, strip=True, widget=_write_only())
    recipients = Words(
        label="Recipients",
        nothing=[],
        help_text="Addresses with commas between them, like <code>ops@example.org</code>. The mail server is set by "
        "<code>SIGNALBOX_EMAIL_URL</code>.",
    )
    network = forms.ChoiceField(
        label="May be reached in",
        choices=AlertChannel.Network.choices,
        required=False,
        help_text="Addresses outside are refused when connecting. Metadata and link-local addresses always are.",
    )
    per_hour = Whole(
        label="Messages, at most",
        unit="per hour",
        help_text="Further ones are held back; the next one that is sent says how many. <code>0</code>: no limit.",
    )

    def document(self) -> dict[str, Any]:
        """The channel as the API takes it; secrets only where they were typed."""
        values = self.cleaned_data
        kind = values["kind"]
        document = {field: values[field] for field in ("name", "kind", "enabled", "per_hour")}
        if kind in BY_URL:
            document["network"] = values["network"] or AlertChannel.Network.PUBLIC
            if values["url"]:
                document["url"] = {"value": values["url"]}
        else:
            document["recipients"] = values["recipients"]
        if kind == AlertChannel.Kind.WEBHOOK and values["secret"]:
            document["secret"] = {"value": values["secret"]}
        return document


def initial_of_channel(channel: AlertChannel | None) -> dict[str, Any]:
    """What the form shows for a stored channel, or a new one."""
    if channel is None:
        return {"kind": "webhook", "enabled": True, "network": "public", "per_hour": 60}
    fields = ("name", "kind", "enabled", "recipients", "network", "per_hour", "version")
    return {field: getattr(channel, field) for field in fields}


class AlertRuleForm(ConsoleForm):
    name = forms.CharField(label="Name", max_length=200, help_text="For people, like “Providers that fail”.")
    severity = forms.ChoiceField(
        label="Severity", choices=AlertRule.Severity.choices, help_text="Stands in every message."
    )
    enabled = forms.BooleanField(label="Switched on", required=False)
    events = forms.MultipleChoiceField(
        label="Events",
        choices=[(kind, f"{told.name}: {told.when}") for kind, told in WORDS.items()],
        widget=forms.CheckboxSelectMultiple,
    )
    channels = forms.MultipleChoiceField(
        label="Channels",
        choices=(),
        required=False,
        widget=forms.CheckboxSelectMultiple,
        help_text="All of them are told.",
    )
    providers = Words(
        label="Only these providers",
        nothing=[],
        help_text="Slugs with commas between them, like <code>acme-eu, acme-us</code>. Empty: all. Events that are "
        "about no provider are told either way.",
    )
    repeat = Whole(
        label="Tell the same again after",
        unit="seconds",
        help_text="Until then it is only counted; afterwards one message says how often it came. <code>0</code>: tell "
        "every time.",
    )
    window = Whole(label="Look back", unit="seconds", help_text="For failovers and refusals; 60 to 3600.")

    groups: ClassVar[dict[str, dict[str, forms.Field]]] = {
        "thresholds": {
            "failover_rate": Number(
                label="Many failovers from", unit="% of requests", help_text="That needed more than one attempt."
            ),
            "min_requests": Whole(label="of at least", unit="requests", help_text="Fewer prove nothing."),
            "no_target": Whole(label="No target available from", unit="refused requests"),
            "journal_backlog": Number(label="Journal backlog from", unit="MiB"),
        }
    }

    def __init__(self, *args: Any, channel_names: list[str], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        choice = self.fields["channels"]
        assert isinstance(choice, forms.MultipleChoiceField)
        choice.choices = [(name, name) for name in channel_names]

    @property
    def threshold_fields(self) -> list[BoundField]:
        return self.group_fields("thresholds")

    def document(self) -> dict[str, Any]:
        values = self.cleaned_data
        fields = ("name", "severity", "enabled", "events", "channels", "providers", "repeat", "window")
        return {**{field: values[field] for field in fields}, "thresholds": self.group_values("thresholds")}


def initial_of_rule(rule: AlertRule | None) -> dict[str, Any]:
    """What the form shows for a stored rule, or a new one."""
    if rule is None:
        thresholds = AlertThresholds().model_dump(mode="json")
        tree: dict[str, Any] = {
            "severity": "warning",
            "enabled": True,
            "events": list(DEFAULT_EVENTS),
            "repeat": 900,
            "window": 300,
        }
    else:
        tree = {**rule_tree(rule), "version": rule.version}
        thresholds = tree.pop("thresholds")
    return {**tree, **{f"thresholds.{name}": value for name, value in thresholds.items()}}
