"""The wire formats a simulated provider speaks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from simulator.wire.anthropic import AnthropicWire
from simulator.wire.generic import GenericWire
from simulator.wire.openai import OpenAIWire

if TYPE_CHECKING:
    from simulator.wire.base import Wire

WIRES: dict[str, Wire] = {"openai": OpenAIWire(), "anthropic": AnthropicWire(), "generic": GenericWire()}
