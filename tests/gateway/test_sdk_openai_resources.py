"""Every resource of the official OpenAI SDK that we route, strict about types, through a real gateway: JSON, streams,
uploads, files and the SDK's own helpers, with the synchronous and the asynchronous client."""

from __future__ import annotations

import base64
import io
import json
from typing import TYPE_CHECKING, Any

import openai
import pytest
from pydantic import BaseModel

from tests.gateway.pair import HELLO, MODEL, UPSTREAM_MODEL, Pair

if TYPE_CHECKING:
    from collections.abc import Callable

#: The whole client library, and processes to talk to.
pytestmark = [
    pytest.mark.thorough,
    # Variations and translations: the SDK still has them, and so do we.
    pytest.mark.filterwarnings("ignore:deprecated:DeprecationWarning"),
]

PNG = base64.b64decode("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNoAAAAggCBd81ytgAAAABJRU5ErkJggg==")
TOOL: Any = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "strict": True,
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}, "unit": {"type": "string", "enum": ["celsius", "kelvin"]}},
            "required": ["city", "unit"],
            "additionalProperties": False,
        },
    },
}
RESPONSES_TOOL: Any = {"type": "function", **TOOL["function"]}
ARGUMENTS = '{"city":"openai","unit":"celsius"}'


class Reply(BaseModel):
    city: str
    degrees: int


@pytest.fixture
def client(pair: Pair) -> openai.OpenAI:
    return pair.chat("openai")


def sound() -> io.BytesIO:
    file = io.BytesIO(b"RIFF" + bytes(3000))
    file.name = "speech.wav"
    return file


def picture() -> io.BytesIO:
    file = io.BytesIO(PNG)
    file.name = "map.png"
    return file


# -- chat ----------------------------------------------------------------------------------------------------------
def test_several_choices_with_every_field_of_a_request(pair: Pair, client: openai.OpenAI) -> None:
    fields: dict[str, Any] = {
        "messages": [
            {"role": "developer", "content": [{"type": "text", "text": "Be brief."}], "name": "ops"},
            {
                "role": "user",
                "content": [{"type": "image_url", "image_url": {"url": "https://a/b.png", "detail": "low"}}],
            },
            *HELLO,
        ],
        "n": 2,
        "seed": 7,
        "logit_bias": {"50256": -100},
        "metadata": {"line": "north"},
        "stop": ["END"],
        "store": False,
        "top_logprobs": 0,
        "presence_penalty": 0.5,
        "max_completion_tokens": 9,
        "extra_body": {"guided_regex": "[ab]+", "nested": {"model": "not this one"}},
    }

    answer = client.chat.completions.create(model=MODEL, **fields)

    assert [choice.index for choice in answer.choices] == [0, 1]
    extra = fields.pop("extra_body")
    assert pair.openai.requests()[0].json() == {**fields, **extra, "model": UPSTREAM_MODEL}


def test_tool_calls_are_whole_and_streamed_in_parts(client: openai.OpenAI) -> None:
    whole = client.chat.completions.create(model=MODEL, messages=HELLO, tools=[TOOL])
    with client.chat.completions.stream(model=MODEL, messages=HELLO, tools=[TOOL]) as stream:
        events = list(stream)
        final = stream.get_final_completion()

    assert len([event for event in events if event.type == "tool_calls.function.arguments.delta"]) > 1
    for choice in (whole.choices[0], final.choices[0]):
        assert choice.finish_reason == "tool_calls"
        (call,) = choice.message.tool_calls or ()
        assert call.type == "function"
        assert (call.function.name, call.function.arguments) == ("get_weather", ARGUMENTS)
    assert final.choices[0].message.tool_calls is not None
    assert final.choices[0].message.tool_calls[0].function.parsed_arguments == {"city": "openai", "unit": "celsius"}


def test_the_stream_helper_tells_the_text_as_it_grows(client: openai.OpenAI) -> None:
    with client.chat.completions.stream(model=MODEL, messages=HELLO, stream_options={"include_usage": True}) as stream:
        snapshots = [event.snapshot for event in stream if event.type == "content.delta"]
        final = stream.get_final_completion()

    assert snapshots[-1] == final.choices[0].message.content
    assert [len(one) for one in snapshots] == sorted({len(one) for one in snapshots})
    assert len(snapshots) == 17  # nothing said yet, then a word more each time
    assert final.usage is not None
    assert final.usage.completion_tokens == 16


@pytest.mark.parametrize("asked", [None, False, True])
@pytest.mark.parametrize("resource", ["chat", "completions"])
def test_usage_that_only_we_asked_for_is_hidden_from_the_client(pair: Pair, resource: str, asked: bool | None) -> None:
    pair.openai.behave(text="one two three", cached_tokens=1)
    # Until its last chunk a completion has no finish reason, which the SDK's strict type has no room for.
    client = pair.chat("openai-counted", _strict_response_validation=False)
    options: Any = {} if asked is None else {"stream_options": {"include_usage": asked}}
    chunks: list[Any] = (
        list(client.chat.completions.create(model=MODEL, messages=HELLO, stream=True, **options))
        if resource == "chat"
        else list(client.completions.create(model=MODEL, prompt="hello", stream=True, **options))
    )

    assert [chunk for chunk in chunks if not chunk.choices] == (chunks[-1:] if asked else [])
    assert (chunks[-1].usage is not None) is bool(asked)
    assert pair.openai.requests()[0].json()["stream_options"] == {"include_usage": True}
    row = pair.row()
    assert (row.output_tokens, row.cached_tokens, row.usage_estimated) == (3, 1, False)


def test_a_structured_answer_parses_into_the_callers_class_whole_and_streamed(client: openai.OpenAI) -> None:
    whole = client.chat.completions.parse(model=MODEL, messages=HELLO, response_format=Reply)
    with client.chat.completions.stream(model=MODEL, messages=HELLO, response_format=Reply) as stream:
        final = stream.get_final_completion()

    assert whole.choices[0].message.parsed == final.choices[0].message.parsed == Reply(city="openai", degrees=1)


@pytest.mark.parametrize(
    ("finish", "kind"),
    [("length", openai.LengthFinishReasonError), ("content_filter", openai.ContentFilterFinishReasonError)],
)
def test_a_structured_answer_that_is_cut_or_filtered_raises_the_sdks_own(
    pair: Pair, client: openai.OpenAI, finish: str, kind: type[openai.OpenAIError]
) -> None:
    pair.openai.behave(reply={"text": '{"city":', "finish_reason": finish})

    with pytest.raises(kind):
        client.chat.completions.parse(model=MODEL, messages=HELLO, response_format=Reply)


# -- completions, responses ------------------------------------------------------------------------------------------
def test_completions_answer_and_stream(pair: Pair, client: openai.OpenAI) -> None:
    pair.openai.behave(text="said so")
    whole = client.completions.create(model=MODEL, prompt="say", suffix="end", echo=False)
    # Until the last chunk the finish reason is null on the real wire, which the SDK's type has no room for.
    lenient = pair.chat("openai", _strict_response_validation=False)
    options: Any = {"include_usage": True}
    chunks = list(lenient.completions.create(model=MODEL, prompt="say", stream=True, stream_options=options))

    assert whole.choices[0].text == "".join(chunk.choices[0].text for chunk in chunks if chunk.choices) == "said so"
    assert chunks[-1].usage == whole.usage
    assert [row.output_tokens for row in pair.gateway.finished()] == [2, 2]


def test_a_response_answers_and_streams_the_documented_events(pair: Pair, client: openai.OpenAI) -> None:
    whole = client.responses.create(model=MODEL, input="hello", instructions="Be brief.", metadata={"line": "north"})
    with client.responses.stream(model=MODEL, input="hello") as stream:
        events = list(stream)
        final = stream.get_final_response()

    assert whole.output_text == final.output_text
    assert whole.usage is not None
    assert [event.sequence_number for event in events] == list(range(len(events)))
    kinds = list(dict.fromkeys(event.type for event in events))
    assert (kinds[0], kinds[-1]) == ("response.created", "response.completed")
    assert {"response.output_text.delta", "response.output_text.done", "response.output_item.done"} <= set(kinds)
    assert [row.output_tokens for row in pair.gateway.finished()] == [whole.usage.output_tokens] * 2
    assert [row.operation for row in pair.gateway.finished()] == ["responses", "responses"]


def test_a_response_calls_a_function_whole_and_streamed(client: openai.OpenAI) -> None:
    whole = client.responses.create(model=MODEL, input="hello", tools=[RESPONSES_TOOL])
    with client.responses.stream(model=MODEL, input="hello", tools=[RESPONSES_TOOL]) as stream:
        kinds = {event.type for event in stream}
        final = stream.get_final_response()

    for answer in (whole, final):
        assert answer.output[0].type == "function_call"
        assert (answer.output[0].name, answer.output[0].arguments) == ("get_weather", ARGUMENTS)
    assert {"response.function_call_arguments.delta", "response.function_call_arguments.done"} <= kinds


def test_a_response_parses_into_the_callers_class(client: openai.OpenAI) -> None:
    answer = client.responses.parse(model=MODEL, input="hello", text_format=Reply)

    assert answer.output_parsed == Reply(city="openai", degrees=1)


def test_a_response_that_met_its_limit_is_incomplete(client: openai.OpenAI) -> None:
    whole = client.responses.create(model=MODEL, input="hello", max_output_tokens=16, reasoning={"effort": "low"})
    events = list(client.responses.create(model=MODEL, input="hello", max_output_tokens=2, stream=True))

    assert whole.status == "completed"
    assert events[-1].type == "response.incomplete"


# -- the others ------------------------------------------------------------------------------------------------------
def test_embeddings_are_the_same_numbers_in_both_encodings(pair: Pair, client: openai.OpenAI) -> None:
    floats = client.embeddings.create(model=MODEL, input=["one", "two"], dimensions=8, encoding_format="float")
    # Unasked, the SDK sends encoding_format base64 and decodes; its strict mode refuses its own form.
    lenient = pair.chat("openai", _strict_response_validation=False)
    packed = lenient.embeddings.create(model=MODEL, input=["one", "two"], dimensions=8)
    numbers = client.embeddings.create(model=MODEL, input=[[1, 2], [3]], encoding_format="float", user="u")

    assert pair.openai.requests()[1].json()["encoding_format"] == "base64"
    assert [one.embedding for one in packed.data] == [one.embedding for one in floats.data]
    assert len(floats.data[0].embedding) == 8
    assert len(numbers.data) == 2
    assert [row.input_tokens for row in pair.gateway.finished()] == [
        answer.usage.prompt_tokens for answer in (floats, packed, numbers)
    ]


def test_moderations_judge_with_and_without_a_model(pair: Pair, client: openai.OpenAI) -> None:
    judged = client.moderations.create(model=MODEL, input=["a kind word", "an attack at dawn"])
    unnamed = client.moderations.create(input="a kind word")

    assert [result.flagged for result in judged.results] == [False, True]
    assert judged.results[1].categories.violence
    assert not unnamed.results[0].flagged
    assert [request.json().get("model") for request in pair.openai.requests()] == [UPSTREAM_MODEL, None]


def test_images_are_generated(pair: Pair, client: openai.OpenAI) -> None:
    links = client.images.generate(model=MODEL, prompt="a signal box", n=2, size="512x512")
    packed = client.images.generate(model=MODEL, prompt="a signal box", response_format="b64_json")

    assert links.data is not None
    assert packed.data is not None
    assert [image.url is not None for image in links.data] == [True, True]
    assert base64.b64decode(packed.data[0].b64_json or "") == PNG
    assert UPSTREAM_MODEL in (packed.data[0].revised_prompt or "")
    assert [row.operation for row in pair.gateway.finished()] == ["image", "image"]


def test_images_are_edited_and_varied_by_upload(pair: Pair, client: openai.OpenAI) -> None:
    edited = client.images.edit(model=MODEL, image=[picture(), picture()], prompt="more steam", n=2)
    varied = client.images.create_variation(model=MODEL, image=picture())

    assert edited.data is not None
    assert varied.data is not None
    assert len(edited.data) == 2
    said = f"edited map.png ({len(PNG)} bytes), map.png ({len(PNG)} bytes) with {UPSTREAM_MODEL}: more steam"
    assert said in (edited.data[0].revised_prompt or "")
    assert f"varied map.png ({len(PNG)} bytes) with {UPSTREAM_MODEL}" in (varied.data[0].revised_prompt or "")
    assert [row.operation for row in pair.gateway.finished()] == ["image_edit", "image_variation"]


def test_pictures_come_in_parts_and_the_usage_with_the_last(pair: Pair, client: openai.OpenAI) -> None:
    about = {"created_at": 1, "size": "auto", "quality": "auto", "background": "auto", "output_format": "png"}
    usage = {
        "input_tokens": 5,
        "output_tokens": 7,
        "total_tokens": 12,
        "input_tokens_details": {"image_tokens": 0, "text_tokens": 5},
    }
    first = {"type": "image_generation.partial_image", "b64_json": "UE5H", "partial_image_index": 0, **about}
    last = {"type": "image_generation.completed", "b64_json": "UE5H" * 50_000, "usage": usage, **about}
    stream_of(pair, first, last)

    events = list(client.images.generate(model=MODEL, prompt="a signal box", stream=True, partial_images=1))

    assert [event.to_dict() for event in events] == [first, last]
    row = pair.row()
    assert (row.operation, row.status, row.stream) == ("image", "routed", True)
    assert (row.input_tokens, row.output_tokens) == (5, 7)


def test_what_pictures_used_is_read_from_an_answer_too_long_to_be_held(pair: Pair, client: openai.OpenAI) -> None:
    usage = {
        "input_tokens": 5,
        "output_tokens": 7,
        "total_tokens": 12,
        "input_tokens_details": {"image_tokens": 0, "text_tokens": 5},
    }
    whole = {"created": 1, "data": [{"b64_json": "UE5H" * 1_500_000}], "usage": usage}
    pair.openai.fail("status", status=200, body=json.dumps(whole))

    answer = client.images.generate(model=MODEL, prompt="a signal box")

    assert answer.to_dict() == whole
    row = pair.row()
    assert (row.input_tokens, row.output_tokens, row.usage_estimated) == (5, 7, False)


def test_speech_is_read_as_events_too(pair: Pair, client: openai.OpenAI) -> None:
    usage = {"input_tokens": 3, "output_tokens": 4, "total_tokens": 7}
    stream_of(pair, {"type": "speech.audio.delta", "audio": "UklGRg=="}, {"type": "speech.audio.done", "usage": usage})

    with client.audio.speech.with_streaming_response.create(
        model=MODEL, voice="alloy", input="mind the gap", stream_format="sse"
    ) as response:
        lines = [line for line in response.iter_lines() if line]

    assert [json.loads(line.removeprefix("data: "))["type"] for line in lines] == [
        "speech.audio.delta",
        "speech.audio.done",
    ]
    assert (pair.row().operation, pair.row().input_tokens, pair.row().output_tokens) == ("speech", 3, 4)


def stream_of(pair: Pair, *documents: dict[str, Any]) -> None:
    """What the simulator does not stream itself."""
    body = "".join(f"data: {json.dumps(document)}\n\n" for document in documents)
    pair.openai.fail("status", status=200, content_type="text/event-stream", body=body)


def test_speech_is_read_whole_and_as_it_comes(pair: Pair, client: openai.OpenAI) -> None:
    whole = client.audio.speech.create(model=MODEL, voice="alloy", input="mind the gap", response_format="wav")
    with client.audio.speech.with_streaming_response.create(
        model=MODEL, voice="alloy", input="mind the gap", response_format="wav"
    ) as response:
        pieces = list(response.iter_bytes(1024))

    assert whole.read()[:4] == b"RIFF"
    assert b"".join(pieces) == whole.read()
    assert len(pieces) > 1
    assert response.headers["content-type"] == "audio/wav"
    assert [(row.operation, row.status) for row in pair.gateway.finished()] == [("speech", "routed")] * 2


def test_sound_is_transcribed_in_every_form(pair: Pair, client: openai.OpenAI) -> None:
    pair.openai.behave(text="mind the gap")

    plain = client.audio.transcriptions.create(model=MODEL, file=sound())
    text = client.audio.transcriptions.create(model=MODEL, file=sound(), response_format="text")
    verbose = client.audio.transcriptions.create(
        model=MODEL, file=sound(), response_format="verbose_json", timestamp_granularities=["word", "segment"]
    )
    events = list(client.audio.transcriptions.create(model=MODEL, file=sound(), stream=True))

    assert plain.text == verbose.text == "mind the gap"
    assert text.strip() == "mind the gap"
    assert verbose.duration
    deltas = [event.delta for event in events if event.type == "transcript.text.delta"]
    assert "".join(deltas) == "mind the gap"
    assert events[-1].type == "transcript.text.done"
    assert [row.operation for row in pair.gateway.finished()] == ["transcription"] * 4
    assert {row.model for row in pair.gateway.finished()} == {UPSTREAM_MODEL}
    for request in pair.openai.requests():
        assert UPSTREAM_MODEL.encode() in request.body
        assert sound().getvalue() in request.body


def test_sound_is_translated(pair: Pair, client: openai.OpenAI) -> None:
    pair.openai.behave(text="mind the gap")

    plain = client.audio.translations.create(model=MODEL, file=sound(), prompt="stations")
    text = client.audio.translations.create(model=MODEL, file=sound(), response_format="text")

    assert plain.text == "mind the gap"
    assert str(text).strip() == "mind the gap"


def test_models_are_listed_and_looked_up(pair: Pair, client: openai.OpenAI) -> None:
    assert [(model.id, model.owned_by) for model in client.models.list()] == [(MODEL, "openai")]
    assert client.models.retrieve(MODEL).id == MODEL
    assert client.models.retrieve("any/other:name").id == "any/other:name"
    assert pair.openai.count() == 0


@pytest.mark.parametrize(
    "call",
    [
        lambda client: client.responses.retrieve("resp_1"),
        lambda client: client.responses.delete("resp_1"),
        lambda client: client.chat.completions.list(),
        lambda client: client.files.list(),
        lambda client: client.fine_tuning.jobs.list(),
        lambda client: client.batches.create(
            completion_window="24h", endpoint="/v1/chat/completions", input_file_id="file"
        ),
    ],
    ids=["response", "delete", "chats", "files", "jobs", "batches"],
)
def test_what_is_not_routed_is_a_clear_404(pair: Pair, client: openai.OpenAI, call: Callable[[Any], Any]) -> None:
    with pytest.raises(openai.APIStatusError, match=r"no such endpoint|does not take") as caught:
        call(client.with_options(max_retries=2))

    assert caught.value.status_code in (404, 405)
    assert caught.value.code in ("not_found", "method_not_allowed")
    assert pair.openai.count() == 0


# -- the asynchronous client -----------------------------------------------------------------------------------------
async def test_the_asynchronous_client_reads_every_resource(pair: Pair) -> None:
    pair.openai.behave(text="mind the gap")
    async with pair.async_chat("openai") as client:
        chat = await client.chat.completions.create(model=MODEL, messages=HELLO)
        async with client.chat.completions.stream(model=MODEL, messages=HELLO) as stream:
            streamed = await stream.get_final_completion()
        completion = await client.completions.create(model=MODEL, prompt="say")
        response = await client.responses.create(model=MODEL, input="hello")
        async with client.responses.stream(model=MODEL, input="hello") as events:
            kinds = [event.type async for event in events]
        embedding = await client.embeddings.create(model=MODEL, input="one", encoding_format="float")
        judged = await client.moderations.create(model=MODEL, input="a kind word")
        image = await client.images.generate(model=MODEL, prompt="a signal box")
        edited = await client.images.edit(model=MODEL, image=picture(), prompt="more steam")
        varied = await client.images.create_variation(model=MODEL, image=picture())
        async with client.audio.speech.with_streaming_response.create(
            model=MODEL, voice="alloy", input="mind the gap"
        ) as speech:
            spoken = b"".join([piece async for piece in speech.iter_bytes()])
        heard = await client.audio.transcriptions.create(model=MODEL, file=sound())
        parts = await client.audio.transcriptions.create(model=MODEL, file=sound(), stream=True)
        ends = [event.type async for event in parts]
        translated = await client.audio.translations.create(model=MODEL, file=sound())
        models = [model.id async for model in client.models.list()]

    assert chat.choices[0].message.content == streamed.choices[0].message.content == "mind the gap"
    assert (completion.choices[0].text, response.output_text, heard.text) == ("mind the gap",) * 3
    assert (kinds[-1], ends[-1]) == ("response.completed", "transcript.text.done")
    assert embedding.data[0].embedding
    assert not judged.results[0].flagged
    assert all(answer.data for answer in (image, edited, varied))
    assert spoken.startswith(b"ID3")
    assert translated.text == "mind the gap"
    assert models == [MODEL]
    assert {row.status for row in pair.gateway.finished()} == {"routed"}
    assert len(pair.gateway.finished()) == pair.openai.count() == 14


async def test_a_cut_stream_raises_in_the_asynchronous_client(pair: Pair) -> None:
    pair.openai.fail("cut_mid_stream", after_events=3)
    said: list[str] = []

    async with pair.async_chat("openai") as client:
        stream = await client.chat.completions.create(model=MODEL, messages=HELLO, stream=True)
        with pytest.raises(openai.APIError, match="cut off"):  # noqa: PT012 - the error comes while iterating
            async for chunk in stream:
                said.append(chunk.choices[0].delta.content or "")  # noqa: PERF401 - what came before the error

    assert len(said) >= 3
    assert pair.row().status == "failed"
