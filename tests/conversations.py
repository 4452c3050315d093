"""Forty scripted conversations, each written once, for either SDK and either kind of provider.

A ``Conversation`` is what a client says and what the upstream answers, in words of neither format.
``openai_kwargs`` and ``anthropic_kwargs`` say it with an official SDK; ``scripted`` and ``upstream_answer`` /
``upstream_events`` are the answer as an upstream writes it. ``asked`` reads a request body of either format back into
neutral words, to be equal to ``expected_request``; ``completion`` and ``message`` do so for what an SDK returned,
to be equal to ``expected_answer``. The readers know nothing of the translation they judge.
"""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass, field
from typing import Any

PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n" + bytes(16)).decode()
PDF = base64.b64encode(b"%PDF-1.4\n%%EOF\n").decode()
SIGNATURE = "c2ltdWxhdGVk"
ERROR_MARK = "Error: "


@dataclass(frozen=True)
class Text:
    text: str


@dataclass(frozen=True)
class Image:
    """``url`` is a data: URL for an image that comes with the request."""

    url: str


@dataclass(frozen=True)
class Document:
    """A PDF, or text (``media`` text/plain), in base64."""

    name: str
    data: str
    media: str = "application/pdf"


@dataclass(frozen=True)
class Thought:
    text: str
    signature: str = SIGNATURE


@dataclass(frozen=True)
class Call:
    id: str
    name: str
    arguments: dict[str, Any]


@dataclass(frozen=True)
class Result:
    call: str
    text: str
    error: bool = False


Part = Text | Image | Document | Thought | Call | Result


@dataclass(frozen=True)
class Tool:
    name: str
    description: str = ""
    schema: dict[str, Any] = field(default_factory=lambda: {"type": "object", "properties": {}})
    strict: bool | None = None


@dataclass(frozen=True)
class Reply:
    """``finish``: stop · length · tool_calls · content_filter · stop_sequence (which only Anthropic tells apart)."""

    text: str = ""
    reasoning: str = ""
    refusal: str = ""
    calls: tuple[Call, ...] = ()
    finish: str = "stop"
    sequence: str | None = None
    #: fresh, cached and cache-writing tokens that went in, and those that came out
    tokens: tuple[int, int, int, int] = (11, 0, 0, 7)


@dataclass(frozen=True)
class Conversation:
    name: str
    turns: tuple[tuple[str, tuple[Part, ...]], ...]
    reply: Reply
    system: tuple[str, ...] = ()
    tools: tuple[Tool, ...] = ()
    max_tokens: int = 256
    temperature: float | None = None
    top_p: float | None = None
    stop: tuple[str, ...] = ()
    tool_choice: str | None = None  # auto · none · required · the name of a tool
    parallel: bool = True
    effort: str | None = None
    user: str | None = None
    schema: dict[str, Any] | None = None
    tier: str | None = None  # auto · default


# -- as the SDKs say it --------------------------------------------------------------------------------------
def openai_kwargs(conversation: Conversation, model: str, *, stream: bool = False) -> dict[str, Any]:
    """Arguments of ``client.chat.completions.create``."""
    messages: list[dict[str, Any]] = [{"role": "system", "content": text} for text in conversation.system]
    for role, parts in conversation.turns:
        messages += _openai_messages(role, parts)
    kwargs: dict[str, Any] = {"model": model, "messages": messages, "max_tokens": conversation.max_tokens}
    if conversation.tools:
        kwargs["tools"] = [{"type": "function", "function": _openai_tool(tool)} for tool in conversation.tools]
    if conversation.tool_choice in ("auto", "none", "required"):
        kwargs["tool_choice"] = conversation.tool_choice
    elif conversation.tool_choice is not None:
        kwargs["tool_choice"] = {"type": "function", "function": {"name": conversation.tool_choice}}
    if not conversation.parallel:
        kwargs["parallel_tool_calls"] = False
    if conversation.schema is not None:
        shape = {"name": "answer", "schema": conversation.schema, "strict": True}
        kwargs["response_format"] = {"type": "json_schema", "json_schema": shape}
    optional = {
        "temperature": conversation.temperature,
        "top_p": conversation.top_p,
        "stop": list(conversation.stop) or None,
        "reasoning_effort": conversation.effort,
        "user": conversation.user,
        "service_tier": conversation.tier,
    }
    kwargs.update({name: value for name, value in optional.items() if value is not None})
    if stream:
        kwargs["stream"] = True
        kwargs["stream_options"] = {"include_usage": True}
    return kwargs


def _openai_tool(tool: Tool) -> dict[str, Any]:
    function: dict[str, Any] = {"name": tool.name, "parameters": tool.schema}
    if tool.description:
        function["description"] = tool.description
    if tool.strict is not None:
        function["strict"] = tool.strict
    return function


def _openai_messages(role: str, parts: tuple[Part, ...]) -> list[dict[str, Any]]:
    messages: list[dict[str, Any]] = []
    content: list[dict[str, Any]] = []
    calls: list[dict[str, Any]] = []
    thoughts: list[Thought] = []
    for part in parts:
        if isinstance(part, Text):
            content.append({"type": "text", "text": part.text})
        elif isinstance(part, Image):
            content.append({"type": "image_url", "image_url": {"url": part.url}})
        elif isinstance(part, Document):
            file = {"filename": part.name, "file_data": f"data:{part.media};base64,{part.data}"}
            content.append({"type": "file", "file": file})
        elif isinstance(part, Thought):
            thoughts.append(part)
        elif isinstance(part, Call):
            function = {"name": part.name, "arguments": json.dumps(part.arguments)}
            calls.append({"id": part.id, "type": "function", "function": function})
        else:
            text = ERROR_MARK + part.text if part.error else part.text
            messages.append({"role": "tool", "tool_call_id": part.call, "content": text})
    if not (content or calls):
        return messages
    message: dict[str, Any] = {"role": role}
    if [part["type"] for part in content] == ["text"]:
        message["content"] = content[0]["text"]
    else:
        message["content"] = content or None
    if thoughts:
        message["reasoning_content"] = "".join(thought.text for thought in thoughts)
        message["thinking_blocks"] = [_thinking(thought) for thought in thoughts]
    if calls:
        message["tool_calls"] = calls
    return [*messages, message]


def anthropic_kwargs(conversation: Conversation, model: str, *, stream: bool = False) -> dict[str, Any]:
    """Arguments of ``client.messages.create``."""
    kwargs: dict[str, Any] = {
        "model": model,
        "max_tokens": conversation.max_tokens,
        "messages": [
            {"role": role, "content": [_anthropic_block(part) for part in parts]} for role, parts in conversation.turns
        ],
    }
    if len(conversation.system) == 1:
        kwargs["system"] = conversation.system[0]
    elif conversation.system:
        kwargs["system"] = [{"type": "text", "text": text} for text in conversation.system]
    if conversation.tools:
        kwargs["tools"] = [_anthropic_tool(tool) for tool in conversation.tools]
    choice: dict[str, Any] | None = None
    if conversation.tool_choice in ("auto", "none", "required"):
        choice = {"type": {"required": "any"}.get(conversation.tool_choice, conversation.tool_choice)}
    elif conversation.tool_choice is not None:
        choice = {"type": "tool", "name": conversation.tool_choice}
    if not conversation.parallel:
        choice = {**(choice or {"type": "auto"}), "disable_parallel_tool_use": True}
    if choice is not None:
        kwargs["tool_choice"] = choice
    if conversation.effort == "none":
        kwargs["thinking"] = {"type": "disabled"}
    elif conversation.effort is not None:
        kwargs["thinking"] = {"type": "adaptive"}
        kwargs.setdefault("output_config", {})["effort"] = conversation.effort
    if conversation.schema is not None:
        kwargs.setdefault("output_config", {})["format"] = {"type": "json_schema", "schema": conversation.schema}
    if conversation.stop:
        kwargs["stop_sequences"] = list(conversation.stop)
    if conversation.user is not None:
        kwargs["metadata"] = {"user_id": conversation.user}
    if conversation.tier is not None:
        kwargs["service_tier"] = {"auto": "auto", "default": "standard_only"}[conversation.tier]
    # Gone from the SDK's signature, not from the format.
    sampling = {"temperature": conversation.temperature, "top_p": conversation.top_p}
    if given := {name: value for name, value in sampling.items() if value is not None}:
        kwargs["extra_body"] = given
    if stream:
        kwargs["stream"] = True
    return kwargs


def _anthropic_tool(tool: Tool) -> dict[str, Any]:
    made: dict[str, Any] = {"name": tool.name, "input_schema": tool.schema}
    if tool.description:
        made["description"] = tool.description
    if tool.strict is not None:
        made["strict"] = tool.strict
    return made


def _thinking(thought: Thought) -> dict[str, Any]:
    return {"type": "thinking", "thinking": thought.text, "signature": thought.signature}


def _anthropic_block(part: Part) -> dict[str, Any]:
    if isinstance(part, Text):
        return {"type": "text", "text": part.text}
    if isinstance(part, Image):
        if not part.url.startswith("data:"):
            return {"type": "image", "source": {"type": "url", "url": part.url}}
        head, _, data = part.url.partition(";base64,")
        media = head.removeprefix("data:")
        return {"type": "image", "source": {"type": "base64", "media_type": media, "data": data}}
    if isinstance(part, Document):
        source = {"type": "base64", "media_type": part.media, "data": part.data}
        if part.media == "text/plain":
            source = {"type": "text", "media_type": part.media, "data": base64.b64decode(part.data).decode()}
        return {"type": "document", "title": part.name, "source": source}
    if isinstance(part, Thought):
        return _thinking(part)
    if isinstance(part, Call):
        return {"type": "tool_use", "id": part.id, "name": part.name, "input": part.arguments}
    result: dict[str, Any] = {"type": "tool_result", "tool_use_id": part.call, "content": part.text}
    if part.error:
        result["is_error"] = True
    return result


# -- what the upstream must have received ----------------------------------------------------------------------
def expected_request(conversation: Conversation) -> dict[str, Any]:
    said: list[tuple[Any, ...]] = [("system", "text", text) for text in conversation.system]
    for role, parts in conversation.turns:
        for part in parts:
            if isinstance(part, Text):
                said.append((role, "text", part.text))
            elif isinstance(part, Image):
                said.append((role, "image", part.url))
            elif isinstance(part, Document):
                said.append((role, "document", part.name, part.media, part.data))
            elif isinstance(part, Thought):
                said.append((role, "thought", part.text))
            elif isinstance(part, Call):
                said.append((role, "call", part.id, part.name, part.arguments))
            else:
                said.append(("tool", part.call, part.text, part.error))
    return {
        "said": said,
        "tools": [(tool.name, tool.description, tool.schema, tool.strict) for tool in conversation.tools],
        "tool_choice": conversation.tool_choice if conversation.parallel else conversation.tool_choice or "auto",
        "parallel": conversation.parallel,
        "max_tokens": conversation.max_tokens,
        "temperature": conversation.temperature,
        "top_p": conversation.top_p,
        "stop": list(conversation.stop),
        "effort": conversation.effort,
        "user": conversation.user,
        "schema": conversation.schema,
        "tier": conversation.tier,
    }


def asked(wire: str, body: dict[str, Any]) -> dict[str, Any]:
    """A request as an upstream of ``wire`` received it, in neutral words."""
    return _asked_of_anthropic(body) if wire == "anthropic" else _asked_of_openai(body)


def _asked_of_openai(body: dict[str, Any]) -> dict[str, Any]:
    said: list[tuple[Any, ...]] = []
    for message in body["messages"]:
        role, content = message["role"], message.get("content") or []
        if message.get("reasoning_content"):
            said.append((role, "thought", message["reasoning_content"]))
        for part in [{"type": "text", "text": content}] if isinstance(content, str) else content:
            if role == "tool":
                text = part["text"]
                error = text.startswith(ERROR_MARK)
                said.append(("tool", message["tool_call_id"], text.removeprefix(ERROR_MARK), error))
            elif part["type"] == "text":
                said.append((role, "text", part["text"]))
            elif part["type"] == "image_url":
                said.append((role, "image", part["image_url"]["url"]))
            else:
                head, _, data = part["file"]["file_data"].partition(";base64,")
                said.append((role, "document", part["file"]["filename"], head.removeprefix("data:"), data))
        for call in message.get("tool_calls", []):
            arguments = json.loads(call["function"]["arguments"])
            said.append((role, "call", call["id"], call["function"]["name"], arguments))
    functions = [tool["function"] for tool in body.get("tools", [])]
    choice = body.get("tool_choice")
    parallel = body.get("parallel_tool_calls", True)
    return {
        "said": said,
        "tools": [
            (tool["name"], tool.get("description", ""), tool["parameters"], tool.get("strict")) for tool in functions
        ],
        "tool_choice": choice["function"]["name"]
        if isinstance(choice, dict)
        else choice or (None if parallel else "auto"),
        "parallel": parallel,
        "max_tokens": body.get("max_completion_tokens", body.get("max_tokens")),
        "temperature": body.get("temperature"),
        "top_p": body.get("top_p"),
        "stop": body.get("stop", []),
        "effort": body.get("reasoning_effort"),
        "user": body.get("user"),
        "schema": body.get("response_format", {}).get("json_schema", {}).get("schema"),
        "tier": body.get("service_tier"),
    }


def _asked_of_anthropic(body: dict[str, Any]) -> dict[str, Any]:
    system = body.get("system", [])
    said: list[tuple[Any, ...]] = [
        ("system", "text", block["text"]) for block in ([{"text": system}] if isinstance(system, str) else system)
    ]
    for message in body["messages"]:
        role, content = message["role"], message["content"]
        blocks = [{"type": "text", "text": content}] if isinstance(content, str) else content
        said += [_said_to_anthropic(role, block) for block in blocks]
    choice = body.get("tool_choice", {})
    kind = {"any": "required"}.get(choice.get("type"), choice.get("type"))
    output = body.get("output_config", {})
    thinking = body.get("thinking", {}).get("type")
    return {
        "said": said,
        "tools": [
            (tool["name"], tool.get("description", ""), tool["input_schema"], tool.get("strict"))
            for tool in body.get("tools", [])
        ],
        "tool_choice": choice["name"] if kind == "tool" else kind,
        "parallel": not choice.get("disable_parallel_tool_use", False),
        "max_tokens": body["max_tokens"],
        "temperature": body.get("temperature"),
        "top_p": body.get("top_p"),
        "stop": body.get("stop_sequences", []),
        "effort": "none" if thinking == "disabled" else output.get("effort"),
        "user": body.get("metadata", {}).get("user_id"),
        "schema": output.get("format", {}).get("schema"),
        "tier": {"standard_only": "default"}.get(body.get("service_tier", ""), body.get("service_tier")),
    }


def _said_to_anthropic(role: str, block: dict[str, Any]) -> tuple[Any, ...]:
    kind = block["type"]
    if kind == "text":
        return (role, "text", block["text"])
    if kind == "image":
        source = block["source"]
        if source["type"] == "url":
            return (role, "image", source["url"])
        return (role, "image", f"data:{source['media_type']};base64,{source['data']}")
    if kind == "document":
        source = block["source"]
        data = source["data"]
        if source["type"] == "text":
            data = base64.b64encode(data.encode()).decode()
        return (role, "document", block["title"], source["media_type"], data)
    if kind == "thinking":
        return (role, "thought", block["thinking"])
    if kind == "tool_use":
        return (role, "call", block["id"], block["name"], block["input"])
    content = block.get("content", "")
    text = content if isinstance(content, str) else "".join(part["text"] for part in content)
    error = block.get("is_error", False) or text.startswith(ERROR_MARK)
    return ("tool", block["tool_use_id"], text.removeprefix(ERROR_MARK), error)


# -- the upstream's answer -------------------------------------------------------------------------------------
def scripted(conversation: Conversation, wire: str) -> dict[str, Any]:
    """The ``reply`` of the simulator's behaviour, for a provider that speaks ``wire``."""
    reply = conversation.reply
    fresh, cached, written, output = reply.tokens
    made: dict[str, Any] = {
        "finish_reason": "stop" if reply.finish == "stop_sequence" else reply.finish,
        "stop_reason": _STOPS.get(reply.finish, reply.finish),
        "tokens": {"fresh": fresh, "cached": cached, "written": written, "output": output},
        "tool_calls": [{"id": call.id, "name": call.name, "arguments": call.arguments} for call in reply.calls],
    }
    said = {
        "text": reply.text,
        "reasoning": reply.reasoning,
        "stop_sequence": reply.sequence,
        "explanation" if wire == "anthropic" else "refusal": reply.refusal,
    }
    return {**made, **{name: value for name, value in said.items() if value}}


_STOPS = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use", "content_filter": "refusal"}


def upstream_answer(conversation: Conversation, wire: str) -> dict[str, Any]:
    """The reply as a whole document of ``wire``."""
    reply = conversation.reply
    fresh, read, written, out = reply.tokens
    if wire == "openai":
        message: dict[str, Any] = {"role": "assistant", "content": reply.text or None, "refusal": reply.refusal or None}
        if reply.reasoning:
            message["reasoning_content"] = reply.reasoning
        if reply.calls:
            message["tool_calls"] = [
                {
                    "id": call.id,
                    "type": "function",
                    "function": {"name": call.name, "arguments": json.dumps(call.arguments)},
                }
                for call in reply.calls
            ]
        choice: dict[str, Any] = {
            "index": 0,
            "message": message,
            "logprobs": None,
            "finish_reason": "stop" if reply.finish == "stop_sequence" else reply.finish,
        }
        if reply.sequence is not None:
            choice["stop_reason"] = reply.sequence
        return {
            "id": "chatcmpl-1",
            "object": "chat.completion",
            "created": 1_700_000_000,
            "model": "upstream-model",
            "choices": [choice],
            "usage": _openai_usage(reply),
        }
    blocks: list[dict[str, Any]] = []
    if reply.reasoning:
        blocks.append({"type": "thinking", "thinking": reply.reasoning, "signature": SIGNATURE})
    if reply.text:
        blocks.append({"type": "text", "text": reply.text})
    blocks += [_anthropic_block(call) for call in reply.calls]
    explanation = {"type": "refusal", "category": None, "explanation": reply.refusal}
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "upstream-model",
        "content": blocks,
        "stop_reason": _STOPS.get(reply.finish, reply.finish),
        "stop_sequence": reply.sequence,
        "stop_details": explanation if reply.refusal else None,
        "usage": {
            "input_tokens": fresh,
            "cache_read_input_tokens": read,
            "cache_creation_input_tokens": written,
            "output_tokens": out,
        },
    }


def _openai_usage(reply: Reply) -> dict[str, Any]:
    fresh, read, written, out = reply.tokens
    return {
        "prompt_tokens": fresh + read + written,
        "completion_tokens": out,
        "total_tokens": fresh + read + written + out,
        "prompt_tokens_details": {"cached_tokens": read, "cache_write_tokens": written},
    }


def upstream_events(conversation: Conversation, wire: str, size: int = 4) -> list[bytes]:
    """The reply as a stream of ``wire``, its text in pieces of ``size`` characters."""
    whole = upstream_answer(conversation, wire)
    return _chunks(whole, size) if wire == "openai" else _message_events(whole, size)


def _pieces(text: str, size: int) -> list[str]:
    return [text[at : at + size] for at in range(0, len(text), size)]


def _chunks(whole: dict[str, Any], size: int) -> list[bytes]:
    choice = whole["choices"][0]
    message = choice["message"]
    deltas: list[dict[str, Any]] = [{"role": "assistant", "content": "", "refusal": None}]
    for name in ("reasoning_content", "content", "refusal"):
        deltas += [{name: piece} for piece in _pieces(message.get(name) or "", size)]
    for index, call in enumerate(message.get("tool_calls", [])):
        function = {"name": call["function"]["name"], "arguments": ""}
        deltas.append({"tool_calls": [{"index": index, "id": call["id"], "type": "function", "function": function}]})
        deltas += [
            {"tool_calls": [{"index": index, "function": {"arguments": piece}}]}
            for piece in _pieces(call["function"]["arguments"], size)
        ]
    base = {"id": whole["id"], "object": "chat.completion.chunk", "created": 1_700_000_000, "model": whole["model"]}
    documents = [
        {**base, "choices": [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": None}]} for delta in deltas
    ]
    last = {name: value for name, value in choice.items() if name != "message"}
    documents.append({**base, "choices": [{**last, "delta": {}}]})
    documents.append({**base, "choices": [], "usage": whole["usage"]})
    return [*(b"data: " + json.dumps(document).encode() + b"\n\n" for document in documents), b"data: [DONE]\n\n"]


def _message_events(whole: dict[str, Any], size: int) -> list[bytes]:
    head = {**whole, "content": [], "stop_reason": None, "stop_sequence": None, "stop_details": None}
    head["usage"] = {**whole["usage"], "output_tokens": 1}
    events: list[dict[str, Any]] = [{"type": "message_start", "message": head}]
    for index, block in enumerate(whole["content"]):
        kind = block["type"]
        empty = {"text": {"text": ""}, "thinking": {"thinking": "", "signature": ""}, "tool_use": {"input": {}}}[kind]
        events.append({"type": "content_block_start", "index": index, "content_block": {**block, **empty}})
        events.append({"type": "ping"})
        if kind == "tool_use":
            deltas = [
                {"type": "input_json_delta", "partial_json": piece}
                for piece in ["", *_pieces(json.dumps(block["input"]), size)]
            ]
        else:
            deltas = [{"type": f"{kind}_delta", kind: piece} for piece in _pieces(block[kind], size)]
        if kind == "thinking":
            deltas.append({"type": "signature_delta", "signature": block["signature"]})
        events += [{"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas]
        events.append({"type": "content_block_stop", "index": index})
    delta = {name: whole[name] for name in ("stop_reason", "stop_sequence", "stop_details")}
    usage = {"output_tokens": whole["usage"]["output_tokens"]}
    events += [{"type": "message_delta", "delta": delta, "usage": usage}, {"type": "message_stop"}]
    return [f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode() for event in events]


# -- what an SDK must get back ---------------------------------------------------------------------------------
def expected_answer(conversation: Conversation, client: str, upstream: str) -> dict[str, Any]:
    """What the SDK ``client`` (a wire) reads of the reply of an ``upstream`` (a wire). ``usage`` is that of
    ``upstream_answer``; a test against the simulator compares it with what the simulator counts."""
    reply = conversation.reply
    fresh, read, written, out = reply.tokens
    known = reply.sequence is not None
    if client == "openai":
        finish = "stop" if reply.finish == "stop_sequence" else reply.finish
        usage = {"input": fresh + read + written, "cached": read, "output": out}
    else:
        finish = _STOPS.get(reply.finish, reply.finish if known else "end_turn")
        if reply.refusal:
            finish = "refusal"
        usage = {"input": fresh, "cached": read, "output": out}
    if client == "openai" and upstream == "anthropic" and reply.refusal:
        finish = "content_filter"
    return {
        "text": reply.text,
        "reasoning": reply.reasoning,
        "refusal": reply.refusal,
        "calls": [(call.id, call.name, call.arguments) for call in reply.calls],
        "finish": finish,
        "sequence": reply.sequence,
        "usage": usage,
    }


def completion(answer: Any) -> dict[str, Any]:
    """A ``ChatCompletion`` (or its dump) in neutral words."""
    document = answer if isinstance(answer, dict) else answer.to_dict()
    choice = document["choices"][0]
    said = choice["message"]
    usage = document["usage"]
    return {
        "text": said.get("content") or "",
        "reasoning": said.get("reasoning_content") or "",
        "refusal": said.get("refusal") or "",
        "calls": [
            (call["id"], call["function"]["name"], json.loads(call["function"]["arguments"]))
            for call in said.get("tool_calls") or []
        ],
        "finish": choice["finish_reason"],
        "sequence": choice.get("stop_reason"),
        "usage": {
            "input": usage["prompt_tokens"],
            "cached": (usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0,
            "output": usage["completion_tokens"],
        },
    }


def message(answer: Any) -> dict[str, Any]:
    """A ``Message`` (or its dump) in neutral words."""
    document = answer if isinstance(answer, dict) else answer.to_dict()
    blocks = document["content"]
    usage = document["usage"]
    return {
        "text": "".join(block["text"] for block in blocks if block["type"] == "text"),
        "reasoning": "".join(block["thinking"] for block in blocks if block["type"] == "thinking"),
        "refusal": (document.get("stop_details") or {}).get("explanation") or "",
        "calls": [(block["id"], block["name"], block["input"]) for block in blocks if block["type"] == "tool_use"],
        "finish": document["stop_reason"],
        "sequence": document.get("stop_sequence"),
        "usage": {
            "input": usage["input_tokens"],
            "cached": usage.get("cache_read_input_tokens") or 0,
            "output": usage["output_tokens"],
        },
    }


# -- the conversations -----------------------------------------------------------------------------------------
def _user(*parts: Part | str) -> tuple[str, tuple[Part, ...]]:
    return "user", tuple(Text(part) if isinstance(part, str) else part for part in parts)


def _assistant(*parts: Part | str) -> tuple[str, tuple[Part, ...]]:
    return "assistant", tuple(Text(part) if isinstance(part, str) else part for part in parts)


def _system(text: str) -> tuple[str, tuple[Part, ...]]:
    return "system", (Text(text),)


def _schema(**properties: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


_WEATHER = Tool("get_weather", "The weather in a city.", _schema(city={"type": "string"}))
_CLOCK = Tool("get_time", "The time in a zone.", _schema(zone={"type": "string", "enum": ["CET", "UTC"]}))
_STOCK = Tool("stock", "What is in stock.", _schema(item={"type": "string"}, model={"type": "string"}), strict=True)
_PARIS = Call("call_paris", "get_weather", {"city": "Paris"})
_LONDON = Call("call_london", "get_weather", {"city": "London"})
_DATA_IMAGE = Image(f"data:image/png;base64,{PNG}")
_URL_IMAGE = Image("https://images.example.com/station.jpg?size=2&x=%20")
_HELLO = (_user("Hello"),)
_ASK_WEATHER = (_user("What is the weather in Paris?"),)
_SUNNY = Reply("It is sunny.")

CONVERSATIONS: tuple[Conversation, ...] = (
    Conversation("one question", _HELLO, Reply("Hello! How can I help?")),
    Conversation("a system prompt", _HELLO, Reply("Ahoy."), system=("Talk like a sailor.",)),
    Conversation("two system prompts", _HELLO, Reply("Ahoy."), system=("Talk like a sailor.", "Be brief.")),
    Conversation(
        "a system message in the middle",
        (_user("Hello"), _assistant("Hi."), _user("And now?"), _system("From now on, answer in French.")),
        Reply("Et maintenant ?"),
        system=("Be brief.",),
    ),
    Conversation(
        "several turns",
        (_user("One"), _assistant("Two"), _user("Three"), _assistant("Four"), _user("Five")),
        Reply("Six"),
    ),
    Conversation("several parts of text", (_user("First.", "Second.", "Third."),), Reply("Noted.")),
    Conversation("an assistant's parts of text", (_user("a"), _assistant("b", "c"), _user("d")), Reply("e")),
    Conversation(
        "every kind of character",
        (_user('Grüße, 你好, 🚆🚄 "quoted" \\ back\tslash\u2028\u0000 end'),),
        Reply('Ünïcode → 🚂\n\n"fine" \\o/ \u2028', reasoning="Überlegung 🤔"),
    ),
    Conversation("an answer of many lines", _HELLO, Reply("data: one\n\ndata: [DONE]\n\r\nevent: error\n")),
    Conversation("a long text", (_user("word " * 4000),), Reply("answer " * 500, tokens=(4000, 0, 0, 500))),
    Conversation("an image in the request", (_user("What is this?", _DATA_IMAGE),), Reply("A station.")),
    Conversation("an image by its address", (_user(_URL_IMAGE, "What is this?"),), Reply("A platform.")),
    Conversation(
        "images between texts",
        (_user("Compare", _DATA_IMAGE, "with", _URL_IMAGE, "please."),),
        Reply("They differ."),
    ),
    Conversation("a PDF", (_user(Document("timetable.pdf", PDF), "When does it leave?"),), Reply("At noon.")),
    Conversation(
        "a text document",
        (_user(Document("notes.txt", base64.b64encode("Größe: 3".encode()).decode(), "text/plain"), "How big?"),),
        Reply("Three."),
    ),
    Conversation(
        "a call of a tool", _ASK_WEATHER, Reply(calls=(_PARIS,), finish="tool_calls"), tools=(_WEATHER, _CLOCK)
    ),
    Conversation(
        "text and a call",
        _ASK_WEATHER,
        Reply("Let me look.", calls=(_PARIS,), finish="tool_calls"),
        tools=(_WEATHER,),
    ),
    Conversation(
        "parallel calls",
        (_user("Paris or London?"),),
        Reply(calls=(_PARIS, _LONDON), finish="tool_calls"),
        tools=(_WEATHER,),
    ),
    Conversation(
        "calls without arguments",
        (_user("Ping twice."),),
        Reply(calls=(Call("call_1", "ping", {}), Call("call_2", "ping", {})), finish="tool_calls"),
        tools=(Tool("ping"),),
    ),
    Conversation(
        "arguments of every kind",
        (_user("Do it."),),
        Reply(
            calls=(
                Call(
                    "call_all",
                    "do",
                    {
                        "s": 'ü"\\\n',
                        "i": 9007199254740993,
                        "f": 1.5,
                        "b": True,
                        "n": None,
                        "a": [1, [{}]],
                        "o": {"": {}},
                    },
                ),
            ),
            finish="tool_calls",
        ),
        tools=(Tool("do", "Does it.", {"type": "object", "additionalProperties": True}),),
    ),
    Conversation(
        "a tool's result",
        (*_ASK_WEATHER, _assistant(_PARIS), _user(Result("call_paris", "sunny, 20 °C"))),
        _SUNNY,
        tools=(_WEATHER,),
    ),
    Conversation(
        "a tool's result and more",
        (*_ASK_WEATHER, _assistant("Let me look.", _PARIS), _user(Result("call_paris", "sunny"), "In one word.")),
        _SUNNY,
        tools=(_WEATHER,),
    ),
    Conversation(
        "results of parallel calls",
        (
            _user("Paris or London?"),
            _assistant(_PARIS, _LONDON),
            _user(Result("call_paris", "sunny"), Result("call_london", "rain")),
        ),
        Reply("Paris."),
        tools=(_WEATHER,),
    ),
    Conversation(
        "a tool that failed",
        (*_ASK_WEATHER, _assistant(_PARIS), _user(Result("call_paris", "no such city", error=True))),
        Reply("I could not find out."),
        tools=(_WEATHER,),
    ),
    Conversation(
        "a loop of tools",
        (
            *_ASK_WEATHER,
            _assistant(_PARIS),
            _user(Result("call_paris", "sunny")),
            _assistant("And London?", _LONDON),
            _user(Result("call_london", "rain")),
        ),
        Reply(calls=(Call("call_time", "get_time", {"zone": "UTC"}),), finish="tool_calls"),
        tools=(_WEATHER, _CLOCK),
    ),
    Conversation(
        "a tool must be called",
        _HELLO,
        Reply(calls=(_PARIS,), finish="tool_calls"),
        tools=(_WEATHER, _CLOCK),
        tool_choice="required",
    ),
    Conversation(
        "one tool must be called",
        _HELLO,
        Reply(calls=(Call("call_time", "get_time", {"zone": "CET"}),), finish="tool_calls"),
        tools=(_WEATHER, _CLOCK),
        tool_choice="get_time",
    ),
    Conversation("no tool may be called", _ASK_WEATHER, _SUNNY, tools=(_WEATHER,), tool_choice="none"),
    Conversation(
        "one call at a time",
        _ASK_WEATHER,
        Reply(calls=(_PARIS,), finish="tool_calls"),
        tools=(_WEATHER,),
        tool_choice="auto",
        parallel=False,
    ),
    Conversation(
        "a strict tool with a parameter called model",
        (_user("Is it in stock?"),),
        Reply(calls=(Call("call_s", "stock", {"item": "rail", "model": "R1"}),), finish="tool_calls"),
        tools=(_STOCK,),
    ),
    Conversation("sampling", _HELLO, Reply("Hi."), temperature=0.25, top_p=0.5, max_tokens=17),
    Conversation("the lowest temperature", _HELLO, Reply("Hi."), temperature=0),
    Conversation("stop sequences", _HELLO, Reply("One, two"), stop=("END", "\n\n")),
    Conversation(
        "a stop sequence that was met",
        _HELLO,
        Reply("One, two", finish="stop_sequence", sequence="END"),
        stop=("END",),
    ),
    Conversation("the limit", _HELLO, Reply("This is cut", finish="length"), max_tokens=3),
    Conversation("thinking", _HELLO, Reply("42.", reasoning="Six times seven."), effort="high", max_tokens=4096),
    Conversation("no thinking", _HELLO, Reply("42."), effort="none", user="user-7", tier="default"),
    Conversation(
        "thinking between tools",
        (
            *_ASK_WEATHER,
            _assistant(Thought("I need the weather."), "Let me look.", _PARIS),
            _user(Result("call_paris", "sunny")),
        ),
        Reply("It is sunny.", reasoning="The tool says sunny."),
        tools=(_WEATHER,),
        effort="medium",
        max_tokens=4096,
    ),
    Conversation("a refusal", _HELLO, Reply(refusal="I cannot help with that.", finish="content_filter")),
    Conversation(
        "an answer by a schema, from the cache",
        (_user("Where?"),),
        Reply('{"city":"Paris"}', tokens=(3, 1024, 64, 9)),
        schema=_schema(city={"type": "string"}),
        user="user-8",
        tier="auto",
    ),
)
