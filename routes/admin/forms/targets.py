"""Targets in a form: one row per place, in the order the person gave them. Used by profiles and by rules."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from django import forms
from django.forms.formsets import BaseFormSet, formset_factory
from django.forms.utils import flatatt
from django.utils.html import format_html, format_html_join
from django.utils.safestring import mark_safe

from routes.admin.forms.fields import Number, Whole

if TYPE_CHECKING:
    from collections.abc import Iterable

    from django.http import HttpRequest
    from django.utils.safestring import SafeString

    from routes.models import Provider
    from routes.models.profile import Place

PREFIX = "targets"
#: Hints for model and weight: what an empty field means.
OF_PROFILE = ("as asked for", "default")
OF_RULE = ("the profile’s", "profile’s")


class PlainSelect(forms.Select):
    """A list to choose one from, drawn without Django's template per entry: a page may hold dozens of lists of
    hundreds of providers."""

    def render(self, name: str, value: Any, attrs: dict[str, Any] | None = None, renderer: Any = None) -> SafeString:
        chosen = "" if value is None else str(value)
        options = (
            (choice, mark_safe(" selected") if str(choice) == chosen else "", label)  # a constant
            for choice, label in self.choices
        )
        entries = format_html_join("", '<option value="{}"{}>{}</option>', options)
        own = flatatt(self.build_attrs(self.attrs, attrs))
        return format_html('<select name="{}"{}>{}</select>', name, own, entries)


class TargetForm(forms.Form):
    """One place."""

    provider = forms.ChoiceField(label="Provider", choices=(), widget=PlainSelect)
    model = forms.CharField(
        label="Model",
        required=False,
        max_length=200,
        widget=forms.TextInput(attrs={"autocomplete": "off", "spellcheck": "false"}),
    )
    weight = Number(label="Weight", required=False)
    tier = Whole(label="Tier", required=False)

    def __init__(
        self,
        *args: Any,
        providers: Iterable[Provider],
        hints: tuple[str, str] = OF_PROFILE,
        read_only: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        choice = self.fields["provider"]
        assert isinstance(choice, forms.ChoiceField)
        choice.choices = [("", "Choose…"), *((p.slug, p.slug) for p in providers)]
        for name, hint in zip(("model", "weight"), hints, strict=True):
            self.fields[name].widget.attrs["placeholder"] = hint
        for name, field in self.fields.items():
            field.disabled = read_only
            field.widget.attrs.update({"class": "input", "data-field": name})

    def document(self) -> dict[str, Any]:
        values = self.cleaned_data
        return {
            "provider": values["provider"],
            "model": values["model"] or None,
            "weight": values["weight"],
            "tier": values["tier"] or 0,
        }


if TYPE_CHECKING:
    TargetForms = BaseFormSet[TargetForm]
else:
    TargetForms = BaseFormSet  # generic for the type checker only


class TargetFormSet(TargetForms):
    """The targets in the order the person gave them."""

    def rows(self) -> list[TargetForm]:
        """Forms that are kept, in order."""
        kept = [form for form in self.forms if form.has_changed() or form.initial]
        if not self.is_bound:
            return kept
        kept = [form for form in kept if not form.data.get(f"{form.prefix}-DELETE")]
        return sorted(kept, key=_place)

    def document(self) -> list[dict[str, Any]]:
        return [form.document() for form in self.rows()]

    def add_document_errors(self, errors: dict[str, list[str]]) -> dict[str, list[str]]:
        """Put errors of ``targets[n].field`` where they belong; returns what is left."""
        left: dict[str, list[str]] = {}
        rows = self.rows()
        for path, messages in errors.items():
            index, _, field = path.removeprefix("targets[").partition("]")
            if path.startswith("targets[") and index.isdecimal() and int(index) < len(rows):
                form = rows[int(index)]
                name = field.removeprefix(".")
                for text in messages:
                    form.add_error(name if name in form.fields else None, text)
            else:
                left[path] = messages
        return left


def _place(form: TargetForm) -> int:
    """Where the person put the row; asked of the raw data, so that rows with errors stay in place."""
    typed = str(form.data.get(f"{form.prefix}-ORDER", ""))
    return int(typed) if typed.isdecimal() else 0


TARGETS = formset_factory(
    TargetForm, formset=TargetFormSet, extra=0, can_order=True, can_delete=True, max_num=500, validate_max=True
)


def target_rows(
    providers: list[Provider],
    request: HttpRequest | None = None,
    initial: list[dict[str, Any]] | None = None,
    hints: tuple[str, str] = OF_PROFILE,
    read_only: bool = False,
) -> TargetFormSet:
    """The rows of a page: as they were sent, or as they are stored."""
    kwargs = {"providers": providers, "hints": hints, "read_only": read_only}
    data = request.POST if request else None
    # formset_factory does not carry the class it was given into its type.
    return cast("TargetFormSet", TARGETS(data, initial=initial, prefix=PREFIX, form_kwargs=kwargs))


def initial_targets(places: Iterable[Place]) -> list[dict[str, Any]]:
    """The rows of stored targets; no query when they and their providers are prefetched."""
    return [
        {"provider": place.provider.slug, "model": place.model or "", "weight": place.weight, "tier": place.tier}  # type: ignore[attr-defined]  # both kinds of place have a provider
        for place in places
    ]
