"""Choosing a strategy in a form: every strategy of the registry with its sentence, and the fields of its params.

Names, sentences and params come from the engine, so that a new strategy module appears here by itself; what is decided
here is only how strategies are grouped for the eye and which input a kind of param gets.
"""

from __future__ import annotations

from types import UnionType
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, get_args, get_origin

from django import forms
from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from routes.admin.forms.base import ConsoleForm
from routes.admin.forms.fields import Column, Number, Records, Whole
from routes.engine import strategies

if TYPE_CHECKING:
    from collections.abc import Callable

    from django.forms.boundfield import BoundField
    from pydantic.fields import FieldInfo

GROUPS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("In order", ("failover", "single", "tiered", "least_cost")),
    ("In turn and by weight", ("round_robin", "weighted", "smooth_weighted", "random")),
    (
        "By load and speed",
        ("peak_ewma", "least_latency", "least_in_flight", "least_used", "speed", "token_budget", "capacity"),
    ),
    (
        "By region and heads",
        ("geo_preferred", "hybrid", "adaptive", "least_loaded", "model_specific", "predictive"),
    ),
    ("The same for a session", ("consistent_hash", "ab_test")),
)
#: Examples for the columns of params that are lists of objects.
EXAMPLES = {"name": "B", "share": "1", "targets": "acme-eu, backup/gpt-4o"}


class StrategyChoice(NamedTuple):
    name: str
    word: str
    sentence: str
    checked: bool
    params: list[BoundField]
    note: str = ""  # why it would not be used


class StrategyGroup(NamedTuple):
    heading: str
    choices: list[StrategyChoice]


def word(name: str) -> str:
    """A name of the engine as a heading: ``least_latency`` is Least latency."""
    return name.replace("_", " ").capitalize().replace("ewma", "EWMA").replace("Ab test", "A/B test")


def grouped_names() -> list[tuple[str, list[str]]]:
    """Every registered strategy under its heading; what no group names comes last."""
    known = {name for _, names in GROUPS for name in names}
    groups = [(heading, [name for name in names if name in strategies.REGISTRY]) for heading, names in GROUPS]
    others = [name for name in strategies.NAMES if name not in known]
    return [*groups, *([("Others", others)] if others else [])]


def param_field(name: str, info: FieldInfo, *, optional: bool = False) -> forms.Field:
    """A form field for one param, by its type. ``optional``: leaving it empty must be possible."""
    common: dict[str, Any] = {"label": word(name), "required": False, "help_text": info.description or ""}
    kind = _plain(info.annotation)
    if get_origin(kind) is Literal:
        choices = [(value, word(str(value))) for value in get_args(kind)]
        return forms.ChoiceField(choices=[("", "As in the profile"), *choices] if optional else choices, **common)
    if kind is bool:
        return forms.BooleanField(**common)
    if kind is int:
        return Whole(**common)
    if kind is float:
        return Number(**common)
    if (record := _record(kind)) is not None:
        columns = [_column(key, field) for key, field in record.model_fields.items()]
        return Records(columns=columns, add_word=f"Add to {word(name).lower()}", nothing=None, **common)
    return forms.CharField(**common)


def _plain(annotation: Any) -> Any:
    """The type without ``| None``."""
    if get_origin(annotation) is UnionType:
        (kind, *_) = (part for part in get_args(annotation) if part is not type(None))
        return kind
    return annotation


def _record(kind: Any) -> type[BaseModel] | None:
    """The model of a list of objects."""
    if get_origin(kind) in (list, tuple):
        (item, *_) = get_args(kind)
        if isinstance(item, type) and issubclass(item, BaseModel):
            return item
    return None


def _column(name: str, info: FieldInfo) -> Column:
    kind = _plain(info.annotation)
    parse: Callable[[str], Any] = str
    if kind in (int, float):
        parse = kind
    elif get_origin(kind) in (list, tuple):
        parse = _words
    return Column(name, word(name), EXAMPLES.get(name, ""), number=kind in (int, float), parse=parse)


def _words(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


class StrategyForm(ConsoleForm):
    """A form with the field ``strategy``, and with the fields of each strategy's params (``params.<name>.<param>``)."""

    #: Says why a strategy would not be used, or "".
    note_of: Callable[[str], str] = staticmethod(lambda name: "")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        choice = self.fields["strategy"]
        assert isinstance(choice, forms.ChoiceField)
        choice.choices = [(name, word(name)) for name in strategies.NAMES]
        for name, strategy in strategies.REGISTRY.items():
            self.add_params(f"params.{name}", strategy)

    def add_params(self, group: str, strategy: strategies.Strategy, *, optional: bool = False) -> None:
        for param, info in strategy.params_model.model_fields.items():
            field = param_field(param, info, optional=optional)
            field.disabled = self.read_only
            if not optional and info.default is not PydanticUndefined:
                field.initial = info.default
            self.fields[f"{group}.{param}"] = field

    @property
    def chosen(self) -> str:
        return strategies.normalise(self["strategy"].value())

    @property
    def strategy_groups(self) -> list[StrategyGroup]:
        """Every strategy with its sentence and its own params, under headings."""
        chosen = self.chosen
        return [
            StrategyGroup(heading, [self._choice(name, name == chosen) for name in names])
            for heading, names in grouped_names()
        ]

    def _choice(self, name: str, checked: bool) -> StrategyChoice:
        sentence = strategies.REGISTRY[name].description
        return StrategyChoice(
            name, word(name), sentence, checked, self.group_fields(f"params.{name}"), self.note_of(name)
        )

    @property
    def chosen_strategy(self) -> StrategyChoice | None:
        """The one that is chosen now; None while something unknown was sent."""
        return next((choice for group in self.strategy_groups for choice in group.choices if choice.checked), None)

    def place_of(self, path: str) -> str | None:
        if path.startswith("params.") and self.is_bound:
            path = f"params.{self.params_group(str(self.data.get('strategy', '')))}.{path.removeprefix('params.')}"
        return super().place_of(path)

    def params_group(self, strategy: str) -> str:
        return strategy


def initial_params(group: str, params: dict[str, Any]) -> dict[str, Any]:
    """Stored params as initial values of the fields of a group."""
    return {f"params.{group}.{name}": value for name, value in params.items()}
