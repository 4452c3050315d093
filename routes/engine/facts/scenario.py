"""Scenarios: what kind of request it is, by the first in a profile's order that fits. Pure.

Owns the names, their aliases and each one's rule; the facts they are made of are ``Facts``'s.
"""

from __future__ import annotations

import fnmatch
import re
from typing import TYPE_CHECKING, Any, Final, Protocol

from routes.engine.facts.catalogue import SCENARIOS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

DEFAULT_THRESHOLD: Final = 32_000
BACKGROUND_MODELS: Final = ("*haiku*", "*mini*", "*flash*")

#: A continuing session stays where its long context is, unless this request is small.
CONTINUES_TOKENS: Final = 5_000
CONTINUES_SHARE: Final = 5  # at least one fifth of the last input

_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])")


def normalise(name: str) -> str | None:
    """``webSearch``, ``web-search`` and ``Web search`` are ``web_search``; None when there is no such scenario."""
    plain = re.sub(r"[\s_-]+", "_", _CAMEL.sub("_", name.strip())).lower()
    return plain if plain in SCENARIOS else None


class Classified(Protocol):
    """What a scenario is made of; absent facts are None."""

    @property
    def model(self) -> str | None: ...
    @property
    def web_search(self) -> bool | None: ...
    @property
    def thinking(self) -> bool | None: ...
    @property
    def has_images(self) -> bool | None: ...
    @property
    def tokens(self) -> int | None: ...
    @property
    def agent(self) -> str | None: ...
    @property
    def has_coding_tools(self) -> bool: ...
    @property
    def last_input(self) -> Callable[[], int | None] | None: ...


class ScenarioSettings:
    """A profile's ``scenario``, ready to classify. Scenarios left out of ``order`` are never seen."""

    __slots__ = ("_background", "background_models", "long_context_threshold", "order")

    def __init__(
        self,
        order: Sequence[str] = SCENARIOS,
        long_context_threshold: int = DEFAULT_THRESHOLD,
        background_models: Sequence[str] = BACKGROUND_MODELS,
    ) -> None:
        """Raises ValueError for a name that is no scenario."""
        names = []
        for given in order:
            name = normalise(given)
            if name is None:
                raise ValueError(f"unknown scenario {given!r}; there are {', '.join(SCENARIOS)}")
            names.append(name)
        self.order = tuple(names)
        self.long_context_threshold = long_context_threshold
        self.background_models = tuple(background_models)
        self._background = tuple(re.compile(fnmatch.translate(glob)) for glob in background_models)

    @classmethod
    def from_document(cls, section: Mapping[str, Any]) -> ScenarioSettings:
        """From a compiled profile's ``scenario``. Raises ValueError."""
        return cls(**{name: section[name] for name in cls.__slots__[1:] if name in section})

    def is_background(self, model: str | None) -> bool:
        """Whether it is one of the small models that agents give their chores to."""
        return model is not None and any(glob.match(model) for glob in self._background)

    def is_long(self, tokens: int | None, last_input: Callable[[], int | None] | None) -> bool:
        """Above the threshold; above 80 % of it where nothing is known of the session; or small enough now, but
        going on in a session whose last request was above it."""
        limit = self.long_context_threshold
        if tokens is None:
            return False
        if tokens > limit:
            return True
        last = None if last_input is None else last_input()
        if last is None:
            return tokens * 10 > limit * 8
        return last > limit and tokens > CONTINUES_TOKENS and tokens * CONTINUES_SHARE >= last

    def classify(self, facts: Classified) -> str:
        """The first scenario of the order that fits."""
        return next((name for name in self.order if _RULES[name](self, facts)), "default")


def _is_code(settings: ScenarioSettings, facts: Classified) -> bool:
    """Coding tools are offered, or a coding agent's prompt came with a model that is not one for chores (titles and
    the like: those have the agent's prompt, and no tools)."""
    return facts.has_coding_tools or (facts.agent is not None and not settings.is_background(facts.model))


_RULES: Final[dict[str, Callable[[ScenarioSettings, Classified], bool]]] = {
    "web_search": lambda settings, facts: facts.web_search is True,
    "thinking": lambda settings, facts: facts.thinking is True,
    "image": lambda settings, facts: facts.has_images is True,
    "long_context": lambda settings, facts: settings.is_long(facts.tokens, facts.last_input),
    "code": _is_code,
    "background": lambda settings, facts: settings.is_background(facts.model),
    "default": lambda settings, facts: True,
}
