"""Several providers and their control endpoint on one event loop: what the command line and the tests start.

The configuration is a list of `{name, wire, host, port, behaviour, certificate, private_key}`; only `name` is needed.
"""

from __future__ import annotations

import ssl
from typing import Any

import msgspec

from simulator import behaviour as behaviours
from simulator.behaviour import BehaviourError
from simulator.control import Control
from simulator.provider import Provider
from simulator.wire import WIRES


class ConfigError(Exception):
    """A configuration that cannot be used; the message is one line."""


class ProviderConfig(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """One provider of a configuration. With `certificate` and `private_key` (PEM files) it speaks TLS."""

    name: str
    wire: str = "openai"
    host: str = "127.0.0.1"
    port: int = 0
    behaviour: dict[str, Any] = {}
    certificate: str | None = None
    private_key: str | None = None

    def build(self) -> Provider:
        """Raises ConfigError."""
        if self.wire not in WIRES:
            raise ConfigError(f"{self.name}: wire must be one of {', '.join(WIRES)}")
        try:
            behaviour = behaviours.read(self.behaviour)
            tls = self._tls()
        except (BehaviourError, OSError) as error:
            raise ConfigError(f"{self.name}: {error}") from None
        return Provider(self.name, self.wire, host=self.host, port=self.port, behaviour=behaviour, tls=tls)

    def _tls(self) -> ssl.SSLContext | None:
        if self.certificate is None:
            return None
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate, self.private_key)
        return context


def read_config(document: Any) -> list[ProviderConfig]:
    """Check a whole configuration. Raises ConfigError."""
    try:
        configs = msgspec.convert(document, list[ProviderConfig])
    except msgspec.ValidationError as error:
        raise ConfigError(str(error)) from None
    names = [config.name for config in configs]
    if not names:
        raise ConfigError("no providers")
    if len(set(names)) < len(names):
        raise ConfigError("provider names must differ")
    return configs


class Simulation:
    """Opens everything, or nothing when one port is taken."""

    def __init__(self, configs: list[ProviderConfig], *, control_port: int = 0) -> None:
        self.providers = {config.name: config.build() for config in configs}
        self.control = Control(self.providers, port=control_port)

    async def open(self) -> None:
        """Raises ConfigError that names the port which is taken."""
        for provider in self.providers.values():
            try:
                provider.open()
            except OSError as error:
                await self.close()
                raise ConfigError(f"{provider.name}: port {provider.port}: {error.strerror}") from None
        try:
            await self.control.open()
        except OSError as error:
            await self.close()
            raise ConfigError(f"control endpoint: port {self.control.port}: {error.strerror}") from None

    async def close(self) -> None:
        for provider in self.providers.values():
            provider.close()
        await self.control.close()
