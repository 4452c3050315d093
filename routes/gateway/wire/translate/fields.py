"""Going through the members of a request, none of which may get lost on the way to the other format. Pure.

Every object that a format defines has a ``Fields``: what is carried over, what may be left out because it changes
nothing the client can see, and what is refused. A member in none of the lists is refused as well: a field that is
new to a format must not vanish. ``null`` means absent everywhere, as both formats have it.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

Json = dict[str, Any]

OPENAI: Final = "OpenAI chat completions"
ANTHROPIC: Final = "Anthropic messages"

_NOTHING: Final[Mapping[str, tuple[Any, ...]]] = MappingProxyType({})


class Untranslatable(Exception):
    """A request, or a part of it, that the other format cannot say. ``param`` is the path of the field as the
    client wrote it (``messages[2].content[0].input_audio``), ``message`` one sentence for the client."""

    def __init__(self, param: str, message: str) -> None:
        super().__init__(f"{param}: {message}" if param else message)
        self.param = param
        self.message = message


class Fields(NamedTuple):
    """Decisions on the members of one object. ``refused`` has the values that ask for nothing, and so may pass."""

    carried: frozenset[str]
    harmless: frozenset[str] = frozenset()
    refused: Mapping[str, tuple[Any, ...]] = _NOTHING

    def known(self) -> frozenset[str]:
        return self.carried | self.harmless | self.refused.keys()


def fields(carried: str, harmless: str = "", refused: Mapping[str, tuple[Any, ...]] = _NOTHING) -> Fields:
    """``Fields`` from names with blanks between them."""
    return Fields(frozenset(carried.split()), frozenset(harmless.split()), refused)


def members(value: Any, known: Fields, path: str, wire: str) -> Json:
    """The members of ``value`` that are carried over and not null. ``wire``: the format that must take them.
    Raises Untranslatable for the first that cannot be."""
    if type(value) is not dict:
        raise Untranslatable(path, f"'{path}' must be an object")
    found: Json = {}
    for name, member in value.items():
        if member is None or name in known.harmless:
            continue
        if name in known.carried:
            found[name] = member
        elif not _asks_for_nothing(member, known.refused.get(name, ())):
            raise no_counterpart(f"{path}.{name}" if path else name, wire)
    return found


def no_counterpart(path: str, wire: str, why: str = "") -> Untranslatable:
    """The refusal of a field or a value that the other format does not have."""
    return Untranslatable(path, f"'{path}' cannot be carried over to {wire}{': ' + why if why else ''}")


def _asks_for_nothing(value: Any, neutral: tuple[Any, ...]) -> bool:
    if value in ([], {}):
        return True
    # ``True == 1``, and "yes" is not "one choice".
    return any(value == one and isinstance(value, bool) is isinstance(one, bool) for one in neutral)


def string(value: Any, path: str) -> str:
    if type(value) is not str:
        raise Untranslatable(path, f"'{path}' must be a string")
    return value


def listed(value: Any, path: str) -> list[Any]:
    if type(value) is not list:
        raise Untranslatable(path, f"'{path}' must be a list")
    return value


def required(found: Json, name: str, path: str) -> Any:
    """A member without which the object says nothing."""
    if name not in found:
        inner = f"{path}.{name}" if path else name
        raise Untranslatable(inner, f"'{inner}' is required")
    return found[name]


def kind(value: Any, path: str) -> str:
    """The ``type`` of a part, block or tool."""
    if type(value) is not dict:
        raise Untranslatable(path, f"'{path}' must be an object")
    return string(value.get("type"), f"{path}.type")
