"""Requests carried to the other format: everything in them arrives, or is refused by name."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

import anthropic.types as theirs
import openai.types.chat as ours
import pytest
from anthropic.types import message_create_params as messages_params
from anthropic.types.message_content_param import MessageContentParam
from anthropic.types.tool_union_param import ToolUnionParam
from openai.types.chat import chat_completion_content_part_image_param as image_params
from openai.types.chat import chat_completion_content_part_param as part_params
from openai.types.chat import chat_completion_message_function_tool_call_param as call_params
from openai.types.chat import chat_completion_named_tool_choice_param as named_params
from openai.types.chat import completion_create_params as chat_params
from openai.types.shared_params import FunctionDefinition, ResponseFormatJSONSchema, response_format_json_schema
from typing_extensions import get_type_hints

from routes.gateway.wire.translate import Untranslatable, fields, models, to_anthropic, to_openai, translation
from tests.conversations import (
    CONVERSATIONS,
    anthropic_kwargs,
    asked,
    expected_request,
    openai_kwargs,
)

#: Many of a kind.
pytestmark = pytest.mark.thorough

BY_NAME = {conversation.name: conversation for conversation in CONVERSATIONS}

CHAT: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
MESSAGES: dict[str, Any] = {"model": "m", "max_tokens": 64, "messages": [{"role": "user", "content": "hi"}]}


def to_messages(model: str = "claude-next", **changes: Any) -> dict[str, Any]:
    """A chat request as an upstream of Anthropic's format gets it."""
    found = translation("chat", "anthropic")
    assert found is not None
    return json.loads(found.request(json.dumps({**CHAT, **changes}).encode(), model))


def to_chat(model: str = "gpt-4o", *, usage: bool = True, **changes: Any) -> dict[str, Any]:
    """A messages request as an upstream of OpenAI's format gets it."""
    found = translation("messages", "openai")
    assert found is not None
    return json.loads(found.request(json.dumps({**MESSAGES, **changes}).encode(), model, usage=usage))


def refused(translate: Any, **changes: Any) -> str:
    """The field that is named."""
    with pytest.raises(Untranslatable) as caught:
        translate(**changes)
    assert caught.value.param in caught.value.message
    return caught.value.param


def wire(kwargs: dict[str, Any]) -> dict[str, Any]:
    """What an SDK writes for its arguments."""
    more = kwargs.pop("extra_body", {})
    return {**kwargs, **more}


# -- every conversation --------------------------------------------------------------------------------------
def test_there_are_forty_conversations() -> None:
    assert len(CONVERSATIONS) == len(BY_NAME) == 40


@pytest.mark.parametrize("name", BY_NAME)
def test_nothing_of_a_conversation_is_lost_on_the_way_to_anthropic(name: str) -> None:
    body = wire(openai_kwargs(BY_NAME[name], "m"))

    assert asked("openai", body) == expected_request(BY_NAME[name])
    assert asked("anthropic", to_messages(**body)) == expected_request(BY_NAME[name])


@pytest.mark.parametrize("name", BY_NAME)
def test_nothing_of_a_conversation_is_lost_on_the_way_to_openai(name: str) -> None:
    body = wire(anthropic_kwargs(BY_NAME[name], "m"))

    assert asked("anthropic", body) == expected_request(BY_NAME[name])
    assert asked("openai", to_chat(**body)) == expected_request(BY_NAME[name])


@pytest.mark.parametrize("name", BY_NAME)
def test_nothing_of_a_conversation_is_lost_there_and_back(name: str) -> None:
    there = to_messages(**wire(openai_kwargs(BY_NAME[name], "m")))

    assert asked("openai", to_chat(**there)) == expected_request(BY_NAME[name])


# -- every field of the SDKs ---------------------------------------------------------------------------------
def keys(*typed_dicts: Any) -> set[str]:
    return set().union(*(one.__annotations__ for one in typed_dicts))


@pytest.mark.parametrize(
    ("known", "typed_dicts"),
    [
        (
            to_anthropic.REQUEST,
            [chat_params.CompletionCreateParamsNonStreaming, chat_params.CompletionCreateParamsStreaming],
        ),
        (to_anthropic.STREAM_OPTIONS, [ours.ChatCompletionStreamOptionsParam]),
        (to_anthropic.RESPONSE_FORMAT, [ResponseFormatJSONSchema]),
        (to_anthropic.JSON_SCHEMA, [response_format_json_schema.JSONSchema]),
        (to_anthropic.TOOL, [ours.ChatCompletionFunctionToolParam]),
        (to_anthropic.FUNCTION, [FunctionDefinition]),
        (to_anthropic.NAMED_CHOICE, [ours.ChatCompletionNamedToolChoiceParam]),
        (to_anthropic.NAMED_FUNCTION, [named_params.Function]),
        (to_anthropic.SYSTEM, [ours.ChatCompletionSystemMessageParam, ours.ChatCompletionDeveloperMessageParam]),
        (to_anthropic.USER, [ours.ChatCompletionUserMessageParam]),
        (to_anthropic.ASSISTANT, [ours.ChatCompletionAssistantMessageParam, ours.ChatCompletionMessage]),
        (to_anthropic.TOOL_MESSAGE, [ours.ChatCompletionToolMessageParam]),
        (to_anthropic.TEXT_PART, [ours.ChatCompletionContentPartTextParam]),
        (to_anthropic.REFUSAL_PART, [ours.ChatCompletionContentPartRefusalParam]),
        (to_anthropic.IMAGE_PART, [ours.ChatCompletionContentPartImageParam]),
        (to_anthropic.IMAGE_URL, [image_params.ImageURL]),
        (to_anthropic.FILE_PART, [part_params.File]),
        (to_anthropic.FILE, [part_params.FileFile]),
        (to_anthropic.TOOL_CALL, [ours.ChatCompletionMessageFunctionToolCallParam]),
        (to_anthropic.CALLED_FUNCTION, [call_params.Function]),
        (
            to_openai.REQUEST,
            [messages_params.MessageCreateParamsNonStreaming, messages_params.MessageCreateParamsStreaming],
        ),
        (to_openai.METADATA, [theirs.MetadataParam]),
        (to_openai.OUTPUT_CONFIG, [theirs.OutputConfigParam]),
        (to_openai.OUTPUT_FORMAT, [theirs.JSONOutputFormatParam]),
        (
            to_openai.THINKING_CONFIG,
            [
                theirs.ThinkingConfigEnabledParam,
                theirs.ThinkingConfigAdaptiveParam,
                theirs.ThinkingConfigDisabledParam,
            ],
        ),
        (to_openai.TOOL, [theirs.ToolParam]),
        (
            to_openai.TOOL_CHOICE,
            [
                theirs.ToolChoiceToolParam,
                theirs.ToolChoiceAnyParam,
                theirs.ToolChoiceAutoParam,
                theirs.ToolChoiceNoneParam,
            ],
        ),
        (to_openai.MESSAGE, get_args(theirs.MessageParam)),
        (to_openai.TEXT, [theirs.TextBlockParam]),
        (to_openai.IMAGE, [theirs.ImageBlockParam]),
        (to_openai.IMAGE_SOURCES["base64"], [theirs.Base64ImageSourceParam]),
        (to_openai.IMAGE_SOURCES["url"], [theirs.URLImageSourceParam]),
        (to_openai.DOCUMENT, [theirs.DocumentBlockParam]),
        (to_openai.DOCUMENT_SOURCES["base64"], [theirs.Base64PDFSourceParam]),
        (to_openai.DOCUMENT_SOURCES["text"], [theirs.PlainTextSourceParam]),
        (to_openai.THINKING, [theirs.ThinkingBlockParam]),
        (to_openai.REDACTED_THINKING, [theirs.RedactedThinkingBlockParam]),
        (to_openai.TOOL_USE, [theirs.ToolUseBlockParam]),
        (to_openai.TOOL_RESULT, [theirs.ToolResultBlockParam]),
    ],
)
def test_there_is_a_decision_on_every_field_of_the_sdk(known: fields.Fields, typed_dicts: list[Any]) -> None:
    assert keys(*typed_dicts) <= known.known()
    assert not known.carried & known.harmless
    assert not (known.carried | known.harmless) & known.refused.keys()


#: One value for each parameter of ``chat.completions.create`` that means something.
CHAT_VALUES: dict[str, Any] = {
    "audio": {"voice": "alloy", "format": "wav"},
    "frequency_penalty": 0.5,
    "function_call": "auto",
    "functions": [{"name": "f"}],
    "logit_bias": {"50256": -100},
    "logprobs": True,
    "metadata": {"team": "a"},
    "modalities": ["text", "audio"],
    "moderation": {"model": "omni-moderation-latest"},
    "n": 2,
    "presence_penalty": -0.5,
    "seed": 7,
    "store": True,
    "top_logprobs": 3,
    "verbosity": "low",
    "web_search_options": {"search_context_size": "low"},
}
#: The same for ``messages.create``.
MESSAGES_VALUES: dict[str, Any] = {
    "container": "container_1",
    "diagnostics": {"previous_message_id": None},
    "inference_geo": "us",
    "speed": "fast",
    "top_k": 5,
    "user_profile_id": "uprof_1",
    "workspace_id": "wrkspc_1",
}


@pytest.mark.parametrize("name", sorted(to_anthropic.REQUEST.refused))
def test_a_parameter_that_anthropic_does_not_have_is_refused_by_name(name: str) -> None:
    assert refused(to_messages, **{name: CHAT_VALUES[name]}) == name


@pytest.mark.parametrize("name", sorted(to_openai.REQUEST.refused))
def test_a_parameter_that_openai_does_not_have_is_refused_by_name(name: str) -> None:
    assert refused(to_chat, **{name: MESSAGES_VALUES[name]}) == name


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *((name, value) for name, values in to_anthropic.REQUEST.refused.items() for value in (None, *values)),
        ("frequency_penalty", 0.0),
        ("functions", []),
        ("logit_bias", {}),
        ("metadata", {}),
    ],
)
def test_a_parameter_that_asks_for_nothing_is_no_reason_to_refuse(name: str, value: Any) -> None:
    assert to_messages(**{name: value}) == to_messages()


@pytest.mark.parametrize("value", [True, 1.5, "1"])
def test_a_value_that_only_looks_like_nothing_is_refused(value: Any) -> None:
    assert refused(to_messages, n=value) == "n"


@pytest.mark.parametrize("name", sorted(to_anthropic.REQUEST.harmless))
def test_what_changes_no_answer_is_left_out_for_anthropic(name: str) -> None:
    assert to_messages(**{name: {"any": "value"}}) == to_messages()


@pytest.mark.parametrize("name", sorted(to_openai.REQUEST.harmless))
def test_what_changes_no_answer_is_left_out_for_openai(name: str) -> None:
    assert to_chat(**{name: {"type": "ephemeral"}}) == to_chat()


def test_a_parameter_nobody_knows_is_refused() -> None:
    assert refused(to_messages, best_of=2) == "best_of"
    assert refused(to_chat, context_management={"edits": [1]}) == "context_management"


def types_of(union: Any) -> set[str]:
    """Every ``type`` that the members of a union may have."""
    if get_origin(union) is Union:
        return set().union(*map(types_of, get_args(union)))
    if get_origin(union) is not None:  # a list of them, or one with a discriminator
        return types_of(get_args(union)[0])
    if not hasattr(union, "__annotations__"):
        return set()  # a string
    fields_of = getattr(union, "model_fields", None)
    hint = fields_of["type"].annotation if fields_of is not None else get_type_hints(union)["type"]
    return set(_literals(hint))


def _literals(hint: Any) -> list[Any]:
    if get_origin(hint) is Literal:
        return list(get_args(hint))
    return [value for inner in get_args(hint) for value in _literals(inner)]


BLOCKS = sorted(types_of(MessageContentParam) | {"a_block_to_come"})
CARRIED_BLOCKS = {
    "user": {"text", "image", "document", "tool_result"},
    "assistant": {"text", "thinking", "redacted_thinking", "tool_use"},
}


def test_the_blocks_of_the_sdk_are_found() -> None:
    assert {*CARRIED_BLOCKS["user"], *CARRIED_BLOCKS["assistant"], "server_tool_use"} <= set(BLOCKS)


@pytest.mark.parametrize("role", ["user", "assistant"])
@pytest.mark.parametrize("kind", BLOCKS)
def test_a_block_is_carried_over_or_refused_by_its_path(role: str, kind: str) -> None:
    messages = [{"role": role, "content": [{"type": kind}]}, {"role": "nobody", "content": "x"}]

    with pytest.raises(Untranslatable) as caught:
        to_chat(messages=messages)

    if kind not in CARRIED_BLOCKS[role]:
        assert caught.value.param == f"messages[0].content[0].{kind}"
    elif kind == "redacted_thinking":  # complete without a word, and read by nobody
        assert caught.value.param == "messages[1].role"
    else:
        assert caught.value.message.endswith("is required")


@pytest.mark.parametrize("kind", sorted(types_of(ToolUnionParam) - {"custom"}))
def test_a_tool_of_anthropics_own_is_refused(kind: str) -> None:
    assert refused(to_chat, tools=[{"type": kind, "name": "x"}]) == "tools[0].type"


@pytest.mark.parametrize("part", get_args(ours.ChatCompletionContentPartParam))
def test_every_part_of_the_sdk_is_carried_over_or_refused_by_its_path(part: Any) -> None:
    kind = next(iter(types_of(part)))
    param = refused(to_messages, messages=[{"role": "user", "content": [{"type": kind}]}])

    assert param == f"messages[0].content[0].{kind}"


# -- refusals with their paths -------------------------------------------------------------------------------
def user(*parts: Any) -> list[dict[str, Any]]:
    return [{"role": "user", "content": list(parts)}]


def assistant(**more: Any) -> list[dict[str, Any]]:
    return [{"role": "user", "content": "hi"}, {"role": "assistant", **more}, {"role": "user", "content": "go on"}]


def call(arguments: str, **more: Any) -> dict[str, Any]:
    return {"id": "a", "type": "function", "function": {"name": "f", "arguments": arguments}, **more}


@pytest.mark.parametrize(
    ("changes", "param"),
    [
        ({"temperature": 1.2}, "temperature"),
        ({"service_tier": "flex"}, "service_tier"),
        ({"reasoning_effort": "some"}, "reasoning_effort"),
        ({"stream_options": {"include_everything": True}}, "stream_options.include_everything"),
        ({"response_format": {"type": "json_object"}}, "response_format.type"),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"name": "x"}}},
            "response_format.json_schema.schema",
        ),
        (
            {
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {"name": "x", "description": "a", "schema": {"description": "b"}},
                }
            },
            "response_format.json_schema.description",
        ),
        ({"max_tokens": 5, "max_completion_tokens": 6}, "max_tokens"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_completion_tokens": "many"}, "max_completion_tokens"),
        ({"user": "a", "safety_identifier": "b"}, "user"),
        ({"tools": [{"type": "custom", "custom": {"name": "x"}}]}, "tools[0].type"),
        ({"tools": [{"type": "function", "function": {}}]}, "tools[0].function.name"),
        ({"tools": [{"type": "function", "function": {"name": "f", "new": 1}}]}, "tools[0].function.new"),
        ({"tool_choice": {"type": "allowed_tools", "allowed_tools": {}}}, "tool_choice.allowed_tools"),
        ({"tool_choice": {"type": "custom", "custom": {"name": "x"}}}, "tool_choice.type"),
        ({"tool_choice": "any"}, "tool_choice"),
        ({"messages": "hi"}, "messages"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "user", "content": ""}]}, "messages"),
        ({"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "so"}]}, "messages[1]"),
        ({"messages": [{"role": "function", "name": "f", "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "robot", "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "user", "name": "Ada", "content": "x"}]}, "messages[0].name"),
        ({"messages": [{"role": "system", "content": [{"type": "image_url"}]}]}, "messages[0].content[0].type"),
        (
            {"messages": user({"type": "input_audio", "input_audio": {"data": "", "format": "wav"}})},
            "messages[0].content[0].input_audio",
        ),
        (
            {"messages": user({"type": "image_url", "image_url": {"url": "https://x", "detail": "low"}})},
            "messages[0].content[0].image_url.detail",
        ),
        (
            {"messages": user({"type": "image_url", "image_url": {"url": "data:image/png,raw"}})},
            "messages[0].content[0].image_url.url",
        ),
        ({"messages": user({"type": "file", "file": {"file_id": "file-1"}})}, "messages[0].content[0].file.file_id"),
        (
            {"messages": user({"type": "file", "file": {"file_data": "data:text/csv;base64,eA=="}})},
            "messages[0].content[0].file.file_data",
        ),
        (
            {"messages": user({"type": "file", "file": {"file_data": "data:text/plain;base64,%%"}})},
            "messages[0].content[0].file.file_data",
        ),
        ({"messages": assistant(audio={"id": "a"})}, "messages[1].audio"),
        ({"messages": assistant(function_call={"name": "f", "arguments": ""})}, "messages[1].function_call"),
        (
            {"messages": assistant(tool_calls=[{"id": "a", "type": "custom", "custom": {}}])},
            "messages[1].tool_calls[0].type",
        ),
        ({"messages": assistant(tool_calls=[call("{")])}, "messages[1].tool_calls[0].function.arguments"),
        ({"messages": assistant(tool_calls=[call("[1]")])}, "messages[1].tool_calls[0].function.arguments"),
        ({"messages": assistant(content=[{"type": "image_url"}])}, "messages[1].content[0].type"),
    ],
)
def test_what_anthropic_cannot_say_is_refused_by_its_path(changes: dict[str, Any], param: str) -> None:
    assert refused(to_messages, **changes) == param


def block(**more: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": [more]}]}


@pytest.mark.parametrize(
    ("changes", "param"),
    [
        ({"service_tier": "batch"}, "service_tier"),
        ({"metadata": {"user_id": "u", "team": "a"}}, "metadata.team"),
        ({"thinking": {"type": "between_tools"}}, "thinking.type"),
        ({"thinking": {"type": "enabled"}}, "thinking.budget_tokens"),
        ({"output_config": {"task_budget": {"total": 1}}}, "output_config.task_budget"),
        ({"output_config": {"format": {"type": "grammar"}}}, "output_config.format.type"),
        ({"tools": [{"name": "f"}]}, "tools[0].input_schema"),
        ({"tools": [{"name": "f", "input_schema": {}, "defer_loading": True}]}, "tools[0].defer_loading"),
        ({"tools": [{"name": "f", "input_schema": {}, "input_examples": [{"a": 1}]}]}, "tools[0].input_examples"),
        ({"tool_choice": {"type": "some"}}, "tool_choice.type"),
        ({"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "{"}]}, "messages[1]"),
        ({"messages": [{"role": "developer", "content": "a"}]}, "messages[0].role"),
        ({"system": [{"type": "image"}]}, "system[0].image"),
        (block(type="text", text="a", citations=[{"type": "char_location"}]), "messages[0].content[0].citations"),
        (
            block(type="image", source={"type": "file", "file_id": "f"}),
            "messages[0].content[0].source.type",
        ),
        (
            block(type="image", source={"type": "url", "url": "x"}, transformations={"oversized_image": "error"}),
            "messages[0].content[0].transformations",
        ),
        (block(type="document", source={"type": "url", "url": "x"}), "messages[0].content[0].source.type"),
        (
            block(
                type="document",
                source={"type": "text", "media_type": "text/plain", "data": "x"},
                citations={"enabled": True},
            ),
            "messages[0].content[0].citations",
        ),
        (
            block(type="tool_result", tool_use_id="a", content=[{"type": "image", "source": {}}]),
            "messages[0].content[0].content[0].image",
        ),
    ],
)
def test_what_openai_cannot_say_is_refused_by_its_path(changes: dict[str, Any], param: str) -> None:
    assert refused(to_chat, **changes) == param


# -- details ------------------------------------------------------------------------------------------------
def test_the_format_is_named_in_the_refusal() -> None:
    with pytest.raises(Untranslatable, match="Anthropic messages"):
        to_messages(seed=1)
    with pytest.raises(Untranslatable, match="OpenAI chat completions"):
        to_chat(top_k=1)


def test_a_limit_is_named_where_anthropic_needs_one() -> None:
    assert to_messages()["max_tokens"] == models.DEFAULT_MAX_TOKENS
    assert to_messages(max_completion_tokens=5)["max_tokens"] == 5
    assert to_messages(max_completion_tokens=5, max_tokens=5)["max_tokens"] == 5


@pytest.mark.parametrize(
    ("model", "field"),
    [
        ("gpt-4o", "max_tokens"),
        ("llama-3.3-70b", "max_tokens"),
        ("o3-mini", "max_completion_tokens"),
        ("gpt-5.2", "max_completion_tokens"),
        ("openai/gpt-6-astra", "max_completion_tokens"),
        ("ft:o4-mini:acme", "max_completion_tokens"),
    ],
)
def test_the_limit_goes_into_the_field_that_the_model_takes(model: str, field: str) -> None:
    assert to_chat(model)[field] == 64


@pytest.mark.parametrize(
    "model",
    ["claude-3-7-sonnet-latest", "claude-opus-4-20250514", "claude-sonnet-4-0", "claude-opus-4-1", "claude-haiku-4-5"],
)
def test_older_models_are_told_a_budget_below_the_limit(model: str) -> None:
    assert to_messages(model, reasoning_effort="high")["thinking"] == {"type": "enabled", "budget_tokens": 8192}
    asked = to_messages(model, reasoning_effort="high", max_tokens=4000)
    assert (asked["thinking"]["budget_tokens"], asked["max_tokens"]) == (3000, 4000)
    asked = to_messages(model, reasoning_effort="max")
    assert models.MIN_BUDGET <= asked["thinking"]["budget_tokens"] < asked["max_tokens"]
    assert "output_config" not in asked
    assert (
        refused(lambda **more: to_messages(model, **more), reasoning_effort="low", max_tokens=1024)
        == "reasoning_effort"
    )


@pytest.mark.parametrize(
    "model", ["claude-opus-4-6", "claude-sonnet-4-6", "claude-opus-5", "acme-1", "claude-opus-4-10"]
)
def test_newer_models_are_told_an_effort(model: str) -> None:
    asked = to_messages(model, reasoning_effort="xhigh")

    assert (asked["thinking"], asked["output_config"]) == ({"type": "adaptive"}, {"effort": "xhigh"})
    assert to_messages(model, reasoning_effort="minimal")["output_config"] == {"effort": "low"}


@pytest.mark.parametrize(
    ("changes", "effort"),
    [
        ({"thinking": {"type": "enabled", "budget_tokens": 1024}}, "low"),
        ({"thinking": {"type": "enabled", "budget_tokens": 5000}}, "medium"),
        ({"thinking": {"type": "enabled", "budget_tokens": 32000}}, "high"),
        ({"thinking": {"type": "adaptive", "display": "omitted"}}, "medium"),
        ({"thinking": {"type": "adaptive"}, "output_config": {"effort": "max"}}, "max"),
        ({"output_config": {"effort": "low"}}, "low"),
        ({"thinking": {"type": "disabled"}}, "none"),
    ],
)
def test_thinking_is_an_effort_to_openai(changes: dict[str, Any], effort: str) -> None:
    assert to_chat(**changes)["reasoning_effort"] == effort


def test_a_stream_is_asked_for_its_usage_if_it_may_be() -> None:
    assert to_chat(stream=True)["stream_options"] == {"include_usage": True}
    assert "stream_options" not in to_chat(stream=True, usage=False)
    assert "stream_options" not in to_chat(stream=False)
    assert "stream_options" not in to_messages(stream=True, stream_options={"include_usage": True})


def test_system_messages_that_lead_are_the_system_prompt_and_later_ones_stay_in_place() -> None:
    asked = to_messages(
        messages=[
            {"role": "system", "content": "a"},
            {"role": "developer", "content": [{"type": "text", "text": "b"}]},
            {"role": "user", "content": "c"},
            {"role": "developer", "content": "d"},
        ]
    )

    assert [part["text"] for part in asked["system"]] == ["a", "b"]
    assert asked["messages"] == [{"role": "user", "content": "c"}, {"role": "system", "content": "d"}]


def test_results_and_the_words_behind_them_are_one_turn() -> None:
    asked = to_messages(
        messages=[
            {"role": "user", "content": "a"},
            {"role": "user", "content": "b"},
            {"role": "assistant", "content": "", "tool_calls": [call("{}"), call('{"x":1}', id="b", index=1)]},
            {"role": "tool", "tool_call_id": "a", "name": "f", "content": [{"type": "text", "text": "r"}]},
            {"role": "tool", "tool_call_id": "b", "content": ""},
            {"role": "user", "content": "c"},
        ]
    )

    assert [turn["role"] for turn in asked["messages"]] == ["user", "assistant", "user"]
    assert [part["type"] for part in asked["messages"][1]["content"]] == ["tool_use", "tool_use"]
    assert asked["messages"][2]["content"] == [
        {"type": "tool_result", "tool_use_id": "a", "content": "r"},
        {"type": "tool_result", "tool_use_id": "b"},
        {"type": "text", "text": "c"},
    ]


def test_results_in_the_middle_of_a_turn_keep_their_place() -> None:
    result = {"type": "tool_result", "tool_use_id": "a", "content": "r"}
    text = {"type": "text", "text": "t"}

    asked = to_chat(messages=[{"role": "user", "content": [text, result, text]}])

    assert [message["role"] for message in asked["messages"]] == ["user", "tool", "user"]


def test_arguments_keep_every_digit() -> None:
    arguments = '{"big": 123456789012345678901234567890, "one": 1.0, "tiny": 1e-400}'
    found = translation("chat", "anthropic")
    assert found is not None
    body = json.dumps({**CHAT, "messages": assistant(tool_calls=[call(arguments)])}).encode()

    assert arguments.encode() in found.request(body, "m")


def test_a_refusal_of_an_earlier_turn_is_text_of_the_assistant() -> None:
    asked = to_messages(messages=assistant(content=[{"type": "refusal", "refusal": "no"}]))
    assert asked["messages"][1]["content"] == "no"
    assert to_messages(messages=assistant(content=None, refusal="no")) == asked


def test_a_message_as_the_sdk_returned_it_can_be_sent_back() -> None:
    said = {
        "content": "hi",
        "refusal": None,
        "annotations": [],
        "audio": None,
        "function_call": None,
        "tool_calls": None,
    }
    assert to_messages(messages=assistant(**said))["messages"][1]["content"] == "hi"


def test_thinking_goes_back_to_anthropic_with_its_signature_or_not_at_all() -> None:
    blocks = [
        {"index": 0, "type": "thinking", "thinking": "hm", "signature": "sig"},
        {"index": 1, "type": "redacted_thinking", "data": "x"},
        {"index": 2, "type": "thinking", "thinking": "unsigned", "signature": ""},
    ]
    asked = to_messages(messages=assistant(content="a", reasoning_content="hm", thinking_blocks=blocks))

    assert asked["messages"][1]["content"] == [
        {"type": "thinking", "thinking": "hm", "signature": "sig"},
        {"type": "redacted_thinking", "data": "x"},
        {"type": "text", "text": "a"},
    ]


def test_ids_that_anthropic_does_not_allow_get_others_that_still_match() -> None:
    messages = assistant(tool_calls=[call("{}", id="functions.f:0")])
    messages[2] = {"role": "tool", "tool_call_id": "functions.f:0", "content": "r"}
    asked = to_messages(messages=messages)["messages"]

    ident = asked[1]["content"][0]["id"]
    assert ident.replace("_", "").isalnum()
    assert asked[2]["content"][0]["tool_use_id"] == ident


def test_a_failed_tool_says_so_to_openai() -> None:
    def told(**more: Any) -> Any:
        return to_chat(**block(type="tool_result", tool_use_id="a", is_error=True, **more))["messages"][0]["content"]

    assert told(content="no such file") == "Error: no such file"
    assert told() == "Error: "
    assert told(content=[{"type": "text", "text": "a"}, {"type": "text", "text": "b"}])[0]["text"] == "Error: a"


def test_a_user_with_a_long_name_has_a_short_one_for_openai() -> None:
    assert to_chat(metadata={"user_id": "u" * 64})["user"] == "u" * 64
    short = to_chat(metadata={"user_id": "u" * 65})["user"]
    assert len(short) == 64
    assert short != "u" * 64
    assert to_chat(metadata={"user_id": "u" * 65})["user"] == short


def test_marks_for_the_cache_are_left_out() -> None:
    mark = {"cache_control": {"type": "ephemeral", "ttl": "1h"}}
    asked = to_chat(
        system=[{"type": "text", "text": "s", **mark}],
        tools=[{"name": "f", "input_schema": {"type": "object"}, **mark}],
        messages=[{"role": "user", "content": [{"type": "text", "text": "hi", **mark}]}],
    )
    assert "cache_control" not in json.dumps(asked)
    part = {"type": "text", "text": "hi", "prompt_cache_breakpoint": {"mode": "explicit"}}
    assert to_messages(messages=user(part)) == to_messages()


def test_a_schema_keeps_its_description() -> None:
    shape = {"name": "x", "description": "where", "schema": {"type": "object"}, "strict": None}
    asked = to_messages(response_format={"type": "json_schema", "json_schema": shape}, reasoning_effort="low")

    assert asked["output_config"] == {
        "effort": "low",
        "format": {"type": "json_schema", "schema": {"type": "object", "description": "where"}},
    }
    assert to_messages(response_format={"type": "text"}) == to_messages()


def test_a_body_that_is_no_json_is_refused() -> None:
    for found in (translation("chat", "anthropic"), translation("messages", "openai")):
        assert found is not None
        with pytest.raises(Untranslatable, match="not valid JSON"):
            found.request(b'{"messages": [', "m")


# -- the choice ----------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("operation", "wire_of_upstream"),
    [
        ("chat", "openai"),
        ("messages", "anthropic"),
        ("completion", "anthropic"),
        ("count_tokens", "openai"),
        ("responses", "anthropic"),
    ],
)
def test_only_chat_and_messages_are_translated(operation: str, wire_of_upstream: str) -> None:
    assert translation(operation, wire_of_upstream) is None


def test_headers_of_the_clients_format_stay_behind() -> None:
    chat, messages = translation("chat", "anthropic"), translation("messages", "openai")
    assert chat is not None
    assert messages is not None

    assert (chat.resource, chat.operation) == ("/messages", "messages")
    assert (messages.resource, messages.operation) == ("/chat/completions", "chat")
    assert dict(chat.added_headers) == {b"anthropic-version": b"2023-06-01"}
    assert {b"openai-organization", b"openai-project"} <= chat.dropped_headers
    assert {b"anthropic-version", b"anthropic-beta"} <= messages.dropped_headers


@pytest.mark.parametrize(
    "name",
    sorted(
        {
            *to_anthropic.REQUEST.known(),
            *to_anthropic.IMAGE_URL.refused,
            *to_anthropic.FILE.refused,
            *to_openai.REQUEST.known(),
            *to_openai.TOOL.refused,
            *to_openai.TOOL.harmless,
            *to_openai.DOCUMENT.refused,
            *to_openai.TOOL_RESULT.refused,
        }
        - {"messages", "model"}
    ),
)
def test_the_documentation_tells_what_becomes_of_a_field(name: str) -> None:
    text = (Path(__file__).parents[2] / "docs" / "translation.md").read_text()

    code = text.split("`")[1::2]
    assert any(re.search(rf"\b{name}\b", span) for span in code)
