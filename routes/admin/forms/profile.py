"""The profile form and its targets: the document's fields as a person fills them in, and back.

Strategies come from the engine's registry, with their sentence and the fields of their params models, so a new
strategy module appears here by itself. Values are judged by ``routes.document`` through the action.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple, get_args, get_origin

from django import forms
from django.forms.formsets import BaseFormSet, formset_factory
from pydantic_core import PydanticUndefined

from routes.admin.forms.base import ConsoleForm
from routes.admin.forms.fields import Number, Numbers, Whole
from routes.engine import strategies

if TYPE_CHECKING:
    from collections.abc import Iterable

    from django.forms.boundfield import BoundField
    from pydantic.fields import FieldInfo

    from routes.models import Profile, Provider


class StrategyChoice(NamedTuple):
    name: str
    word: str
    sentence: str
    checked: bool
    params: list[BoundField]


def _word(name: str) -> str:
    return name.replace("_", " ").capitalize().replace("ewma", "EWMA")


def _param_field(name: str, info: FieldInfo) -> forms.Field:
    """A form field for one param, by its type."""
    common: dict[str, Any] = {"label": _word(name), "required": False, "help_text": info.description or ""}
    if get_origin(info.annotation) is Literal:
        return forms.ChoiceField(choices=[(value, _word(str(value))) for value in get_args(info.annotation)], **common)
    if info.annotation is bool:
        return forms.BooleanField(**common)
    if info.annotation is int:
        return Whole(**common)
    if info.annotation is float:
        return Number(**common)
    return forms.CharField(**common)


class ProfileForm(ConsoleForm):
    slug = forms.SlugField(
        label="Slug",
        max_length=64,
        help_text="Clients reach it at <code>/p/{slug}/v1/…</code>; it cannot be changed later. "
        "Lower-case letters, digits and hyphens.",
    )
    name = forms.CharField(label="Name", max_length=200, help_text="For people, like “Chat, European first”.")
    strategy = forms.ChoiceField(label="Strategy", choices=())
    accounting = forms.ChoiceField(
        label="Token counts of streams",
        choices=(
            ("when_asked", "Only when the client asks for usage"),
            ("off", "Never read them"),
        ),
        help_text="From these come the tokens and the cost in the history.",
    )

    groups: ClassVar[dict[str, dict[str, forms.Field]]] = {
        "failover": {
            "max_attempts": Whole(label="Attempts at most", help_text="Per request, over all targets."),
            "same_target_retries": Whole(
                label="Retries of the same target", help_text="For failures that a second try often mends."
            ),
            "retry_statuses": Numbers(
                label="HTTP statuses that move on", help_text="Like <code>500, 502, 503, 504, 529</code>."
            ),
            "auth_errors": forms.ChoiceField(
                label="When a provider refuses our credential",
                choices=(("failover", "Try the next target"), ("surface", "Hand the answer to the client")),
                required=False,
            ),
            "when_all_unhealthy": forms.ChoiceField(
                label="When every target is out",
                choices=(("try", "Try them all the same"), ("reject", "Refuse with 503")),
                required=False,
            ),
            "panic_concurrency": Whole(
                label="… with at most requests per target", help_text="In flight at once while every target is out."
            ),
        },
        "failover.timeouts": {
            "connect": Number(label="Connect", unit="seconds"),
            "first_byte": Number(label="First byte", unit="seconds", help_text="Answers that are not streams."),
            "first_event": Number(
                label="First event", unit="seconds", help_text="Streams: until the first content arrives."
            ),
            "first_event_soft": Number(
                label="First event, soft",
                unit="seconds",
                help_text="Later: move on if another target is there. 0: off.",
            ),
            "idle": Number(label="Idle", unit="seconds", help_text="Between two events of a stream."),
            "total": Number(label="Total", unit="seconds", help_text="Over all attempts, until an answer is chosen."),
            "stream_max": Number(label="Longest stream", unit="seconds"),
        },
    }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        choice = self.fields["strategy"]
        assert isinstance(choice, forms.ChoiceField)
        choice.choices = [(name, _word(name)) for name in strategies.NAMES]
        for name, strategy in strategies.REGISTRY.items():
            for param, info in strategy.params_model.model_fields.items():
                field = _param_field(param, info)
                field.disabled = self.read_only
                if info.default is not PydanticUndefined:
                    field.initial = info.default
                self.fields[f"params.{name}.{param}"] = field

    @property
    def strategy_choices(self) -> list[StrategyChoice]:
        """Every strategy with its sentence and its own params."""
        chosen = strategies.normalise(self["strategy"].value())
        return [
            StrategyChoice(name, _word(name), strategy.description, name == chosen, self.group_fields(f"params.{name}"))
            for name, strategy in strategies.REGISTRY.items()
        ]

    @property
    def failover_fields(self) -> list[BoundField]:
        return [self[f"failover.{name}"] for name in self.groups["failover"]]

    @property
    def timeout_fields(self) -> list[BoundField]:
        return self.group_fields("failover.timeouts")

    def place_of(self, path: str) -> str | None:
        if path.startswith("params.") and self.is_bound:
            path = f"params.{self.data.get('strategy', '')}.{path.removeprefix('params.')}"
        return super().place_of(path)

    def document(self, targets: TargetFormSet) -> dict[str, Any]:
        """The profile as the configuration document has it."""
        values = self.cleaned_data
        document: dict[str, Any] = {
            "name": values["name"],
            "strategy": values["strategy"],
            "accounting": values["accounting"],
            "params": self.group_values(f"params.{values['strategy']}"),
            "failover": self.group_values("failover"),
            "targets": targets.document(),
        }
        if not self.fields["slug"].disabled:
            document["slug"] = values["slug"]
        return document


class TargetForm(forms.Form):
    """One place of the profile."""

    provider = forms.ChoiceField(label="Provider", choices=())
    model = forms.CharField(
        label="Model",
        required=False,
        max_length=200,
        widget=forms.TextInput(attrs={"placeholder": "as asked for", "autocomplete": "off", "spellcheck": "false"}),
    )
    weight = Number(label="Weight", required=False)
    tier = Whole(label="Tier", required=False)

    def __init__(self, *args: Any, providers: Iterable[Provider], read_only: bool = False, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        choice = self.fields["provider"]
        assert isinstance(choice, forms.ChoiceField)
        choice.choices = [("", "Choose…"), *((p.slug, p.slug) for p in providers)]
        self.fields["weight"].widget.attrs["placeholder"] = "default"
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


def initial_of(profile: Profile) -> dict[str, Any]:
    """What the form shows for a stored profile."""
    failover = dict(profile.failover)
    timeouts = failover.pop("timeouts", {})
    return {
        "slug": profile.slug,
        "name": profile.name,
        "strategy": strategies.normalise(profile.strategy),
        "accounting": profile.accounting,
        **{f"params.{strategies.normalise(profile.strategy)}.{name}": v for name, v in profile.params.items()},
        **{f"failover.{name}": value for name, value in failover.items()},
        **{f"failover.timeouts.{name}": value for name, value in timeouts.items()},
        "version": profile.version,
    }


def initial_targets(profile: Profile) -> list[dict[str, Any]]:
    """The rows of a stored profile; no query when its targets and their providers are prefetched."""
    return [
        {"provider": target.provider.slug, "model": target.model or "", "weight": target.weight, "tier": target.tier}
        for target in profile.targets.all()
    ]
