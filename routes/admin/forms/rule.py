"""The rule form: name, condition, strategy of its own. The condition is JSON in one field, which the editor of the page
works on; without scripts it is edited as it is. Targets are in ``targets``.

Values are judged by ``routes.document`` through the action.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from django import forms
from django.core.exceptions import ValidationError

from routes.admin.forms.strategies import StrategyChoice, StrategyForm, initial_params, word
from routes.engine import strategies

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from routes.admin.forms.targets import TargetFormSet

#: The params that a rule without a strategy changes are those of the profile's.
OF_PROFILE = "profile"


class JsonTree(forms.CharField):
    """A JSON value as text; what it may say is judged elsewhere."""

    widget = forms.Textarea

    def prepare_value(self, value: Any) -> Any:
        return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, indent=2)

    def to_python(self, value: Any) -> Any:
        text = super().to_python(value)
        if not text:
            return None
        try:
            return json.loads(text)
        except ValueError as error:
            raise ValidationError(f"This is not JSON: {error}") from None
        except RecursionError:
            raise ValidationError("This is nested too deeply.") from None


class RuleForm(StrategyForm):
    name = forms.CharField(
        label="Name",
        max_length=200,
        help_text="How the history and metrics name it, like “long context”. A rule that gets another name starts "
        "its counters anew.",
    )
    description = forms.CharField(
        label="Description",
        required=False,
        max_length=2000,
        widget=forms.Textarea(attrs={"rows": "2"}),
        help_text="Why it is there, for whoever finds it later.",
    )
    enabled = forms.BooleanField(label="Enabled", required=False, help_text="Off: the rule is passed over.")
    when = JsonTree(
        label="Condition",
        widget=forms.Textarea(attrs={"rows": "12", "spellcheck": "false", "class": "input code"}),
    )
    strategy = forms.ChoiceField(label="Strategy", choices=(), required=False)
    fallback_to_profile = forms.BooleanField(
        label="Then the profile’s own targets",
        required=False,
        help_text="When none of the targets above is left, or all of them failed. Off: the request fails then.",
    )

    def __init__(self, *args: Any, profile_strategy: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.profile_strategy = strategies.normalise(profile_strategy)
        choice = self.fields["strategy"]
        assert isinstance(choice, forms.ChoiceField)
        choice.choices = [("", "The profile’s"), *((name, word(name)) for name in strategies.NAMES)]
        if self.profile_strategy in strategies.REGISTRY:
            self.add_params(f"params.{OF_PROFILE}", strategies.REGISTRY[self.profile_strategy], optional=True)

    @property
    def chosen(self) -> str:
        return strategies.normalise(self["strategy"].value()) if self["strategy"].value() else ""

    @property
    def of_profile(self) -> StrategyChoice:
        """The choice to follow the profile."""
        name = self.profile_strategy
        sentence = strategies.REGISTRY[name].description if name in strategies.REGISTRY else ""
        fields = self.group_fields(f"params.{OF_PROFILE}")
        return StrategyChoice(
            "", "The profile’s", f"Now {word(name)}: {sentence}", not self.chosen, fields, self.note_of(name)
        )

    @property
    def chosen_strategy(self) -> StrategyChoice | None:
        return super().chosen_strategy if self.chosen else self.of_profile

    def params_group(self, strategy: str) -> str:
        return strategy or OF_PROFILE

    def document(self, targets: TargetFormSet) -> dict[str, Any]:
        """The rule as the configuration document has it."""
        values = self.cleaned_data
        return {
            "name": values["name"],
            "description": values["description"].replace("\r\n", "\n"),
            "enabled": values["enabled"],
            "when": values["when"],
            **self.partition(targets),
        }

    def partition(self, targets: TargetFormSet) -> dict[str, Any]:
        """What becomes of requests that match, whatever the rest of the form says."""
        strategy = self.cleaned_data["strategy"] or None
        params = self.group_values(f"params.{strategy or OF_PROFILE}")
        return {
            "targets": targets.document(),
            "strategy": strategy,
            "params": params if strategy or params else None,
            "fallback_to_profile": self.cleaned_data["fallback_to_profile"],
        }

    def add_document_errors(self, fields: Mapping[str, Sequence[str]], message: str) -> None:
        """Errors inside the condition keep their place in it: the editor shows them at the clause."""
        told: dict[str, list[str]] = {}
        for path, messages in fields.items():
            inside = path.removeprefix("when").removeprefix(".")
            if path.startswith("when") and inside:
                told.setdefault("when", []).extend(f"{inside}: {text}" for text in messages)
            else:
                told[path] = list(messages)
        super().add_document_errors(told, message)


def initial_of(tree: dict[str, Any], version: int | None = None) -> dict[str, Any]:
    """What the form shows for a rule as the document writes it."""
    strategy = strategies.normalise(tree["strategy"]) if tree["strategy"] else ""
    return {
        **{name: tree[name] for name in ("name", "description", "enabled", "when", "fallback_to_profile")},
        "strategy": strategy,
        **initial_params(strategy or OF_PROFILE, tree["params"] or {}),
        "version": version,
    }
