"""Words for what the pipeline itself says of a target; those of strategies are told with the strategies."""

from __future__ import annotations

import pytest

from routes.engine import words


@pytest.mark.parametrize(
    ("code", "value", "expected"),
    [
        ("pinned", 125.0, "its session has been here for 2 min 5 s"),
        ("origin", None, "the response this request goes on with came from it"),
        ("demoted_threshold", 3.0, "put back after 3 failures in a row"),
        ("demoted_success_rate", 0.72, "put back: only 72 % of its latest answers were good"),
        ("demoted_latency", 2345.6, "put back for a latency of 2346 ms"),
    ],
)
def test_words_for_places_that_no_strategy_gave(code: str, value: float | None, expected: str) -> None:
    assert words.ranked(code, value, 1) == expected


@pytest.mark.parametrize(
    ("code", "value", "expected"),
    [
        ("at_capacity", 8, "already serves 8 requests, as many as its provider may"),
        ("tags_missing", "eu, cheap", "does not carry the tag eu, cheap"),
        ("model_type", "llama", "serves models of type llama only"),
        ("unhealthy", None, "found unhealthy by its health checks"),
        ("rule_only", "long context", "belongs to the rule “long context”, which did not match"),
        ("not_in_rule", "long context", "not among the targets of the rule “long context”"),
        ("not_origin", None, "not where the response came from that this request goes on with"),
    ],
)
def test_words_for_what_admission_health_and_rules_leave_out(
    code: str, value: float | str | None, expected: str
) -> None:
    assert words.excluded(code, value) == expected
