"""Bodies that are slow, enormous, endless or stop half-way, and servers that are not who they should be."""

from __future__ import annotations

import http.client
import json
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.faults.processes import resident_mb
from tests.gateway.lab import CHAT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.gateway.lab import Lab
    from tests.simulators import ProviderHandle, Simulator

pytestmark = pytest.mark.faults

MB = 1024 * 1024
#: What a process may grow by, whatever passes through it.
FLAT_MB = 40


@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_that_drips_arrives_whole(lab: Lab, stream: bool) -> None:
    only = lab.provider()
    lab.publish(only)
    only.fail("slow_drip", bytes=40, seconds=0.002)

    answer = lab.chat(stream=stream)

    assert answer.status == 200
    assert len(answer.body) == lab.row().attempts[0].bytes
    assert answer.body.endswith(b"data: [DONE]\n\n") if stream else answer.json()["choices"]
    assert lab.row().status == "routed"


def test_a_document_that_stalls_while_it_is_held_goes_to_the_next_target(lab: Lab) -> None:
    bad, good = lab.provider(), lab.provider()
    lab.publish(bad, good, timeouts={"idle": 0.3})
    bad.fail("stall_mid_body")

    assert lab.chat().headers["x-route-provider"] == good.slug
    assert lab.attempts() == [(bad.slug, "timeout_idle"), (good.slug, None)]


@pytest.mark.parametrize("fault", ["reset_mid_body", "cut_mid_body", "stall_mid_body"])
@pytest.mark.parametrize("operation", ["speech", "service"])
def test_what_nobody_looks_into_is_cut_visibly_and_counted(lab: Lab, fault: str, operation: str) -> None:
    """Such bodies are committed to with their first byte: no second target, and no last chunk."""
    if operation == "speech":
        first, second = lab.provider(), lab.provider()
        path, document = "/v1/audio/speech", {"model": "gpt-4o", "voice": "alloy", "input": "hello " * 50}
    else:
        first, second = lab.provider("generic"), lab.provider("generic")
        path, document = "/svc/default/things", {"text": "hello " * 50}
    lab.publish(first, second, timeouts={"idle": 0.3})
    first.fail(fault, after_bytes=100)

    connection = lab.open(document, path)
    response = http.client.HTTPResponse(connection)
    response.begin()
    with pytest.raises((http.client.IncompleteRead, ConnectionResetError)):
        response.read()
    connection.close()

    assert second.count == 0
    row = lab.row()
    assert (row.status, row.attempts[0].error_class) == ("failed", row.error_code)
    assert row.error_code == ("timeout_idle" if fault == "stall_mid_body" else "truncated")


@pytest.mark.slow
@pytest.mark.parametrize("stream", [False, True])
def test_64_mb_pass_through_whole_and_leave_the_memory_flat(lab: Lab, stream: bool) -> None:
    only = lab.provider()
    lab.publish(only)
    only.fail("huge_body", bytes=64 * MB)
    before = resident_mb(lab.gateway)

    connection = lab.open({**CHAT, "stream": stream})
    response = http.client.HTTPResponse(connection)
    response.begin()
    size, most, tail = 0, 0.0, b""
    while piece := response.read(4 * MB):
        size += len(piece)
        tail = (tail + piece)[-200:]
        most = max(most, resident_mb(lab.gateway) - before)
    connection.close()

    assert size >= 64 * MB
    assert tail.endswith(b"data: [DONE]\n\n" if stream else b"}")
    assert most < FLAT_MB
    assert lab.row().status == "routed"


@pytest.mark.parametrize("stream", [False, True])
def test_an_endless_answer_leaves_the_memory_flat_while_it_is_read_and_ends_when_the_client_leaves(
    lab: Lab, stream: bool
) -> None:
    only = lab.provider()
    lab.publish(only)
    only.fail("endless_body", seconds=0)
    before = resident_mb(lab.gateway)

    connection = lab.open({**CHAT, "stream": stream})
    size = 0
    while size < 48 * MB:
        piece = connection.recv(MB)
        assert piece
        size += len(piece)
    grown = resident_mb(lab.gateway) - before
    connection.close()

    assert grown < FLAT_MB
    only.wait_for(lambda requests: requests[0].disconnected)


@pytest.mark.parametrize("stream", [False, True])
def test_a_packed_body_that_unpacks_to_far_more_goes_to_the_next_target(lab: Lab, stream: bool) -> None:
    bomb, good = lab.provider(), lab.provider()
    lab.publish(bomb, good)
    bomb.behave(text="a" * (24 * MB), chunk_bytes=0, faults=[{"name": "gzip"}])
    before = resident_mb(lab.gateway)

    answer = lab.chat(stream=stream)

    assert answer.status == 200
    assert answer.headers["x-route-provider"] == good.slug
    assert lab.attempts() == [(bomb.slug, "too_large"), (good.slug, None)]
    assert resident_mb(lab.gateway) - before < FLAT_MB


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A self-signed certificate for 127.0.0.1 and its key, as PEM files."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    folder = tmp_path_factory.mktemp("certificate")
    chain, private = folder / "chain.pem", folder / "key.pem"
    chain.write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    private.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return chain, private


@pytest.fixture
def stranger(simulator: Simulator, certificate: tuple[Path, Path]) -> Iterator[ProviderHandle]:
    """A provider whose certificate nobody vouches for."""
    chain, private = certificate
    config = {"name": "stranger", "certificate": str(chain), "private_key": str(private)}
    (handle,) = simulator.add_all([config])
    yield handle
    handle.stop()


def test_a_certificate_nobody_vouches_for_goes_to_the_next_target(lab: Lab, stranger: ProviderHandle) -> None:
    assert stranger.base_url.startswith("https:")
    bad, good = lab.provider(base_url=stranger.base_url), lab.provider()
    lab.publish(bad, good)

    assert lab.chat().status == 200
    assert lab.attempts() == [(bad.slug, "tls"), (good.slug, None)]
    assert stranger.count() == 0
    assert "certificate" in json.dumps(lab.row().attempts[0].message).lower()
