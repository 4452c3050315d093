"""Form fields for values that are not one line of text: numbers with a unit, name and value pairs, prices, lists.

A field speaks the configuration document's own form (``{"gpt-4o": {"input": 2.5}}``), its widget speaks rows of
inputs. Rows work without scripts: one spare row is always there, and an emptied row is dropped. Checks here are
about what a person typed (a row without a name); what a value may be is ``routes.document``'s to say.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django import forms
from django.core.exceptions import ValidationError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from django.utils.datastructures import MultiValueDict
    from django.utils.safestring import SafeString


class Number(forms.FloatField):
    """A number with a unit; 5.0 is shown as 5, and whole numbers stay whole."""

    def __init__(self, *, unit: str = "", **kwargs: Any) -> None:
        kwargs.setdefault("widget", forms.NumberInput(attrs={"step": "any", "min": "0", "inputmode": "decimal"}))
        super().__init__(**kwargs)
        self.unit = unit

    def prepare_value(self, value: Any) -> Any:
        return int(value) if isinstance(value, float) and value.is_integer() else value

    def to_python(self, value: Any) -> Any:
        number = super().to_python(value)
        return int(number) if number is not None and number.is_integer() else number


class Whole(forms.IntegerField):
    """A whole number with a unit."""

    def __init__(self, *, unit: str = "", **kwargs: Any) -> None:
        kwargs.setdefault("min_value", 0)
        super().__init__(**kwargs)
        self.unit = unit


class Words(forms.CharField):
    """A list of words, written with commas between them; ``nothing`` is what an empty box means."""

    def __init__(self, *, nothing: list[str] | None = None, **kwargs: Any) -> None:
        kwargs.setdefault("required", False)
        super().__init__(**kwargs)
        self.nothing = nothing

    def prepare_value(self, value: Any) -> Any:
        return ", ".join(value) if isinstance(value, list) else value

    def clean(self, value: Any) -> Any:
        text = super().clean(value)
        words = [word.strip() for word in text.split(",") if word.strip()]
        return words or self.nothing


class Numbers(Words):
    """A list of whole numbers, written with commas between them."""

    def prepare_value(self, value: Any) -> Any:
        return ", ".join(str(item) for item in value) if isinstance(value, list) else value

    def clean(self, value: Any) -> Any:
        numbers = []
        for word in super().clean(value) or []:
            if not word.isdecimal():
                raise ValidationError(f"“{word}” is not a whole number.")
            numbers.append(int(word))
        return numbers


class Column(forms.TextInput):
    """One input of a row: its name within the row, its label, an example, and what makes a value of the text."""

    def __init__(
        self,
        name: str,
        label: str,
        placeholder: str = "",
        number: bool = False,
        parse: Callable[[str], Any] = str,
    ) -> None:
        super().__init__()
        self.name, self.label, self.placeholder, self.number, self.parse = name, label, placeholder, number, parse


class RowsWidget(forms.Widget):
    """Rows of inputs; the value is a list of rows, each a list of strings in the order of ``columns``."""

    template_name = "console/widgets/rows.html"
    use_fieldset = True

    def __init__(self, columns: Sequence[Column], add_word: str) -> None:
        super().__init__()
        self.columns, self.add_word = columns, add_word

    def get_context(self, name: str, value: Any, attrs: dict[str, Any] | None) -> dict[str, Any]:
        context = super().get_context(name, value, attrs)
        disabled = bool(context["widget"]["attrs"].get("disabled"))
        rows = list(value or [])
        if not disabled:
            rows.append([""] * len(self.columns))
        context["widget"].update(
            columns=self.columns,
            rows=[list(zip(self.columns, row, strict=True)) for row in rows],
            blank=[(column, "") for column in self.columns],
            add_word=self.add_word,
            disabled=disabled,
            size=len(self.columns),
        )
        return context

    def render(self, name: str, value: Any, attrs: dict[str, Any] | None = None, renderer: Any = None) -> SafeString:
        from django.template.loader import render_to_string

        return render_to_string(self.template_name, self.get_context(name, value, attrs))

    def value_from_datadict(self, data: Mapping[str, Any], files: MultiValueDict[str, Any], name: str) -> Any:
        if not hasattr(data, "getlist"):
            return data.get(name)
        columns = [data.getlist(f"{name}-{column.name}") for column in self.columns]
        rows = [[str(cell).strip() for cell in row] for row in zip(*columns, strict=False)]
        return [row for row in rows if any(row)]

    def value_omitted_from_data(self, data: Mapping[str, Any], files: MultiValueDict[str, Any], name: str) -> bool:
        return False


class Pairs(forms.Field):
    """Name and value rows as a mapping. ``nothing`` is what no rows at all mean."""

    def __init__(
        self, *, name: Column, value: Column, add_word: str, nothing: dict[str, str] | None = None, **kwargs: Any
    ) -> None:
        kwargs.setdefault("required", False)
        super().__init__(widget=RowsWidget((name, value), add_word), **kwargs)
        self.nothing = nothing

    def prepare_value(self, value: Any) -> Any:
        return [[key, str(item)] for key, item in value.items()] if isinstance(value, dict) else value

    def clean(self, value: Any) -> Any:
        mapping: dict[str, str] = {}
        for key, item in value or []:
            if not key:
                raise ValidationError(f"The row with “{item}” has no name.")
            if key in mapping:
                raise ValidationError(f"“{key}” is there twice.")
            mapping[key] = item
        return mapping or self.nothing


class ModelMap(Pairs):
    """Asked-for model -> upstream model; an empty right side means the same name."""

    def clean(self, value: Any) -> Any:
        mapping = super().clean(value)
        return mapping and {asked: upstream or asked for asked, upstream in mapping.items()}


class Windows(Pairs):
    """Model -> tokens."""

    def clean(self, value: Any) -> Any:
        windows: dict[str, int] = {}
        for model, tokens in super().clean(value).items():
            if not (tokens.isascii() and tokens.isdecimal()):
                raise ValidationError(f"{model}: “{tokens}” is not a number of tokens, like 128000.")
            windows[model] = int(tokens)
        return windows


class Records(forms.Field):
    """Rows as a list of objects, one member per column; an empty cell leaves its member out. ``nothing`` is what no
    rows at all mean."""

    def __init__(self, *, columns: Sequence[Column], add_word: str, nothing: Any = (), **kwargs: Any) -> None:
        kwargs.setdefault("required", False)
        super().__init__(widget=RowsWidget(columns, add_word), **kwargs)
        self.columns, self.nothing = columns, nothing

    def prepare_value(self, value: Any) -> Any:
        if not value or not isinstance(value[0], dict):
            return value
        return [[_cell(record.get(column.name)) for column in self.columns] for record in value]

    def clean(self, value: Any) -> Any:
        return [self._record(row) for row in value or []] or self.nothing

    def _record(self, row: Sequence[str]) -> dict[str, Any]:
        record: dict[str, Any] = {}
        for column, text in zip(self.columns, row, strict=True):
            if text:
                try:
                    record[column.name] = column.parse(text)
                except ValueError:
                    raise ValidationError(f"{column.label}: “{text}” is not a number.") from None
        return record


def _cell(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return ", ".join(map(str, value))
    return "" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


class Percent(Number):
    """A share between 0 and 1, typed as percent."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(unit="%", **kwargs)

    def prepare_value(self, value: Any) -> Any:
        if isinstance(value, str):
            return value  # as it was typed
        return None if value is None else super().prepare_value(round(value * 100, 6))

    def to_python(self, value: Any) -> Any:
        number = super().to_python(value)
        return None if number is None else round(number / 100, 8)


PRICE_COLUMNS = (
    Column("model", "Model", "gpt-4o"),
    Column("input", "Input", "2.50", number=True),
    Column("output", "Output", "10.00", number=True),
    Column("cached", "Cached input", "1.25", number=True),
)


class Prices(forms.Field):
    """Model -> {input, output, cached} in USD per million tokens."""

    def __init__(self, **kwargs: Any) -> None:
        kwargs.setdefault("required", False)
        super().__init__(widget=RowsWidget(PRICE_COLUMNS, "Add a price"), **kwargs)

    def prepare_value(self, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        kinds = ("input", "output", "cached")
        return [[model, *("" if p.get(k) is None else f"{p[k]:g}" for k in kinds)] for model, p in value.items()]

    def clean(self, value: Any) -> Any:
        prices: dict[str, dict[str, float]] = {}
        for model, *figures in value or []:
            if not model:
                raise ValidationError("A price has no model name.")
            if model in prices:
                raise ValidationError(f"“{model}” is there twice.")
            prices[model] = {}
            for column, figure in zip(PRICE_COLUMNS[1:], figures, strict=True):
                if not figure:
                    continue
                try:
                    prices[model][column.name] = float(figure)
                except ValueError:
                    raise ValidationError(f"{model}: “{figure}” is not a price in USD.") from None
        return prices
