"""What an action says when it refuses. API, admin and commands render these; nothing else is caught there.

    ActionError          something was refused; nothing has changed
    ├── Invalid          invalid            the data is wrong; ``fields`` says where (path -> messages)
    ├── Forbidden        permission_denied  the actor lacks a scope
    ├── Missing          not_found          the object does not exist (any more)
    ├── Conflict         conflict           the present state does not allow it
    │   └── InUse        in_use             ``used_by`` names what still needs the object
    └── StaleVersion     stale_version      somebody else changed it meanwhile

Messages are for people and never hold a secret. Imports nothing of the project.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence


class ActionError(Exception):
    """``code`` is stable; ``fields`` maps a path of the document (``targets[0].weight``) to messages."""

    code = "refused"

    def __init__(self, message: str, fields: Mapping[str, Sequence[str]] | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.fields: dict[str, list[str]] = {path: list(messages) for path, messages in (fields or {}).items()}


class Invalid(ActionError):
    code = "invalid"

    @classmethod
    def from_errors(cls, errors: Iterable[tuple[str, str]]) -> Self:
        """From ``(path, message)`` pairs in order; the first becomes the message."""
        fields: dict[str, list[str]] = {}
        for path, message in errors:
            fields.setdefault(path, []).append(message)
        path, messages = next(iter(fields.items()))
        more = sum(map(len, fields.values())) - 1
        text = f"{path}: {messages[0]}" if path else messages[0]
        return cls(f"{text} (and {more} more)" if more else text, fields)

    def lines(self) -> list[str]:
        """``path: message``, one a line, as commands print them."""
        return [f"{path}: {text}" if path else text for path, texts in self.fields.items() for text in texts] or [
            self.message
        ]


class Forbidden(ActionError):
    code = "permission_denied"


class Missing(ActionError):
    code = "not_found"


class Conflict(ActionError):
    code = "conflict"


class InUse(Conflict):
    code = "in_use"

    def __init__(self, message: str, used_by: Sequence[str]) -> None:
        """``used_by``: readable references (``profile default``, ``access key app``)."""
        super().__init__(message, {"used_by": used_by})
        self.used_by = list(used_by)


class StaleVersion(ActionError):
    code = "stale_version"

    def __init__(self, name: str, given: int, current: int) -> None:
        super().__init__(f"{name} was changed by somebody else: you edited version {given}, it is now {current}")
        self.given = given
        self.current = current
