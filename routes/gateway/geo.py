"""Where a client is, for requests whose region nobody named: its address, looked up in a MaxMind database of countries.

The package ``maxminddb`` (the ``geo`` extra) and the file (``SIGNALBOX_GEOIP_DB``) are both optional and belong to
whoever runs the gateway. Opened once at start, mapped into memory; a look-up costs microseconds the first time an
address comes and a dict look-up after that. Must not import anything of the control plane.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

#: Addresses whose country is remembered.
CACHED_ADDRESSES: Final = 16_384
#: The entry of ``policy.geo`` for clients that no other entry names.
ANYWHERE: Final = "*"

#: Country and continent of an address, as far as the database knows them.
Codes = tuple[str | None, str | None]


class GeoError(Exception):
    """The database cannot be used; the message is one line that says what to do."""


class Geo:
    """Regions of addresses. ``look_up``: the record of an address, None = not in the database; raises ValueError for
    what is no address."""

    def __init__(self, look_up: Callable[[str], Any]) -> None:
        self._look_up = look_up
        self.codes: Callable[[str], Codes] = lru_cache(CACHED_ADDRESSES)(self._codes)

    def region(self, address: str, regions: Mapping[str, str]) -> str | None:
        """``regions`` is the policy's: country or continent codes (``*`` = any other) to region names. The country
        goes before the continent."""
        country, continent = self.codes(address)
        for code in (country, continent, ANYWHERE):
            if code is not None and (region := regions.get(code)) is not None:
                return region
        return None

    def _codes(self, address: str) -> Codes:
        try:
            record = self._look_up(address)
        except ValueError:
            return None, None
        return _code(record, "country", "iso_code"), _code(record, "continent", "code")


def _code(record: Any, part: str, name: str) -> str | None:
    """MaxMind's shape is ``{country: {iso_code}}``; some vendors write ``{country_code}`` or ``{country}``."""
    if type(record) is not dict:
        return None
    inner = record.get(part)
    code = inner.get(name) if type(inner) is dict else record.get(f"{part}_code", inner)
    return code.upper() if type(code) is str and code else None


def open_database(path: Path) -> Geo:
    """Raises GeoError when the package is not installed or the file is none it can read."""
    try:
        import maxminddb
    except ImportError:
        message = "SIGNALBOX_GEOIP_DB is set, but the package maxminddb is not installed (the extra 'geo')"
        raise GeoError(message) from None
    try:
        reader = maxminddb.open_database(path)
    except OSError as error:
        raise GeoError(f"SIGNALBOX_GEOIP_DB: cannot read {path}: {error.strerror}") from None
    except (maxminddb.InvalidDatabaseError, ValueError) as error:
        raise GeoError(f"SIGNALBOX_GEOIP_DB: {path} is not a MaxMind database: {error}") from None
    return Geo(reader.get)
