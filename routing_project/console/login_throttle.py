"""How often somebody may try to log in, so that passwords cannot be guessed; counted in the database cache.

Counted, each for a while from its first attempt: attempts from one address at one name, from one address at all, from
one IPv6 site, and at one name from addresses where its owner has never logged in. The last one is for guessing that
comes from many addresses; since an address that has seen a login is not bound by it, nobody at another address can lock
an admin out of the place where he works. Whoever shares his address can: a machine behind the same NAT, and everybody,
where a proxy is not in ``SIGNALBOX_TRUSTED_PROXIES``. An attempt counts before the password is looked at, so that many
at the same moment are no way around it, and is taken back when it succeeds. While somebody has to wait, nothing is
written. Counted too is what strangers may add to the audit log, from which nothing is ever removed. Must not import
history or health.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from functools import partial
from ipaddress import IPv6Address
from typing import TYPE_CHECKING, Final, NamedTuple

from django.core.cache import cache
from django.db import transaction
from django.utils.crypto import salted_hmac

from routes.engine.conditions.values import address_of
from routes.models import Installation

if TYPE_CHECKING:
    from collections.abc import Iterator


class Bound(NamedTuple):
    """``most`` attempts within ``seconds`` of the first one."""

    most: int
    seconds: int


AT_NAME_FROM_ADDRESS: Final = Bound(5, 300)
FROM_ADDRESS: Final = Bound(20, 300)
#: A provider gives one customer up to a /48, which is 65,536 of what counts as an address.
FROM_SITE: Final = Bound(100, 300)
AT_NAME_FROM_STRANGERS: Final = Bound(30, 900)
#: Entries in the audit log about names that are nobody's, from everywhere together.
RECORDED_OF_NOBODY: Final = Bound(200, 300)
#: How long an address stays one where a name has logged in.
KNOWN_SECONDS: Final = 90 * 86_400
#: (attempts so far, until when by the clock on the wall, whether it is on record that somebody has to wait)
Count = tuple[int, float, bool]


#: What an attempt counts for, anew each time it is asked for.
Bounds = Callable[[], Iterable[tuple[str, Bound]]]


class Wait(NamedTuple):
    """``seconds`` 0: go on. ``first``: nobody was told yet that this has to wait."""

    seconds: int
    first: bool = False


def take(client_ip: str | None, name: str) -> Wait:
    """Count an attempt, or say how long to wait. A few reads; two writes for each attempt that may go on, under the
    lock on the installation."""
    return _take(partial(_bounds, client_ip, name))


def take_entry_of_nobody() -> Wait:
    """The same for an entry about a name that is nobody's: it is about recording, and keeps nobody from logging in."""
    return _take(lambda: [(_key("nobody"), RECORDED_OF_NOBODY)])


def _take(bounds: Bounds) -> Wait:
    if (wait := _longest(bounds)) and not wait.first:
        return wait
    with transaction.atomic():
        Installation.get(lock=True)
        wait = _longest(bounds)
        for key, bound in bounds():
            count, until, told = _read(key, bound)
            if wait is None:
                _write(key, (count + 1, until, told))
            elif count >= bound.most and not told:
                _write(key, (count, until, True))
    return wait or Wait(0)


def succeeded(client_ip: str | None, name: str) -> None:
    """It was the right password: what was counted at this name from here is forgotten, and the attempt taken back
    elsewhere."""
    with transaction.atomic():
        Installation.get(lock=True)
        for key, bound in _bounds(client_ip, name):
            count, until, told = _read(key, bound)
            if bound is AT_NAME_FROM_ADDRESS:
                cache.delete(key)
            elif count:
                _write(key, (count - 1, until, told))
        cache.set(_key("known", _network(client_ip), name), True, KNOWN_SECONDS)


def _longest(bounds: Bounds) -> Wait | None:
    """The longest wait there is, None when there is none."""
    waits = []
    for key, bound in bounds():
        count, until, told = _read(key, bound)
        if count >= bound.most:
            waits.append(Wait(max(1, round(until - time.time())), not told))
    return Wait(max(wait.seconds for wait in waits), any(wait.first for wait in waits)) if waits else None


def _bounds(client_ip: str | None, name: str) -> Iterator[tuple[str, Bound]]:
    network = _network(client_ip)
    yield _key("pair", network, name), AT_NAME_FROM_ADDRESS
    yield _key("address", network), FROM_ADDRESS
    if not cache.get(_key("known", network, name)):
        yield _key("name", name), AT_NAME_FROM_STRANGERS
        if (site := _site(client_ip)) is not None:
            yield _key("site", site), FROM_SITE


def _read(key: str, bound: Bound) -> Count:
    found: Count | None = cache.get(key)
    now = time.time()
    # A clock that was set back must not make anybody wait longer than the bound says.
    if found is None or not now < found[1] <= now + bound.seconds:
        return 0, now + bound.seconds, False
    return found


def _write(key: str, value: Count) -> None:
    cache.set(key, value, max(1, round(value[1] - time.time())))


def _network(client_ip: str | None) -> str:
    """The address; of IPv6 the /64, which is one network's."""
    address = address_of(client_ip or "")
    return str(int(address) >> 64 if isinstance(address, IPv6Address) else address or "")


def _site(client_ip: str | None) -> str | None:
    """Of IPv6 the /48."""
    address = address_of(client_ip or "")
    return str(int(address) >> 80) if isinstance(address, IPv6Address) else None


def _key(sort: str, *parts: str) -> str:
    """Names are typed by strangers, and by people who type their password there: only a hash of them is kept, which
    nobody can compare with guesses who has the database without the secret key."""
    text = "\0".join(part.casefold() for part in parts).encode("utf-8", "surrogatepass")
    return f"login:{sort}:{salted_hmac('signalbox.login', text, algorithm='sha256').hexdigest()}"
