"""The form of the explain page: a request as pasted, or the id of a recorded one, and what to imagine.

Translates what a person types into the document of ``routes.explain`` and its errors back to fields; what is right is
decided there.
"""

from __future__ import annotations

import json
from datetime import UTC
from typing import TYPE_CHECKING, Any, ClassVar

from django import forms
from django.core.exceptions import ValidationError

from routes.explain.documents import MAX_DRAWS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

#: What each choice for a provider means, as the page writes it.
TROUBLES = (("", "as it is"), ("down", "down"), ("429", "429"), ("slow", "slow"))
PATHS = (
    "/v1/chat/completions",
    "/v1/messages",
    "/v1/responses",
    "/v1/completions",
    "/v1/embeddings",
    "/v1/messages/count_tokens",
)
SAMPLE = {"model": "gpt-4o", "messages": [{"role": "user", "content": "Hello"}]}
#: Path in the document -> field of the form; longer ones first.
FIELDS = {
    "request.headers": "headers",
    "request.body": "body",
    "request.path": "path",
    "request": "body",
    "id": "id",
    "profile": "profile",
    "revision": "revision",
    "key": "key",
    "overrides.at": "at",
    "draws": "draws",
}


class ExplainForm(forms.Form):
    id = forms.CharField(
        label="Recorded request",
        required=False,
        max_length=64,
        strip=True,
        help_text="The route id of a request in the history. Leave it empty to paste one below.",
        widget=forms.TextInput(attrs={"placeholder": "0199c3a0-8c1e-7cc2-9b1e-0d4b6a2f9d10", "spellcheck": "false"}),
    )
    path = forms.CharField(
        label="Address",
        required=False,
        max_length=2000,
        help_text="Any address of the data plane; also /p/{profile}/v1/… and /p/{profile}/s/{session}/v1/….",
        widget=forms.TextInput(attrs={"list": "explain-paths", "spellcheck": "false"}),
    )
    body = forms.CharField(
        label="Body",
        required=False,
        strip=False,
        help_text="JSON as the client would send it.",
        widget=forms.Textarea(attrs={"rows": 10, "spellcheck": "false", "class": "input code-input"}),
    )
    headers = forms.CharField(
        label="Headers",
        required=False,
        help_text="One a line: x-route-region: eu-west. x-forwarded-for stands for the client’s address.",
        widget=forms.Textarea(attrs={"rows": 3, "spellcheck": "false", "class": "input code-input"}),
    )
    profile = forms.ChoiceField(label="Profile", required=False)
    revision = forms.CharField(
        label="Revision",
        required=False,
        max_length=20,
        help_text="live, draft or a number. Empty: live, and for a recorded request the one that decided it.",
        widget=forms.TextInput(attrs={"list": "explain-revisions", "placeholder": "live", "spellcheck": "false"}),
    )
    key = forms.ChoiceField(label="Access key", required=False)
    at = forms.DateTimeField(
        label="Time",
        required=False,
        help_text="UTC; now when empty.",
        widget=forms.DateTimeInput(attrs={"type": "datetime-local"}, format="%Y-%m-%dT%H:%M"),
    )
    draws = forms.IntegerField(
        label="Draws",
        min_value=1,
        max_value=MAX_DRAWS,
        help_text="Decisions to make for the shares.",
        widget=forms.NumberInput(attrs={"inputmode": "numeric"}),
    )

    PREFIX: ClassVar[str] = "trouble-"

    def __init__(
        self, *args: Any, profiles: Iterable[str], keys: Iterable[str], providers: Iterable[str], **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        _choices(self.fields["profile"], ("", "the path’s or the key’s"), profiles)
        _choices(self.fields["key"], ("", "none"), keys)
        for slug in providers:
            self.fields[self.PREFIX + slug] = forms.ChoiceField(
                label=slug, required=False, choices=TROUBLES, widget=forms.RadioSelect
            )

    @property
    def troubles(self) -> list[forms.BoundField]:
        """The choice for each provider."""
        return [self[name] for name in self.fields if name.startswith(self.PREFIX)]

    @property
    def imagines(self) -> bool:
        """Whether anything is imagined of a provider."""
        return any(bound.value() for bound in self.troubles)

    def clean_headers(self) -> dict[str, str]:
        found: dict[str, str] = {}
        for line in str(self.cleaned_data["headers"]).splitlines():
            if not line.strip():
                continue
            name, colon, value = line.partition(":")
            if not colon:
                raise ValidationError(f"“{line.strip()[:60]}” has no colon: write name: value.")
            found[name.strip()] = value.strip()
        return found

    def document(self) -> dict[str, Any]:
        """The question as ``routes.explain`` takes it; the form must be valid."""
        data = self.cleaned_data
        wanted: dict[str, Any] = {name: data[name] for name in ("profile", "revision", "key") if data[name]}
        wanted["draws"] = data["draws"]
        if data["id"]:
            wanted["id"] = data["id"]
        else:
            wanted["request"] = {
                "path": data["path"] or PATHS[0],
                "headers": data["headers"],
                "body": data["body"] or None,
            }
        providers = {
            name.removeprefix(self.PREFIX): value
            for name, value in data.items()
            if name.startswith(self.PREFIX) and value
        }
        overrides: dict[str, Any] = {"providers": providers}
        if data["at"]:
            overrides["at"] = data["at"].replace(tzinfo=UTC).isoformat()
        wanted["overrides"] = overrides
        return wanted

    def add_errors(self, fields: Mapping[str, Sequence[str]], message: str) -> None:
        """Errors of ``routes.explain`` at the fields their paths name."""
        if not fields:
            self.add_error(None, message)
        for path, messages in fields.items():
            name = next((field for prefix, field in FIELDS.items() if path.startswith(prefix)), None)
            inner = path.removeprefix(next((prefix for prefix in FIELDS if path.startswith(prefix)), "")).lstrip(".")
            for text in messages:
                self.add_error(name, f"{inner}: {text}" if inner else text)


def _choices(field: Any, empty: tuple[str, str], names: Iterable[str]) -> None:
    field.choices = [empty, *((name, name) for name in names)]


def sample() -> str:
    """A body to begin with."""
    return json.dumps(SAMPLE, indent=2)
