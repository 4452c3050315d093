"""What depends on the upstream's model: which field bounds the answer, and how it is told to think. Pure.

Both formats changed these fields on the way, and newer models refuse the old ones while older models and
compatible servers know nothing else. Names decide; a name that says nothing gets what is current.
"""

from __future__ import annotations

import re
from typing import Final

#: ``max_tokens`` for clients that named none: Anthropic requires it, OpenAI's default is no limit.
DEFAULT_MAX_TOKENS: Final = 16_384
#: The same for requests that think, which counts against it too.
DEFAULT_MAX_TOKENS_THINKING: Final = 32_000
#: Anthropic's smallest thinking budget.
MIN_BUDGET: Final = 1024
#: Tokens to think with, by OpenAI's ``reasoning_effort``, for models that are told a budget.
BUDGETS: Final = {"minimal": 1024, "low": 2048, "medium": 4096, "high": 8192, "xhigh": 15_360, "max": 15_360}
#: Anthropic's ``output_config.effort`` by OpenAI's ``reasoning_effort``, for models that are told an effort.
EFFORTS: Final = {"minimal": "low", "low": "low", "medium": "medium", "high": "high", "xhigh": "xhigh", "max": "max"}
#: OpenAI's ``reasoning_effort`` for adaptive thinking without an effort.
ADAPTIVE_EFFORT: Final = "medium"

# Claude up to 4.5 takes a budget and nothing else.
_BUDGET_ONLY = re.compile(
    r"claude-3-7|claude-(?:opus|sonnet|haiku)-4(?:[-.][015])?(?=$|[^0-9.-]|-\d{6,}|-[a-z])", re.IGNORECASE
)
# OpenAI's reasoning models refuse ``max_tokens``; many compatible servers ignore ``max_completion_tokens``.
_COMPLETION_TOKENS = re.compile(r"(?:^|[/:])(?:o\d|gpt-(?:[5-9]|\d\d)|codex)", re.IGNORECASE)


def takes_budget(model: str) -> bool:
    """Whether a model of Anthropic's format is told how many tokens to think, not how hard to try."""
    return _BUDGET_ONLY.search(model) is not None


def limit_field(model: str) -> str:
    """The name of the field that bounds an answer of OpenAI's format."""
    return "max_completion_tokens" if _COMPLETION_TOKENS.search(model) is not None else "max_tokens"


def effort_of(budget: int) -> str:
    """OpenAI's ``reasoning_effort`` nearest to a thinking budget. Only the three that every server knows."""
    if budget < BUDGETS["medium"]:
        return "low"
    return "medium" if budget < BUDGETS["high"] else "high"
