"""Which events a watcher wants: fields that must equal what it names. A value: equal filters share their work."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

#: Fields of a route that may be filtered by. ``session`` is either of its names, the client's own or ours.
ROUTE_FIELDS: Final = ("profile", "provider", "session", "status")
MAX_VALUE: Final = 256


class BadFilter(ValueError):
    """``field`` is what is wrong with the filter."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field}: {message}")
        self.field = field
        self.message = message


class Where(NamedTuple):
    """All of these must hold; none = everything."""

    equal: tuple[tuple[str, str], ...] = ()

    @classmethod
    def parse(cls, given: Mapping[str, Any], fields: tuple[str, ...] = ROUTE_FIELDS) -> Where:
        """Raises BadFilter."""
        for name, value in given.items():
            if name not in fields:
                known = f"only {', '.join(fields)} can be" if fields else "nothing here can be"
                raise BadFilter(name, f"cannot be filtered by; {known}")
            if not isinstance(value, str) or not 0 < len(value) <= MAX_VALUE:
                raise BadFilter(name, f"must be text of 1 to {MAX_VALUE} characters")
        return cls(tuple(sorted(given.items())))

    def also(self, field: str, value: str) -> Where:
        """With a condition that is not the watcher's to choose."""
        return Where((*self.equal, (field, value)))

    def matches(self, event: Mapping[str, Any]) -> bool:
        return all(
            value in (event.get("session_id"), event.get("session_key"))
            if field == "session"
            else event.get(field) == value
            for field, value in self.equal
        )


EVERYTHING: Final = Where()
