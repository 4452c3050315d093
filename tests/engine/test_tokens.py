"""The estimator of tokens: UTF-8 bytes of all text ÷ 4; and its calibrated twin, for cost."""

from __future__ import annotations

import json
from typing import Any

import orjson
import pytest

from routes.engine.facts import Calibration
from routes.engine.facts.body import TEXT_OPERATIONS
from routes.engine.facts.calibration import MAX_MODELS
from tests.engine.facts_of import CLAUDE_PICTURE, PICTURE, facts_of, said, user

TOOL = {"type": "function", "function": {"name": "look", "parameters": {"type": "object", "properties": {"ä": {}}}}}


@pytest.mark.parametrize(
    ("operation", "document", "size"),
    [
        ("chat", said("a" * 400), 400),
        ("chat", said("ä" * 200), 400),
        ("chat", said("a" * 100, "b" * 100, "c" * 200), 400),
        ("chat", said({"role": "system", "content": "a" * 100}, {"role": "developer", "content": "b" * 100}), 200),
        ("chat", said(user([{"type": "text", "text": "a" * 80}, PICTURE])), 80),
        ("chat", said(user([{"type": "input_audio", "input_audio": {"data": "A" * 999}}])), 0),
        ("chat", said({"role": "assistant", "refusal": "a" * 80, "reasoning_content": "b" * 80}), 160),
        (
            "chat",
            said({"role": "assistant", "tool_calls": [{"id": "x" * 99, "function": {"arguments": "a" * 40}}]}),
            40,
        ),
        ("chat", said({"role": "tool", "tool_call_id": "x" * 99, "content": "a" * 60}), 60),
        ("chat", said("a" * 40, tools=[TOOL]), 40 + len(orjson.dumps([TOOL]))),
        ("chat", said(functions=[{"name": "look"}]), len(b'[{"name":"look"}]')),
        ("messages", said("a" * 40, system="b" * 40), 80),
        ("messages", said("a" * 40, system=[{"type": "text", "text": "b" * 40, "cache_control": {}}]), 80),
        ("messages", said(user([CLAUDE_PICTURE, {"type": "text", "text": "a" * 40}])), 40),
        (
            "messages",
            said({"role": "assistant", "content": [{"type": "tool_use", "name": "x", "input": {"path": "ä"}}]}),
            len('{"path":"ä"}'.encode()),
        ),
        ("messages", said({"role": "assistant", "content": [{"type": "thinking", "thinking": "a" * 80}]}), 80),
        ("messages", said(user([{"type": "tool_result", "tool_use_id": "x" * 99, "content": "a" * 60}])), 60),
        (
            "messages",
            said(user([{"type": "tool_result", "content": [CLAUDE_PICTURE, {"type": "text", "text": "a" * 60}]}])),
            60,
        ),
        (
            "messages",
            said(user([{"type": "document", "title": "b" * 20, "source": {"type": "text", "data": "a" * 60}}])),
            80,
        ),
        (
            "messages",
            said(
                user(
                    [
                        {
                            "type": "document",
                            "source": {"type": "content", "content": [{"type": "text", "text": "a" * 60}]},
                        }
                    ]
                )
            ),
            60,
        ),
        ("messages", said(user([{"type": "document", "source": {"type": "base64", "data": "A" * 999}}])), 0),
        ("messages", said(user([{"type": "document", "source": "A" * 999}])), 0),
        ("count_tokens", said("a" * 40), 40),
        ("responses", {"instructions": "a" * 40, "input": "b" * 40}, 80),
        (
            "responses",
            {
                "input": [
                    {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "a" * 40}]},
                    {"type": "function_call", "call_id": "x" * 99, "arguments": "b" * 40},
                    {"type": "function_call_output", "call_id": "x" * 99, "output": "c" * 40},
                    {"type": "reasoning", "encrypted_content": "x" * 99, "summary": [{"text": "d" * 40}]},
                    {"type": "custom_tool_call", "input": "e" * 40},
                ]
            },
            200,
        ),
        ("completion", {"prompt": "a" * 40}, 40),
        ("completion", {"prompt": ["a" * 40, "b" * 40]}, 80),
        ("completion", {"prompt": [1, 2, 3]}, 12),
        ("completion", {"prompt": [[1, 2], [3], "x", 2.5]}, 12 + 1),
        ("embedding", {"input": ["a" * 40, "b" * 40]}, 80),
        ("embedding", {"input": [5, 6, 7, 8]}, 16),
        ("chat", {"other": "a" * 400, "user": "b" * 400}, 0),
    ],
)
def test_tokens_are_the_utf8_bytes_of_all_text_by_four_and_media_count_nothing(
    operation: str, document: dict[str, Any], size: int
) -> None:
    assert facts_of(document, operation).tokens == size // 4


@pytest.mark.parametrize("operation", [*sorted(TEXT_OPERATIONS), "embedding", "images", "audio"])
@pytest.mark.parametrize("wrong", [None, 1.5, True, "", [], {}, [None, 7, [True], {}], {"content": {"text": 3}}])
def test_what_has_the_wrong_type_counts_nothing(operation: str, wrong: Any) -> None:
    for member in ("system", "instructions", "messages", "prompt", "input"):
        assert facts_of({member: wrong}, operation).tokens == 0
    assert facts_of(said(wrong, user(wrong)), operation).tokens == 0
    for member in ("tools", "functions"):
        facts = facts_of({member: wrong}, operation)
        assert facts.tokens == (len(orjson.dumps(wrong)) // 4 if wrong and type(wrong) is list else 0)


def test_the_estimate_is_the_same_whatever_the_order_of_members_and_the_spaces() -> None:
    document = said("one", "two", tools=[TOOL], system="three")
    turned = dict(reversed(document.items()))
    assert facts_of(document).tokens == facts_of(body=json.dumps(turned, indent=4).encode()).tokens


def test_arguments_nested_too_deeply_to_be_written_are_counted_string_by_string() -> None:
    deep: Any = {"text": ["ä" * 200, 5]}
    for _ in range(300):
        deep = {"in": [deep]}
    facts = facts_of(said({"role": "assistant", "content": [{"type": "tool_use", "input": deep}]}))
    assert facts.tokens == (400 + len("text") + 300 * len("in")) // 4


def test_no_body_has_no_tokens_and_a_body_that_is_no_object_has_none_in_it() -> None:
    assert facts_of().tokens is None
    assert facts_of(body=b"--boundary\r\nnot json").tokens == 0
    assert facts_of(["a" * 400]).tokens == 0


# -- calibration -------------------------------------------------------------------------------------------


def test_nothing_known_of_a_model_leaves_the_estimate_as_it_is() -> None:
    assert Calibration().read("m", 1000) == 1000


def test_the_first_answer_sets_the_ratio_and_later_ones_move_it_by_a_tenth() -> None:
    calibration = Calibration()
    calibration.update("m", 1000, 1500)
    assert calibration.read("m", 1000) == 1500
    calibration.update("m", 1000, 500)
    assert calibration.read("m", 1000) == 1400
    assert calibration.read("other", 1000) == 1000


def test_absurd_reports_and_tiny_requests_do_not_spoil_the_ratio() -> None:
    calibration = Calibration()
    calibration.update("m", 15, 400)
    calibration.update("m", 1000, 0)
    assert calibration.ratio("m") == 1.0
    calibration.update("m", 100, 10**9)
    assert calibration.ratio("m") == 10.0
    calibration.update("n", 10**9, 1)
    assert calibration.ratio("n") == 0.1


def test_only_so_many_models_are_remembered_and_the_least_recent_goes_first() -> None:
    calibration = Calibration()
    for index in range(MAX_MODELS):
        calibration.update(f"m{index}", 100, 200)
    calibration.update("m0", 100, 200)
    calibration.update("one more", 100, 200)
    assert calibration.ratio("m0") == 2.0
    assert calibration.ratio("m1") == 1.0
