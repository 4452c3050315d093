"""The responses resource of the OpenAI wire: JSON, and the typed events of its streams.

Text, or one function call when the request offers functions. Stateless: `previous_response_id` is echoed only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

from simulator import content
from simulator.script import Event, Role
from simulator.wire.base import ApiError, Voice, json_answer, missing, positive, sse_answer, text_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from simulator.script import Answer


def respond(document: Any, voice: Voice) -> Answer:
    asked = document.get("input")
    if not asked:
        raise missing("input")
    limit = positive(document.get("max_output_tokens"), "max_output_tokens")
    voice.check_window("openai", document["model"], _prompt_tokens(document, asked))
    function = _function(document, asked)
    schema = _schema(document)
    short = False
    if function is not None:
        schema_of_call = function.get("parameters") or {"type": "object"}
        said = content.fragments(orjson.dumps(content.fitting(schema_of_call, voice.name)).decode())
    elif schema is not None:
        said = content.fragments(orjson.dumps(content.fitting(schema, voice.name)).decode())
    else:
        said, short = voice.tokens(text_of(asked), limit)
    if voice.refused:
        said, short, function = [], False, None
    item = _item(voice, function, "".join(said), "incomplete" if short or voice.refused else "completed")
    final = _response(document, voice, asked, len(said), "completed", [item])
    if short or voice.refused:
        final["status"] = "incomplete"
        final["incomplete_details"] = {"reason": "max_output_tokens" if short else "content_filter"}
    if not document.get("stream"):
        return json_answer(final, voice.whole_delay(len(said)))
    first = _response(document, voice, asked, 0, "in_progress", [])
    first["usage"] = None
    return sse_answer(_events(voice, first, final, item, said), voice)


def _events(
    voice: Voice, first: dict[str, Any], final: dict[str, Any], item: dict[str, Any], said: list[str]
) -> Iterator[Event]:
    number = -1

    def frame(kind: str, **fields: Any) -> bytes:
        nonlocal number
        number += 1
        body = orjson.dumps({"type": kind, "sequence_number": number, **fields})
        return b"event: %b\ndata: %b\n\n" % (kind.encode(), body)

    yield Event(frame("response.created", response=first), Role.OPENING)
    yield Event(frame("response.in_progress", response=first), Role.OPENING)
    if item["type"] == "function_call":
        yield from _call_events(frame, voice, item, said)
    else:
        yield from _text_events(frame, voice, item, said)
    yield Event(frame("response.output_item.done", output_index=0, item=item), Role.FINISH)
    kind = "response.completed" if final["status"] == "completed" else "response.incomplete"
    yield Event(frame(kind, response=final), Role.TERMINATOR)


def _call_events(frame: Callable[..., bytes], voice: Voice, item: dict[str, Any], said: list[str]) -> Iterator[Event]:
    opening = {**item, "arguments": "", "status": "in_progress"}
    place = {"item_id": item["id"], "output_index": 0}

    def contents() -> Iterator[bytes]:
        # The name of the function is content already.
        yield frame("response.output_item.added", output_index=0, item=opening)
        for part in said:
            yield frame("response.function_call_arguments.delta", **place, delta=part)

    yield from voice.paced(contents())
    done = frame("response.function_call_arguments.done", **place, name=item["name"], arguments=item["arguments"])
    yield Event(done, Role.FINISH)


def _text_events(frame: Callable[..., bytes], voice: Voice, item: dict[str, Any], said: list[str]) -> Iterator[Event]:
    part = item["content"][0]
    place = {"item_id": item["id"], "output_index": 0, "content_index": 0}
    opening = {**item, "content": [], "status": "in_progress"}
    yield Event(frame("response.output_item.added", output_index=0, item=opening), Role.OPENING)
    yield Event(frame("response.content_part.added", **place, part={**part, "text": ""}), Role.OPENING)
    yield from voice.paced(frame("response.output_text.delta", **place, delta=text, logprobs=[]) for text in said)
    yield Event(frame("response.output_text.done", **place, text=part["text"], logprobs=[]), Role.FINISH)
    yield Event(frame("response.content_part.done", **place, part=part), Role.FINISH)


def _item(voice: Voice, function: dict[str, Any] | None, text: str, status: str) -> dict[str, Any]:
    if function is not None:
        return {
            "id": voice.ident("fc_"),
            "type": "function_call",
            "status": "completed",
            "call_id": voice.ident("call_"),
            "name": function.get("name", ""),
            "arguments": text,
        }
    part = {"type": "output_text", "text": text, "annotations": [], "logprobs": []}
    return {"id": voice.ident("msg_"), "type": "message", "status": status, "role": "assistant", "content": [part]}


def _response(
    document: Any, voice: Voice, asked: Any, tokens: int, status: str, output: list[dict[str, Any]]
) -> dict[str, Any]:
    prompt = _prompt_tokens(document, asked)
    created = voice.created()
    usage = {
        "input_tokens": prompt,
        "input_tokens_details": {"cached_tokens": voice.cached(prompt), "cache_write_tokens": 0},
        "output_tokens": tokens,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": prompt + tokens,
    }
    return {
        "id": voice.ident("resp_"),
        "object": "response",
        "created_at": created,
        "status": status,
        "background": False,
        "completed_at": created if status == "completed" else None,
        "error": None,
        "incomplete_details": None,
        "instructions": document.get("instructions"),
        "max_output_tokens": document.get("max_output_tokens"),
        "max_tool_calls": None,
        "model": document["model"],
        "output": output,
        "parallel_tool_calls": document.get("parallel_tool_calls", True),
        "previous_response_id": document.get("previous_response_id"),
        "prompt_cache_key": None,
        "reasoning": {"effort": None, "summary": None},
        "safety_identifier": None,
        "service_tier": "default",
        "store": document.get("store", True),
        "temperature": document.get("temperature", 1.0),
        "text": document.get("text") or {"format": {"type": "text"}, "verbosity": "medium"},
        "tool_choice": document.get("tool_choice", "auto"),
        "tools": document.get("tools") or [],
        "top_logprobs": 0,
        "top_p": document.get("top_p", 1.0),
        "truncation": "disabled",
        "usage": usage if voice.behaviour.usage else None,
        "user": document.get("user"),
        "metadata": document.get("metadata") or {},
    }


def _prompt_tokens(document: Any, asked: Any) -> int:
    return content.tokens_of(text_of(asked), text_of(document.get("instructions")))


def _function(document: Any, asked: Any) -> dict[str, Any] | None:
    functions = [tool for tool in document.get("tools") or () if tool.get("type") == "function"]
    choice = document.get("tool_choice", "auto")
    if not functions or choice == "none":
        return None
    if isinstance(asked, list) and isinstance(asked[-1], dict) and asked[-1].get("type") == "function_call_output":
        return None
    if isinstance(choice, dict):
        wanted = choice.get("name")
        for function in functions:
            if function.get("name") == wanted:
                return dict(function)
        raise ApiError(400, f"Tool choice '{wanted}' not found in 'tools' parameter.", param="tool_choice")
    return dict(functions[0])


def _schema(document: Any) -> Any:
    wanted = (document.get("text") or {}).get("format") or {}
    return wanted.get("schema") if wanted.get("type") == "json_schema" else None
