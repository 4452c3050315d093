"""A person with an account in the console, as the API says it. Not part of the configuration document: accounts are not
exported, imported or published. Free of Django."""

from __future__ import annotations

import re
import unicodedata
from typing import Annotated

from pydantic import AfterValidator, Field

from routes.document.base import Printable, Strict, unique

NAME_LENGTH = 150
PASSWORD_LENGTH = 1000
_USERNAME = re.compile(r"[\w.@+-]+")
_EMAIL = re.compile(r"[^\s@<>\"(),:;\\\[\]]+@[^\s@.]+(?:\.[^\s@.]+)*")


def _username(value: str) -> str:
    """In one form of Unicode, so that two names that look alike are one."""
    value = unicodedata.normalize("NFKC", value)
    if not _USERNAME.fullmatch(value) or len(value) > NAME_LENGTH:
        raise ValueError(f"must be letters, digits and . @ + - _, at most {NAME_LENGTH}")
    return value


def _email(value: str) -> str:
    if value and not (_EMAIL.fullmatch(value) and value.isprintable()):
        raise ValueError("must be an e-mail address, or empty")
    return value


def _line(value: str) -> str:
    if not value.isprintable():
        raise ValueError("must not hold control characters")
    return value


def _password(value: str) -> str:
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ValueError("must be text") from None
    return value


#: As long as Django lets a group's name be, and installations have made some.
Role = Annotated[str, Field(min_length=1, max_length=NAME_LENGTH), Printable]
Line = Annotated[str, Field(max_length=NAME_LENGTH), AfterValidator(_line)]


class User(Strict):
    """``password`` goes in and never comes out again; what it must be like, ``AUTH_PASSWORD_VALIDATORS`` say."""

    username: Annotated[str, Field(min_length=1, max_length=NAME_LENGTH), AfterValidator(_username)]
    password: Annotated[str, Field(min_length=1, max_length=PASSWORD_LENGTH), AfterValidator(_password)] | None = Field(
        default=None, exclude=True, repr=False, json_schema_extra={"writeOnly": True}
    )
    email: Annotated[str, Field(max_length=254), AfterValidator(_email)] = ""
    first_name: Line = ""
    last_name: Line = ""
    roles: Annotated[list[Role], AfterValidator(unique), AfterValidator(sorted)] = Field(default_factory=list)
    is_active: bool = True
    is_superuser: bool = False
