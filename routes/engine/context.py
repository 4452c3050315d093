"""How much a model takes in: where its context window is looked up. Pure; imports nothing of the project."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from routes.engine.provider import Provider
    from routes.engine.snapshot import Snapshot


def context_window(snapshot: Snapshot, provider: Provider, m: str, u: str) -> int | None:
    """Tokens: what the provider's ``context`` says of ``m``, then of ``u``; else the built-in table, where the upstream
    name goes first, as for prices. None = not known."""
    return (
        provider.context.get(m)
        or provider.context.get(u)
        or snapshot.builtin_context.get(u)
        or snapshot.builtin_context.get(m)
    )
