"""The format of messages on every WebSocket of the control plane: ``{type, payload, id?}``, JSON, one object a message.

An answer has the type of its question with ``_response`` behind it, or ``error``; both carry the question's ``id``.
Pure: knows neither connections nor who is asking.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

import orjson
from rest_framework.exceptions import ParseError

from routes.actions.errors import Invalid
from routes.api.parsers import read_json

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

#: A client's own name of a question; it comes back as it was.
MAX_ID_LENGTH: Final = 128
MAX_TYPE_LENGTH: Final = 64


class Envelope(NamedTuple):
    """One message of a client. Fields beside ``type`` and ``id`` are the payload where ``payload`` is missing."""

    type: str
    payload: dict[str, Any]
    id: str | int | None = None


def read(text: str) -> Envelope:
    """Raises Invalid."""
    try:
        tree = read_json(text.encode())
    except UnicodeEncodeError:
        raise Invalid("the message is not valid Unicode") from None
    except ParseError as error:
        raise Invalid(str(error.detail).replace("the body is", "the message is")) from None
    if not isinstance(tree, dict):
        raise Invalid("a message is a JSON object with 'type' and 'payload'")
    kind, identifier = tree.pop("type", None), tree.pop("id", None)
    errors = []
    if not isinstance(kind, str) or not 0 < len(kind) <= MAX_TYPE_LENGTH:
        errors.append(("type", "must be the name of a message"))
    if not _is_id(identifier):
        errors.append(("id", f"must be text of at most {MAX_ID_LENGTH} characters or a whole number"))
    payload = tree.pop("payload") if "payload" in tree else tree
    if payload is None:
        payload = {}
    if not isinstance(payload, dict):
        errors.append(("payload", "must be an object"))
    elif payload is not tree and tree:
        errors.append((next(iter(tree)), "is not a field of a message"))
    if errors:
        raise Invalid.from_errors(errors)
    return Envelope(str(kind), payload, identifier)


def id_of(text: str) -> str | int | None:
    """The ``id`` of a message that could not be read, if it has one, so that its error finds its sender."""
    try:
        identifier = orjson.loads(text)["id"]
    except (ValueError, TypeError, KeyError, IndexError):
        return None
    return identifier if _is_id(identifier) else None


def message(kind: str, payload: Any, identifier: str | int | None = None) -> str:
    """A message of ours; ``id`` is left out where there was no question, or it had none."""
    tree = {"type": kind, "payload": payload}
    if identifier is not None:
        tree["id"] = identifier
    return orjson.dumps(tree).decode()


def answer(question: Envelope, payload: Any) -> str:
    return message(f"{question.type}_response", payload, question.id)


def error(
    code: str,
    text: str,
    fields: Mapping[str, Sequence[str]] | None = None,
    identifier: str | int | None = None,
    **more: Any,
) -> str:
    """An error, with what the control API says beside the message."""
    return message("error", {"message": text, "code": code, "fields": dict(fields or {}), **more}, identifier)


def _is_id(value: Any) -> bool:
    if isinstance(value, str):
        return len(value) <= MAX_ID_LENGTH
    return value is None or (isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**53)
