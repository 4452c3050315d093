"""What ``/metrics`` says, as a test asks it: ``series.of("http_requests_total", status="200")``."""

from __future__ import annotations

import re

_LINE = re.compile(r"^([a-z_]+)(?:\{(.*)\})? (\S+)$", re.M)
_LABEL = re.compile(r'([a-z_]+)="((?:[^"\\]|\\.)*)"')


class Series(dict[tuple[str, frozenset[tuple[str, str]]], float]):
    @classmethod
    def parse(cls, text: str) -> Series:
        return cls(
            ((name, frozenset(_LABEL.findall(labels))), float(value)) for name, labels, value in _LINE.findall(text)
        )

    def of(self, name: str, **labels: str) -> float:
        """The sum of those that have these labels; fails where there is none at all."""
        found = [value for (each, has), value in self.items() if each == name and labels.items() <= has]
        assert found, f"no {name} with {labels}"
        return sum(found)

    def names(self) -> set[str]:
        return {name for name, _ in self}
