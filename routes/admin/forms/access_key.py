"""The access key form. The value itself is made by the action and shown once; it never passes through a form."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from django import forms

from routes.admin.forms.base import ConsoleForm
from routes.admin.forms.fields import Number, Whole, Words
from routes.draft import limits_of
from routes.models import AccessKey

if TYPE_CHECKING:
    from collections.abc import Iterable

    from django.forms.boundfield import BoundField


class UtcDateTime(forms.DateTimeField):
    """A moment in UTC, typed into the browser's own date and time field."""

    widget = forms.DateTimeInput(attrs={"type": "datetime-local", "step": "60"}, format="%Y-%m-%dT%H:%M")

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(input_formats=["%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S"], **kwargs)


class AccessKeyForm(ConsoleForm):
    name = forms.CharField(
        label="Name",
        max_length=200,
        help_text="The application that uses it, like “search-service”; shown in the history.",
    )
    profile = forms.ChoiceField(
        label="Profile", choices=(), help_text="Where <code>/v1/…</code> goes when the path names no profile."
    )
    scopes = forms.MultipleChoiceField(
        label="Scopes",
        choices=AccessKey.Scope.choices,
        widget=forms.CheckboxSelectMultiple,
        help_text="An application that only sends requests needs nothing but the first.",
    )
    allow = forms.MultipleChoiceField(
        label="May also use",
        choices=AccessKey.Allow.choices,
        required=False,
        widget=forms.CheckboxSelectMultiple,
        help_text="<code>x-route-debug</code> tells a client how it was routed; overrides let it name strategy and "
        "providers.",
    )
    expires = UtcDateTime(label="Expires (UTC)", required=False, help_text="Empty: never.")
    region = forms.CharField(
        label="Region", max_length=64, required=False, help_text="Where its clients are, like <code>eu-west</code>."
    )
    tags = Words(
        label="Tags",
        nothing=[],
        help_text="For rules that ask for tags of the access key, like <code>internal, batch</code>.",
    )
    models = Words(
        label="Models it may ask for",
        help_text="With commas; <code>*</code> stands for anything, like <code>gpt-4o*, claude-*</code>. "
        "Empty: any model.",
    )
    profiles = Words(
        label="Profiles it may use",
        help_text="Slugs with commas between them. Empty: any profile.",
    )

    groups: ClassVar[dict[str, dict[str, forms.Field]]] = {
        "limits": {
            "rpm": Whole(label="Requests", required=False, unit="per minute", help_text="Like <code>600</code>."),
            "tpm": Whole(
                label="Tokens",
                required=False,
                unit="per minute",
                help_text="Input and output together, like <code>100000</code>.",
            ),
            "concurrency": Whole(
                label="Requests at once",
                required=False,
                unit="in flight",
                help_text="A stream counts until it ends; like <code>20</code>.",
            ),
            "usd_day": Number(
                label="Money per day", required=False, unit="USD", help_text="From 00:00 UTC; like <code>5</code>."
            ),
            "usd_week": Number(label="Money per week", required=False, unit="USD", help_text="From Monday, 00:00 UTC."),
            "usd_month": Number(
                label="Money per month", required=False, unit="USD", help_text="From the 1st, 00:00 UTC."
            ),
        }
    }
    restrictions: ClassVar[tuple[str, ...]] = ("models", "profiles")

    def __init__(self, *args: Any, profile_slugs: Iterable[str], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        slugs = list(profile_slugs)
        present = self.initial.get("profile")
        if present and present not in slugs:
            slugs.append(present)
        choice = self.fields["profile"]
        assert isinstance(choice, forms.ChoiceField)
        choice.choices = [(slug, slug) for slug in slugs]

    def document(self) -> dict[str, Any]:
        """The key as the configuration document has it, without its value."""
        values = self.cleaned_data
        return {
            "name": values["name"],
            "profile": values["profile"],
            "scopes": values["scopes"],
            "allow": values["allow"],
            "expires": values["expires"],
            "region": values["region"] or None,
            "tags": values["tags"],
            "models": values["models"],
            "profiles": values["profiles"],
            "limits": self.group_limits("limits"),
        }

    @property
    def limit_fields(self) -> list[BoundField]:
        return self.group_fields("limits")


def initial_of(key: AccessKey) -> dict[str, Any]:
    """What the form shows for a stored key."""
    return {
        "name": key.name,
        "profile": key.profile,
        "scopes": key.scopes,
        "allow": key.allow,
        "expires": key.expires,
        "region": key.region or "",
        "tags": key.tags,
        "models": key.allowed_models,
        "profiles": key.allowed_profiles,
        **{f"limits.{name}": value for name, value in limits_of(key).items()},
        "version": key.version,
    }
