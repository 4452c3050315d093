"""Where the gateway may connect: by the address a socket is opened for, however it was written."""

from __future__ import annotations

import socket
from ipaddress import ip_address
from typing import TYPE_CHECKING

import pytest

from routes.gateway import guard
from tests.documents import document, profile, provider, target

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.gateway.lab import Lab
    from tests.gateways import Gateways
    from tests.simulators import Simulator


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("8.8.8.8", "public"),
        ("2606:4700::1111", "public"),
        ("10.1.2.3", "private"),
        ("172.31.0.1", "private"),
        ("192.168.1.1", "private"),
        ("100.64.0.1", "private"),
        ("fd12::1", "private"),
        ("127.0.0.1", "loopback"),
        ("127.255.0.9", "loopback"),
        ("::1", "loopback"),
        ("::ffff:127.0.0.1", "loopback"),
        ("::127.0.0.1", "loopback"),
        ("64:ff9b::7f00:1", "loopback"),
        ("2002:7f00:1::", "loopback"),
        ("::ffff:10.0.0.1", "private"),
        ("169.254.169.254", "never"),
        ("169.254.0.1", "never"),
        ("::ffff:169.254.169.254", "never"),
        ("64:ff9b::a9fe:a9fe", "never"),
        ("fe80::1", "never"),
        ("fe80::1%eth0", "never"),
        ("fd00:ec2::254", "never"),
        ("100.100.100.200", "never"),
        ("168.63.129.16", "never"),
        ("0.0.0.0", "never"),
        ("::", "never"),
        ("224.0.0.1", "never"),
        ("255.255.255.255", "never"),
        ("240.0.0.1", "never"),
        ("192.0.2.1", "never"),
        ("64:ff9b:1::1", "never"),
    ],
)
def test_networks_of_addresses(address: str, network: str) -> None:
    assert guard.network_of(ip_address(address)) == network


def test_no_setting_allows_metadata_or_link_local_addresses() -> None:
    assert all("never" not in allowed for allowed in guard.ALLOWED.values())
    everything = guard.socket_factory(frozenset({"public", "private", "loopback"}))

    with pytest.raises(guard.NotAllowed):
        everything((socket.AF_INET, socket.SOCK_STREAM, 6, "", ("169.254.169.254", 80)))


def test_a_socket_is_made_only_for_an_allowed_network() -> None:
    loopback = guard.socket_factory(frozenset({"loopback"}))
    info = (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 80))

    loopback(info).close()
    with pytest.raises(guard.NotAllowed):
        guard.socket_factory(frozenset({"public"}))(info)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "127.1", "2130706433"])
def test_a_public_provider_never_leads_to_loopback_whatever_its_host_is_called(lab: Lab, host: str) -> None:
    acme = lab.provider(network="public")
    acme.entry["base_url"] = f"http://{host}:{acme.handle.port}/v1"
    lab.publish(acme, max_attempts=1)

    answer = lab.chat()

    assert answer.status == 502
    assert acme.count == 0
    assert b"127.0.0.1" not in answer.body
    assert lab.row().error_code in {"connect_refused", "dns"}


def test_the_ceiling_of_the_installation_binds_every_provider(
    start_gateways: Callable[..., Gateways], simulator: Simulator
) -> None:
    acme = simulator.add("acme")
    gateway = start_gateways(SIGNALBOX_UPSTREAM_NETWORKS="public,private")
    gateway.publish(document([provider("acme", base_url=acme.base_url, network="loopback")]))

    assert gateway.chat().status == 502
    assert acme.requests() == []


def test_a_connection_one_provider_may_use_is_not_lent_to_one_that_may_not(lab: Lab) -> None:
    allowed, forbidden = lab.provider(network="loopback"), lab.provider(network="public")
    forbidden.entry["base_url"] = allowed.entry["base_url"]
    lab.gateway.publish(
        document(
            [allowed.entry, forbidden.entry],
            [profile("yes", [target(allowed.slug)]), profile("no", [target(forbidden.slug)])],
        )
    )

    assert lab.gateway.chat(path="/p/yes/v1/chat/completions").status == 200
    assert lab.gateway.chat(path="/p/no/v1/chat/completions").status == 502
    assert allowed.count == 1
