"""One provider of each wire, as most of these tests want them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.simulators import ProviderHandle, Simulator, simulator

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["simulator"]


@pytest.fixture(scope="module")
def shared_simulator() -> Iterator[Simulator]:
    with Simulator() as running:
        running.add("acme")
        running.add("claudia", "anthropic")
        running.add("echo", "generic")
        yield running


@pytest.fixture
def acme(shared_simulator: Simulator) -> ProviderHandle:
    """Speaks OpenAI; as new for each test."""
    provider = shared_simulator.providers["acme"]
    provider.reset()
    return provider


@pytest.fixture
def claudia(shared_simulator: Simulator) -> ProviderHandle:
    """Speaks Anthropic; as new for each test."""
    provider = shared_simulator.providers["claudia"]
    provider.reset()
    return provider


@pytest.fixture
def echo(shared_simulator: Simulator) -> ProviderHandle:
    """A generic service; as new for each test."""
    provider = shared_simulator.providers["echo"]
    provider.reset()
    return provider


@pytest.fixture(scope="session")
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
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    folder = tmp_path_factory.mktemp("certificate")
    chain, private = folder / "chain.pem", folder / "key.pem"
    chain.write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    private.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return chain, private


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The simulator is judged by many tests; ``make test-fast`` leaves them to ``make test``."""
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.thorough)
