"""The value of a clause: checked against its fact and operator, brought into canonical form, made into a test.

``check`` returns (canonical value, test of a fact that is there) or raises Refused. Regular expressions run on RE2:
linear time, whatever the expression and the text.
"""

from __future__ import annotations

import fnmatch
import math
import re
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import TYPE_CHECKING, Any, Final, TypeVar
from zoneinfo import ZoneInfo

import re2  # type: ignore[import-untyped]

from routes.engine.conditions.window import DAYS, Window, minutes
from routes.engine.facts.catalogue import OPERATORS
from routes.engine.facts.scenario import normalise

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from ipaddress import IPv4Address

    from routes.engine.facts.catalogue import FactSpec

    Test = Callable[[Any], bool]
    Checked = tuple[Any, Test]

T = TypeVar("T")

MAX_STRING: Final = 1_000
MAX_LIST: Final = 1_000
MAX_NUMBER: Final = 1e12
#: Bits before an IPv4 address written as an IPv6 one (``::ffff:10.0.0.1``).
MAPPED_PREFIX: Final = 96
#: Memory of one expression, its program and its automaton: what does not fit is refused, or runs without the latter.
REGEX_MEMORY: Final = 1 << 20
#: Strings that short are likely to come again: results of costly tests are kept for some of them.
REMEMBERED_LENGTH: Final = 256
REMEMBERED: Final = 256


class Refused(Exception):
    """``errors``: (path below the value, message)."""

    def __init__(self, *errors: tuple[str, str]) -> None:
        super().__init__(errors)
        self.errors = errors


def check(spec: FactSpec, op: str, value: Any) -> Checked:
    """The value of a clause. Raises Refused."""
    if spec.kind == "partition":
        return _partition(spec, op, value)
    match OPERATORS[op].operand:
        case "flag":
            return _flag(spec, op, value)
        case "string":
            return _string(spec, op, value)
        case "strings":
            return _strings(spec, op, value)
        case "glob":
            return _glob(spec, value)
        case "regex":
            return _regex(spec, value)
        case "number":
            return _number(spec, op, value)
        case "pair":
            return _pair(spec, value)
        case "networks":
            return _networks(value)
    return _window(value)


# -- flags -------------------------------------------------------------------------------------------------


def _flag(spec: FactSpec, op: str, value: Any) -> Checked:
    if type(value) is not bool:
        raise Refused(("", "must be true or false"))
    if op == "exists":
        if spec.kind == "set":
            return value, lambda actual: bool(actual) is value
        return value, lambda actual: value
    return value, lambda actual: actual is value


# -- strings -----------------------------------------------------------------------------------------------


def _text(value: Any, path: str = "") -> str:
    """A string that may be a value: not too long, and one that can be written as UTF-8."""
    if type(value) is not str:
        raise Refused((path, "must be a string"))
    if len(value) > MAX_STRING:
        raise Refused((path, f"must not be longer than {MAX_STRING} characters"))
    try:
        value.encode()
    except UnicodeEncodeError:
        raise Refused((path, "must be valid text")) from None
    return value


def _part(value: Any) -> str:
    """A string to look for."""
    text = _text(value)
    if not text:
        raise Refused(("", "must not be empty"))
    return text


def _whole(spec: FactSpec, value: Any, path: str = "") -> str:
    """A string to compare the whole fact with: one of its choices, where it has any."""
    text = _text(value, path)
    if not spec.choices:
        return text
    known = normalise(text) if spec.name == "scenario" else text
    if known is None or known not in spec.choices:
        raise Refused((path, f"must be one of {', '.join(spec.choices)}"))
    return known


def _string(spec: FactSpec, op: str, value: Any) -> Checked:
    if op in ("prefix", "contains"):
        part = _part(value)
        if op == "prefix":
            return part, lambda actual: actual.startswith(part)
        return part, lambda actual: part in actual
    whole = _whole(spec, value)
    if op == "ne":
        return whole, lambda actual: actual != whole
    if spec.kind == "set":
        return whole, lambda actual: whole in actual
    return whole, lambda actual: actual == whole


def _strings(spec: FactSpec, op: str, value: Any) -> Checked:
    found = _each(value, "strings", lambda entry, path: _whole(spec, entry, path))
    canonical = list(dict.fromkeys(found))
    wanted = frozenset(found)
    if spec.kind == "set":
        return canonical, lambda actual: not wanted.isdisjoint(actual)
    if op == "not_in":
        return canonical, lambda actual: actual not in wanted
    return canonical, wanted.__contains__


def _each(value: Any, of: str, read: Callable[[Any, str], T]) -> list[T]:
    """The entries of a list, read one by one; all that are refused are told."""
    if type(value) is not list or not value:
        raise Refused(("", f"must be a list of one or more {of}"))
    if len(value) > MAX_LIST:
        raise Refused(("", f"must not have more than {MAX_LIST} entries"))
    found: list[T] = []
    errors: list[tuple[str, str]] = []
    for index, entry in enumerate(value):
        try:
            found.append(read(entry, f"[{index}]"))
        except Refused as refused:
            errors += refused.errors
    if errors:
        raise Refused(*errors)
    return found


def _glob(spec: FactSpec, value: Any) -> Checked:
    glob = _part(value)
    # Each piece between two stars is searched once and never again, so this too is linear.
    full = re.compile(fnmatch.translate(glob)).match
    return glob, _remembering(spec, lambda actual: full(actual) is not None)


def _regex(spec: FactSpec, value: Any) -> Checked:
    expression = _part(value)
    options = re2.Options()
    options.max_mem = REGEX_MEMORY
    options.log_errors = False
    try:
        search = re2.compile(expression, options).search
    except re2.error as error:
        reason = error.args[0]
        words = reason.decode("utf-8", "replace") if isinstance(reason, bytes) else str(reason)
        raise Refused(("", f"is not an expression that can be used: {words}")) from None
    return expression, _remembering(spec, lambda actual: search(actual) is not None)


def _remembering(spec: FactSpec, test: Test) -> Test:
    """``test`` with its latest results kept; not for texts, which do not come again."""
    if spec.kind == "text":
        return test
    known = lru_cache(maxsize=REMEMBERED)(test)
    return lambda actual: known(actual) if len(actual) <= REMEMBERED_LENGTH else test(actual)


# -- numbers -----------------------------------------------------------------------------------------------


def _as_number(spec: FactSpec, value: Any, path: str = "") -> float:
    """Canonical: whole numbers without a fraction."""
    maximum = MAX_NUMBER if spec.maximum is None else spec.maximum
    if type(value) not in (int, float) or (type(value) is float and not math.isfinite(value)):
        raise Refused((path, "must be a number"))
    if not 0 <= value <= maximum:
        raise Refused((path, f"must be between 0 and {maximum:.0f}"))
    number: float = value
    return int(number) if number == int(number) else number


def _number(spec: FactSpec, op: str, value: Any) -> Checked:
    limit = _as_number(spec, value)
    match op:
        case "lt":
            return limit, lambda actual: actual < limit
        case "lte":
            return limit, lambda actual: actual <= limit
        case "gt":
            return limit, lambda actual: actual > limit
    return limit, lambda actual: actual >= limit


def _pair(spec: FactSpec, value: Any) -> Checked:
    if type(value) is not list or len(value) != 2:
        raise Refused(("", "must be a list of two numbers"))
    low, high = _each(value, "numbers", lambda entry, path: _as_number(spec, entry, path))
    if low > high:
        raise Refused(("", "the first number must not be above the second"))
    return [low, high], lambda actual: low <= actual <= high


def _partition(spec: FactSpec, op: str, value: Any) -> Checked:
    """Tests the figures of those targets that have any; without one nothing speaks against the partition."""
    limit = _as_number(spec, value)
    if op == "lte":
        return limit, lambda figures: not figures or min(figures) <= limit
    return limit, lambda figures: not figures or mean(figures) >= limit


def mean(figures: Sequence[float]) -> float:
    return sum(figures) / len(figures)


# -- networks ----------------------------------------------------------------------------------------------


def _networks(value: Any) -> Checked:
    """One network as a string, or several as a list."""
    networks = [_network(value)] if type(value) is str else _each(value, "networks", _network)
    names = list(dict.fromkeys(str(network) for network in networks))
    known = lru_cache(maxsize=REMEMBERED)(lambda actual: _is_in(actual, networks))
    return names[0] if type(value) is str else names, known


def _network(value: Any, path: str = "") -> IPv4Network | IPv6Network:
    try:
        network = ip_network(value if type(value) is str else "")
    except ValueError as error:
        hint = "; there are bits set behind the prefix" if "host bits" in str(error) else ""
        raise Refused((path, f"must be a network such as 10.0.0.0/8 or 2001:db8::/32{hint}")) from None
    if isinstance(network, IPv6Network) and network.prefixlen >= MAPPED_PREFIX:
        mapped = network.network_address.ipv4_mapped
        if mapped is not None:  # as addresses are read
            return IPv4Network((mapped, network.prefixlen - MAPPED_PREFIX))
    return network


def _is_in(actual: str, networks: Sequence[IPv4Network | IPv6Network]) -> bool:
    address = address_of(actual)
    return address is not None and any(address in network for network in networks)


def address_of(text: str) -> IPv4Address | IPv6Address | None:
    """An address; an IPv4 one that came over IPv6 is itself."""
    try:
        address = ip_address(text)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return address if mapped is None else mapped


# -- time --------------------------------------------------------------------------------------------------

_WINDOW_FIELDS: Final = ("start", "end", "timezone", "days", "outside")


def _window(value: Any) -> Checked:
    if type(value) is not dict:
        raise Refused(("", f"must be an object with {', '.join(_WINDOW_FIELDS)}"))
    errors = [(f".{name}", "unknown field") for name in value if name not in _WINDOW_FIELDS]
    start, end = minutes(value.get("start")), minutes(value.get("end"), end=True)
    if start is None:
        errors.append((".start", "must be a time of day, HH:MM"))
    if end is None:
        errors.append((".end", "must be a time of day, HH:MM (or 24:00)"))
    if start is not None and start == end:
        errors.append((".end", "must not be the same as the start; a whole day is 00:00 to 24:00"))
    zone = _zone(value.get("timezone", "UTC"))
    if zone is None:
        errors.append((".timezone", "must be the name of a time zone, such as Europe/Berlin or UTC"))
    days, outside = value.get("days", list(DAYS)), value.get("outside", False)
    if type(days) is not list or not days:
        errors.append((".days", f"must be a list of one or more of {', '.join(DAYS)}"))
    else:
        wrong = (index for index, day in enumerate(days) if day not in DAYS)
        errors += [(f".days[{index}]", f"must be one of {', '.join(DAYS)}") for index in wrong]
    if type(outside) is not bool:
        errors.append((".outside", "must be true or false"))
    if errors or zone is None:
        raise Refused(*errors)
    canonical = {"start": value["start"], "end": value["end"], "timezone": zone.key}
    if len(named := [day for day in DAYS if day in days]) < len(DAYS):
        canonical["days"] = named
    if outside:
        canonical["outside"] = True
    return canonical, Window(canonical, zone)


def _zone(name: Any) -> ZoneInfo | None:
    if type(name) is not str or not re.fullmatch(r"[A-Za-z][A-Za-z0-9_+/-]{0,63}", name):
        return None
    try:
        return ZoneInfo(name)
    except (OSError, ValueError, KeyError):  # ZoneInfoNotFoundError is a KeyError
        return None
