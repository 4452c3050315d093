"""One provider of each kind behind a shared gateway, and the official SDKs to talk to them through it.

Nothing is published after the start: a profile names each order of the two, so that a test costs its requests alone::

    def test_x(pair: Pair) -> None:
        pair.anthropic.behave(text="the line is clear")
        answer = pair.chat("anthropic").chat.completions.create(model=MODEL, messages=HELLO)

Profiles ``openai`` and ``anthropic`` have one target (``openai-counted`` and ``anthropic-counted`` too, and always ask
streams what they used), ``openai-first`` and ``anthropic-first`` have both. Circuits never open here; what would be
quarantined (429, 403) is a model's name, so tests of that use one of their own.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import anthropic
import openai

from tests.documents import document, profile, provider, target
from tests.gateways import KEY

if TYPE_CHECKING:
    from collections.abc import Callable

    from history.records import Finished
    from tests.gateways import Gateways
    from tests.simulators import ProviderHandle, Simulator

#: What clients ask for, and what both providers call it.
MODEL = "station"
UPSTREAM_MODEL = "acme-station"
HELLO: Any = [{"role": "user", "content": "hello"}]
WIRES = ("openai", "anthropic")

_NEVER_OPENS = {"failure_threshold": 1_000_000, "failure_rate": 100, "min_results": 1_000_000}


def other(wire: str) -> str:
    return "anthropic" if wire == "openai" else "openai"


class Pair:
    def __init__(self, gateway: Gateways, simulator: Simulator) -> None:
        self.gateway = gateway
        self._providers = {wire: simulator.add(wire, wire) for wire in WIRES}
        self._clients: dict[tuple[Any, ...], Any] = {}
        self._open = ExitStack()
        entries = [
            provider(
                wire,
                wire=wire,
                base_url=handle.base_url,
                models={MODEL: UPSTREAM_MODEL, "*": "*"},
                circuit=_NEVER_OPENS,
            )
            for wire, handle in self._providers.items()
        ]
        orders = {wire: [wire] for wire in WIRES} | {f"{wire}-first": [wire, other(wire)] for wire in WIRES}
        profiles = [
            profile(slug, [target(each) for each in order], failover={"same_target_retries": 0})
            for slug, order in {**orders, "default": ["openai"]}.items()
        ]
        profiles += [profile(f"{wire}-counted", [target(wire)], accounting="always") for wire in WIRES]
        gateway.publish(document(entries, profiles))

    def __getitem__(self, wire: str) -> ProviderHandle:
        """The provider that speaks ``wire``."""
        return self._providers[wire]

    @property
    def openai(self) -> ProviderHandle:
        return self["openai"]

    @property
    def anthropic(self) -> ProviderHandle:
        return self["anthropic"]

    def renew(self) -> None:
        """As at the start, for the next test."""
        for handle in self._providers.values():
            handle.reset()
        self.gateway.forget()

    def close(self) -> None:
        self._open.close()

    # -- the SDKs, strict about what they are answered -----------------------------------------------------------
    def chat(self, profile: str, **options: Any) -> openai.OpenAI:
        """The OpenAI SDK with that profile's address; ``options`` are its arguments."""
        return self._client("openai", profile, options, lambda given: openai.OpenAI(**given))

    def messages(self, profile: str, **options: Any) -> anthropic.Anthropic:
        """The Anthropic SDK with that profile's address."""
        return self._client("anthropic", profile, options, lambda given: anthropic.Anthropic(**given))

    def async_chat(self, profile: str) -> openai.AsyncOpenAI:
        """To be closed by the test: it belongs to the test's event loop."""
        return openai.AsyncOpenAI(**self._arguments("openai", profile))

    def async_messages(self, profile: str) -> anthropic.AsyncAnthropic:
        return anthropic.AsyncAnthropic(**self._arguments("anthropic", profile))

    def _arguments(self, wire: str, profile: str) -> dict[str, Any]:
        base = f"{self.gateway.url}/p/{profile}"
        return {
            "api_key": KEY,
            "base_url": f"{base}/v1" if wire == "openai" else base,
            "max_retries": 0,
            "timeout": 30,
            "_strict_response_validation": True,
        }

    def _client(self, wire: str, profile: str, options: dict[str, Any], make: Callable[[dict[str, Any]], Any]) -> Any:
        key = (wire, profile, *sorted(options.items()))
        if key not in self._clients:
            self._clients[key] = self._open.enter_context(make({**self._arguments(wire, profile), **options}))
        return self._clients[key]

    def ask(self, wire: str, profile: str, *, stream: bool = False, retries: int = 0, **more: Any) -> Any:
        """A small request with the SDK of ``wire``: its answer, or all that it streams. ``more``: arguments of
        ``create``."""
        arguments = {"model": MODEL, "messages": HELLO, "stream": stream, **more}
        create: Any
        if wire == "openai":
            create = self.chat(profile, max_retries=retries).chat.completions.create
        else:
            create = self.messages(profile, max_retries=retries).messages.create
            arguments.setdefault("max_tokens", 64)
        answer = create(**arguments)
        return list(answer) if stream else answer

    # -- history ---------------------------------------------------------------------------------------------
    def row(self) -> Finished:
        """The record of the only request so far."""
        (row,) = self.gateway.finished()
        return row

    def attempts(self) -> list[tuple[str, str | None]]:
        return [(attempt.provider, attempt.error_class) for attempt in self.row().attempts]
