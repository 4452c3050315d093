"""What can be wrong with a configuration handed to the engine. Imports nothing.

::

    EngineError                     code
    ├── SnapshotError               invalid_revision    (with the path of the field)
    ├── UnknownStrategyError        unknown_strategy
    └── InvalidParamsError          invalid_params      (with the path inside the params)

Routing itself raises nothing: a decision without a target is an ordinary result.
"""

from __future__ import annotations


class EngineError(Exception):
    """Base of the tree; ``code`` is stable and the same in API, history, metrics and docs."""

    code = "engine_error"


class SnapshotError(EngineError):
    """A compiled revision that cannot be used. ``path`` is like ``profiles[0].targets[2].provider``."""

    code = "invalid_revision"

    def __init__(self, path: str, message: str) -> None:
        super().__init__(f"{path}: {message}" if path else message)
        self.path = path
        self.message = message


class UnknownStrategyError(EngineError):
    """No strategy of that name; the message lists those there are."""

    code = "unknown_strategy"


class InvalidParamsError(EngineError):
    """Params that the strategy's model refuses. ``path`` is relative to the params."""

    code = "invalid_params"

    def __init__(self, path: str, message: str) -> None:
        super().__init__(f"{path}: {message}" if path else message)
        self.path = path
        self.message = message
