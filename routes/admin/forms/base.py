"""What the console's forms share: a version, groups of nested fields, errors by document path, read-only display."""

from __future__ import annotations

import copy
import re
from typing import TYPE_CHECKING, Any, ClassVar

from django import forms

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from django.forms.boundfield import BoundField


class ConsoleForm(forms.Form):
    """A form over one object of the configuration.

    ``version`` is what the person saw when they began to edit; the action compares it. ``groups`` become fields
    named ``group.field``.
    """

    version = forms.IntegerField(widget=forms.HiddenInput, required=False)
    groups: ClassVar[dict[str, dict[str, forms.Field]]] = {}

    def __init__(self, *args: Any, read_only: bool = False, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for group, fields in self.groups.items():
            for name, field in fields.items():
                self.fields[f"{group}.{name}"] = copy.deepcopy(field)
        self.read_only = read_only
        if read_only:
            for field in self.fields.values():
                field.disabled = True

    def group_fields(self, group: str) -> list[BoundField]:
        """The fields of a group, as the template draws them."""
        return [self[name] for name in self.fields if name.startswith(f"{group}.")]

    def group_values(self, group: str) -> dict[str, Any]:
        """A group as the document nests it; what is left empty is left out and keeps its default."""
        found: dict[str, Any] = {}
        for name, value in self.cleaned_data.items():
            if name.startswith(f"{group}.") and value not in (None, ""):
                *parents, leaf = name.removeprefix(f"{group}.").split(".")
                place = found
                for parent in parents:
                    place = place.setdefault(parent, {})
                place[leaf] = value
        return found

    def group_limits(self, group: str) -> dict[str, float]:
        """A group of limits as the document has it; what is left empty is no limit."""
        return {
            name.removeprefix(f"{group}."): value or 0
            for name, value in self.cleaned_data.items()
            if name.startswith(f"{group}.")
        }

    def add_document_errors(self, fields: Mapping[str, Sequence[str]], message: str) -> None:
        """Errors of an action at the fields their paths name; what names none stands above the form."""
        if not fields:
            self.add_error(None, message)
        for path, messages in fields.items():
            place = self.place_of(path)
            inside = re.findall(r"\[(\d+)\]", path)
            for text in messages:
                if place:
                    # Which of several entries of the field is meant, as people count.
                    self.add_error(place, f"no. {int(inside[0]) + 1}: {text}" if inside else text)
                else:
                    self.add_error(None, f"{path}: {text}" if path else text)

    def place_of(self, path: str) -> str | None:
        """The form field for a path of the document (``circuit.window``, ``prices.gpt-4o.input``)."""
        parts = re.split(r"[.\[]", path)
        for length in range(len(parts), 0, -1):
            name = ".".join(part.rstrip("]") for part in parts[:length])
            name = self.aliases.get(name, name)
            if name in self.fields:
                return name
        return None

    #: document path -> form field, where they differ
    aliases: ClassVar[dict[str, str]] = {
        "auth": "auth_kind",
        "auth.header": "auth_header",
        "auth.prefix": "auth_prefix",
    }
