"""What the control plane would like to know from history, without importing it.

History implements, the console process wires (``provide_traffic``). Unwired, the answer is "nothing known", so that
``routes`` works and is tested by itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


class ProviderTraffic(NamedTuple):
    """Attempts at a provider in the last hour, and how many it answered."""

    requests: int
    answered: int

    @property
    def success_share(self) -> float | None:
        return self.answered / self.requests if self.requests else None


_traffic: Callable[[], Mapping[str, ProviderTraffic]] | None = None


def provide_traffic(source: Callable[[], Mapping[str, ProviderTraffic]]) -> None:
    """Say where ``provider_traffic`` gets its answer."""
    global _traffic
    _traffic = source


def provider_traffic() -> Mapping[str, ProviderTraffic]:
    """Traffic of the last hour by provider slug; providers without any are missing. One query when wired."""
    return _traffic() if _traffic else {}
