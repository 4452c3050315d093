"""What is wrong with a document, as ``(path, message)`` pairs: ``providers[0].base_url``, ``required``.

Messages never quote the input, because it may be a secret. Imports pydantic only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import ValidationError
from pydantic_core import InitErrorDetails, PydanticCustomError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

WORDS = {"extra_forbidden": "unknown field", "missing": "required"}


class DocumentError(ValueError):
    """Holds every error found, in the order of the document."""

    def __init__(self, errors: Sequence[tuple[str, str]]) -> None:
        super().__init__("; ".join(f"{path}: {message}" if path else message for path, message in errors))
        self.errors = list(errors)

    @classmethod
    def from_pydantic(cls, error: ValidationError, prefix: str = "") -> DocumentError:
        """``prefix`` is the path of the object that was validated."""
        entries = error.errors(include_url=False, include_context=False, include_input=False)
        return cls(
            [(path_of(entry["loc"], prefix), WORDS.get(entry["type"]) or _reword(entry["msg"])) for entry in entries]
        )


def refused(*errors: tuple[str, str]) -> ValidationError:
    """What a validator raises for errors inside its value: ``(path below it, message)``; "" is the value itself."""
    details = [
        InitErrorDetails(
            type=PydanticCustomError("refused", "{message}", {"message": message}),
            loc=(path,) if path else (),
            input=None,
        )
        for path, message in errors
    ]
    return ValidationError.from_exception_data("Document", details, hide_input=True)


def path_of(location: Iterable[Any], prefix: str = "") -> str:
    """``("providers", 0, "base_url")`` → ``providers[0].base_url``."""
    path = prefix
    for part in location:
        if part == "[key]":  # pydantic's mark for an error in the key of a map
            continue
        if isinstance(part, int):
            path += f"[{part}]"
        elif str(part).startswith("["):  # a place inside a value whose own checker found it
            path += str(part)
        else:
            path += f".{part}" if path else str(part)
    return path


def _reword(message: str) -> str:
    message = message.removeprefix("Value error, ").replace("Input should", "must", 1)
    for noun in ("String", "List", "Dictionary"):
        message = message.replace(f"{noun} should", "must", 1)
    return message[:1].lower() + message[1:]
