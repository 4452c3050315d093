"""The fixtures of the gateway's own tests."""

from __future__ import annotations

from tests.gateway.conftest import _lasting_gateway, gateway, lab, shared_gateway, simulator, start_gateways

__all__ = ["_lasting_gateway", "gateway", "lab", "shared_gateway", "simulator", "start_gateways"]
