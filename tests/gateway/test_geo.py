"""The region of a request: what it says, else its key's, else where its client's address is."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from routes.gateway.geo import Geo, GeoError, open_database
from tests import mmdb
from tests.documents import access_key, document, provider
from tests.gateways import KEY

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.gateways import Gateways
    from tests.simulators import Simulator

NETWORKS = {
    "192.0.2.0/24": {"country": {"iso_code": "DE"}, "continent": {"code": "EU"}},
    "198.51.100.0/24": {"country_code": "us", "continent_code": "NA"},
    "203.0.113.0/25": {"country": "FR"},
}
REGIONS = {"DE": "eu-central", "EU": "eu-west", "NA": "us-east", "*": "far"}


@pytest.fixture
def database(tmp_path: Path) -> Path:
    path = tmp_path / "countries.mmdb"
    mmdb.write(path, NETWORKS)
    return path


@pytest.mark.parametrize(
    ("address", "country", "continent"),
    [
        ("192.0.2.1", "DE", "EU"),
        ("198.51.100.255", "US", "NA"),
        ("203.0.113.9", "FR", None),
        ("203.0.113.200", None, None),
        ("2001:db8::1", None, None),
        ("not an address", None, None),
        ("", None, None),
    ],
)
def test_a_database_tells_country_and_continent_in_the_shapes_vendors_write(
    database: Path, address: str, country: str | None, continent: str | None
) -> None:
    assert open_database(database).codes(address) == (country, continent)


@pytest.mark.parametrize(
    ("address", "region"),
    [("192.0.2.1", "eu-central"), ("198.51.100.1", "us-east"), ("203.0.113.1", "far"), ("10.0.0.1", "far")],
)
def test_the_country_goes_before_the_continent_and_a_star_is_everywhere_else(
    database: Path, address: str, region: str
) -> None:
    geo = open_database(database)
    assert geo.region(address, REGIONS) == region
    assert geo.region(address, {}) is None
    without_star = {code: name for code, name in REGIONS.items() if code != "*"}
    assert geo.region(address, without_star) == (None if region == "far" else region)


def test_an_address_is_looked_up_once() -> None:
    asked: list[str] = []

    def look_up(address: str) -> dict[str, str]:
        asked.append(address)
        return {"country": "DE"}

    geo = Geo(look_up)
    assert {geo.region("192.0.2.1", REGIONS) for _ in range(10)} == {"eu-central"}
    assert asked == ["192.0.2.1"]


def test_without_the_package_the_message_says_what_is_missing(database: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "maxminddb", None)
    with pytest.raises(GeoError, match="the package maxminddb is not installed"):
        open_database(database)


def test_a_file_that_is_no_database_is_named(tmp_path: Path) -> None:
    with pytest.raises(GeoError, match=r"cannot read .*/missing\.mmdb"):
        open_database(tmp_path / "missing.mmdb")
    wrong = tmp_path / "wrong.mmdb"
    wrong.write_bytes(b"no database at all")
    with pytest.raises(GeoError, match=r"wrong\.mmdb is not a MaxMind database"):
        open_database(wrong)


@pytest.mark.thorough
def test_the_header_goes_before_the_key_and_the_key_before_the_address(
    start_gateways: Callable[..., Gateways], simulator: Simulator, database: Path
) -> None:
    gateway = start_gateways(SIGNALBOX_GEOIP_DB=str(database), SIGNALBOX_TRUSTED_PROXIES="127.0.0.0/8")
    names = ("eu-central", "us-east", "asia")
    gateway.publish(
        document(
            [provider(name, base_url=simulator.add(name).base_url, region=name) for name in names],
            strategy="geo_preferred",
            policy={"geo": {code: name for code, name in REGIONS.items() if code != "*"}},
        )
    )
    of_key = "sbx_" + "k" * 40
    gateway.overlay(keys=[access_key(KEY), access_key(of_key, name="regional", region="asia")])

    def answered_by(key: str = KEY, **headers: str) -> str:
        answer = gateway.chat(key=key, **headers)
        assert answer.status == 200
        return answer.headers["x-route-provider"]

    assert answered_by(x_forwarded_for="198.51.100.7") == "us-east"
    assert answered_by(x_forwarded_for="192.0.2.7") == "eu-central"
    assert answered_by(x_forwarded_for="192.0.2.7", x_route_region="us-east") == "us-east"
    assert answered_by(of_key, x_forwarded_for="192.0.2.7") == "asia"
    assert answered_by(of_key, x_forwarded_for="192.0.2.7", x_route_region="us-east") == "us-east"
    assert "geoip" not in gateway.get("/readyz").json()["degraded"]


@pytest.mark.thorough
def test_a_database_that_cannot_be_used_is_said_once_and_shown(
    start_gateways: Callable[..., Gateways], simulator: Simulator, tmp_path: Path
) -> None:
    gateway = start_gateways(SIGNALBOX_GEOIP_DB=str(tmp_path / "missing.mmdb"))
    gateway.publish(document([provider("a", base_url=simulator.add("a").base_url)], policy={"geo": {"*": "far"}}))
    assert gateway.chat().status == 200
    assert "geoip" in gateway.get("/readyz").json()["degraded"]
    assert gateway.log().count("missing.mmdb") == 1
