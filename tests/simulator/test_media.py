"""Images, audio, moderations and rerank: the official OpenAI SDK in strict mode, and forms that no SDK would send."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

import openai
import pytest

from simulator import multipart
from simulator.multipart import MultipartError, Upload
from tests.simulator.raw import ask, connected, request

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.simulators import ProviderHandle

SOUND = ("a.wav", b"sound" * 2_000)


@pytest.fixture
def client(acme: ProviderHandle) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(api_key="k", base_url=acme.base_url, max_retries=0, _strict_response_validation=True) as client:
        yield client


def form(*parts: bytes, path: str = "/v1/images/edits", mark: bytes = b"cut", end: bytes = b"--cut--\r\n") -> bytes:
    body = b"".join(b"--cut\r\ncontent-disposition: form-data; " + part + b"\r\n" for part in parts) + end
    head = f"POST {path} HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\ncontent-type: multipart/form-data"
    return head.encode() + b"; boundary=" + mark + b"\r\n\r\n" + body


FILE = b'name="image"; filename="a.png"\r\n\r\nPNG'
PROMPT = b'name="prompt"\r\n\r\na cat'
MODEL = b'name="model"\r\n\r\ngpt-image-1'


# -- images ----------------------------------------------------------------------------------
def test_images_come_as_urls_or_as_bytes_and_as_many_as_asked_for(client: openai.OpenAI) -> None:
    links = client.images.generate(prompt="a cat", model="dall-e-3", n=2)
    packed = client.images.generate(prompt="a cat", model="dall-e-3", response_format="b64_json")
    by_default = client.images.generate(prompt="a cat", model="gpt-image-1")

    assert links.data is not None
    assert len({image.url for image in links.data}) == 2
    assert links.data[0].revised_prompt == "acme drew with dall-e-3: a cat"
    for answer in (packed, by_default):
        assert answer.data is not None
        assert answer.data[0].url is None
        assert base64.b64decode(answer.data[0].b64_json or "").startswith(b"\x89PNG\r\n")
    assert by_default.usage is not None
    assert by_default.usage.total_tokens == by_default.usage.input_tokens + by_default.usage.output_tokens


def test_an_edited_image_tells_the_file_the_model_and_the_prompt_it_was_sent(
    client: openai.OpenAI, acme: ProviderHandle
) -> None:
    one = client.images.edit(image=("x.png", b"1\r\n--2\r\n\r\n3"), prompt="bluer", model="gpt-image-1", n=2)
    two = client.images.edit(image=[("x.png", b"12"), ("y.png", b"345")], prompt="bluer", model="gpt-image-1")

    assert one.data is not None
    assert len(one.data) == 2
    assert one.data[0].revised_prompt == "acme edited x.png (11 bytes) with gpt-image-1: bluer"
    assert two.data is not None
    assert two.data[0].revised_prompt == "acme edited x.png (2 bytes), y.png (3 bytes) with gpt-image-1: bluer"
    assert acme.requests()[0].body.count(b"1\r\n--2\r\n\r\n3") == 1


@pytest.mark.filterwarnings("ignore:deprecated")
def test_a_varied_image_tells_the_file_it_was_sent(client: openai.OpenAI) -> None:
    answer = client.images.create_variation(image=("x.png", b"123"), model="dall-e-2")

    assert answer.data is not None
    assert answer.data[0].revised_prompt == "acme varied x.png (3 bytes) with dall-e-2"


@pytest.mark.parametrize(
    ("fields", "word"),
    [
        ({"prompt": ""}, "prompt"),
        ({"stream": True}, "stream"),
        ({"n": 11}, "'n'"),
        ({"n": "some"}, "'n'"),
        ({"response_format": "gif"}, "response_format"),
    ],
)
def test_images_that_cannot_be_made_are_refused(acme: ProviderHandle, fields: dict[str, Any], word: str) -> None:
    seen = ask(acme, request(acme, {"model": "m", "prompt": "a cat", **fields}, path="/v1/images/generations"))

    assert seen.status == 400
    assert word in seen.json()["error"]["message"] or seen.json()["error"]["param"] == word


# -- forms -----------------------------------------------------------------------------------
def test_a_form_is_taken_and_what_it_lacks_is_named(acme: ProviderHandle) -> None:
    whole = ask(acme, form(FILE, PROMPT, MODEL))
    without_file = ask(acme, form(PROMPT, MODEL))
    without_prompt = ask(acme, form(FILE, MODEL))
    a_text_for_a_file = ask(acme, form(b'name="image"\r\n\r\nPNG', PROMPT, MODEL))

    assert whole.json()["data"][0]["revised_prompt"] == "acme edited a.png (3 bytes) with gpt-image-1: a cat"
    assert (without_file.status, without_file.json()["error"]["param"]) == (400, "image")
    assert (a_text_for_a_file.status, a_text_for_a_file.json()["error"]["param"]) == (400, "image")
    assert (without_prompt.status, without_prompt.json()["error"]["param"]) == (400, "prompt")


@pytest.mark.parametrize(
    ("sent", "reason"),
    [
        (form(FILE, PROMPT, end=b""), "closing boundary"),
        (form(FILE, PROMPT, mark=b"other"), "closing boundary"),
        (form(FILE, b"name=x"), "blank line"),
        (form(FILE, b'filename="a"\r\n\r\nx'), "no name"),
        (form(FILE, b'name="a"\r\nodd\r\n\r\nx'), "colon"),
        (form(FILE, b'name="a"\r\n\r\n\xff'), "UTF-8"),
        (form(FILE).replace(b"form-data; name", b"attachment; name"), "form-data"),
        (form(FILE).replace(b"--cut\r\n", b"--cutter\r\n"), "something else"),
    ],
)
def test_a_malformed_form_is_refused(acme: ProviderHandle, sent: bytes, reason: str) -> None:
    sent = sent.replace(b"cutter", b"cut r")  # as long as before
    seen = ask(acme, sent)

    assert seen.status == 400
    assert "multipart form" in seen.json()["error"]["message"]
    head, _, body = sent.partition(b"\r\n\r\n")
    with pytest.raises(MultipartError, match=reason):
        multipart.read(body, head.partition(b"boundary=")[2].partition(b"\r\n")[0])


def test_a_form_keeps_every_byte_of_a_file_and_every_value_of_a_name() -> None:
    data = bytes(range(256)) + b"\r\n--cu\r\n"
    parts = (
        b'name="f"; filename="a \\"b\\".bin"\r\ncontent-type: image/png\r\n\r\n' + data,
        b"name=plain\r\n\r\none",
        b"name=plain\r\n\r\ntwo",
        b"name=plain\r\n\r\n",
    )
    body = form(*parts).partition(b"\r\n\r\n")[2]

    fields = multipart.read(b"preamble\r\n" + body + b"\r\n", b"cut")

    assert fields == {"f": Upload('a \\"b\\".bin', "image/png", data), "plain": ["one", "two", ""]}
    assert multipart.read(body, b"cut") == fields


@pytest.mark.parametrize(
    ("content_type", "mark"),
    [
        (b"multipart/form-data; boundary=abc", b"abc"),
        (b'Multipart/Form-Data; charset=utf-8; Boundary="a b"', b"a b"),
        (b"multipart/form-data", None),
        (b"multipart/form-data; boundary=", None),
        (b"multipart/mixed; boundary=abc", None),
        (b"application/json", None),
        (None, None),
    ],
)
def test_the_boundary_is_found_in_the_content_type(content_type: bytes | None, mark: bytes | None) -> None:
    assert multipart.boundary(content_type) == mark


def test_the_model_of_a_form_is_served_or_not_and_narrows_faults(acme: ProviderHandle) -> None:
    acme.behave(models=["gpt-image-1"])
    other = b'name="model"\r\n\r\ndall-e-2'
    assert [ask(acme, form(FILE, PROMPT, model)).status for model in (MODEL, other)] == [200, 404]

    acme.behave(models=None, faults=[{"name": "status", "status": 503, "model": "dall-e-2", "path": "/images/edits"}])
    assert [ask(acme, form(FILE, PROMPT, model)).status for model in (MODEL, other)] == [200, 503]


def test_a_form_needs_the_credential_too(acme: ProviderHandle) -> None:
    acme.behave(credential="right")

    assert ask(acme, form(FILE, PROMPT, MODEL)).status == 401


# -- audio -----------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("kind", "content_type", "start"),
    [
        ("mp3", "audio/mpeg", b"ID3"),
        ("opus", "audio/ogg", b"OggS"),
        ("aac", "audio/aac", b"\xff\xf1"),
        ("flac", "audio/flac", b"fLaC"),
        ("wav", "audio/wav", b"RIFF"),
        ("pcm", "audio/pcm", b""),
    ],
)
def test_speech_is_sound_of_the_kind_asked_for(
    client: openai.OpenAI, kind: Any, content_type: str, start: bytes
) -> None:
    answer = client.audio.speech.create(model="tts-1", voice="alloy", input="hello", response_format=kind)
    other = client.audio.speech.create(model="tts-1", voice="alloy", input="hullo", response_format=kind)

    assert answer.response.headers["content-type"] == content_type
    sound = answer.read()
    assert sound.startswith(start)
    assert 5_000 <= len(sound) < 5_100
    assert sound != other.read()


def test_speech_comes_in_chunks_and_can_break_in_the_middle(acme: ProviderHandle) -> None:
    asked = request(acme, {"model": "tts-1", "voice": "alloy", "input": "hello"}, path="/v1/audio/speech")
    whole = ask(acme, asked)
    acme.fail("cut_mid_body", after_bytes=4_500)
    cut = ask(acme, asked)
    acme.fail("huge_body", bytes=100_000)
    huge = ask(acme, asked)
    acme.fail("stall_mid_body")
    with connected(acme) as wire:
        wire.send(asked)
        stalled = wire.read(seconds=0.2)

    assert [len(chunk) for chunk in whole.chunks] == [4096, 914, 0]
    assert (len(cut.stream), cut.complete, cut.ending) == (4_500, False, "fin")
    assert (len(huge.body), huge.body[:5_010]) == (100_000, whole.stream)
    assert (len(stalled.stream), stalled.ending) == (2_505, "open")


def test_a_file_is_transcribed_in_the_form_asked_for(client: openai.OpenAI) -> None:
    plain = client.audio.transcriptions.create(model="whisper-1", file=SOUND)
    verbose = client.audio.transcriptions.create(model="whisper-1", file=SOUND, response_format="verbose_json")
    text: Any = client.audio.transcriptions.create(model="whisper-1", file=SOUND, response_format="text")
    other = client.audio.transcriptions.create(model="whisper-1", file=("a.wav", b"other"))

    assert plain.text.startswith("acme ")
    assert plain.usage is not None
    assert plain.usage.type == "tokens"
    assert plain.usage.total_tokens == 10 + 16
    assert verbose.text == plain.text == text.rstrip("\n")
    assert verbose.duration == 0.625
    assert verbose.segments is not None
    assert verbose.segments[0].text == plain.text
    assert other.text != plain.text


def test_a_transcription_streams_the_same_words(client: openai.OpenAI, acme: ProviderHandle) -> None:
    plain = client.audio.transcriptions.create(model="gpt-4o-transcribe", file=SOUND)
    events = list(client.audio.transcriptions.create(model="gpt-4o-transcribe", file=SOUND, stream=True))

    assert [event.type for event in events] == ["transcript.text.delta"] * 16 + ["transcript.text.done"]
    assert events[-1].type == "transcript.text.done"
    assert events[-1].text == plain.text
    assert events[-1].usage is not None
    assert events[-1].usage.output_tokens == 16

    acme.fail("end_without_terminator", after_events=3)
    cut = list(client.audio.transcriptions.create(model="gpt-4o-transcribe", file=SOUND, stream=True))
    assert [event.type for event in cut] == ["transcript.text.delta"] * 3


@pytest.mark.filterwarnings("ignore:deprecated")
def test_a_file_is_translated(client: openai.OpenAI) -> None:
    assert client.audio.translations.create(model="whisper-1", file=SOUND).text.startswith("acme ")
    verbose = client.audio.translations.create(model="whisper-1", file=SOUND, response_format="verbose_json")
    assert verbose.language == "english"


def test_audio_that_cannot_be_made_or_heard_is_refused(acme: ProviderHandle) -> None:
    speech = {"model": "tts-1", "voice": "alloy", "input": "hello"}
    for field, value in (("input", ""), ("voice", ""), ("response_format", "midi")):
        seen = ask(acme, request(acme, {**speech, field: value}, path="/v1/audio/speech"))
        assert (seen.status, seen.json()["error"]["param"]) == (400, field)
    path = "/v1/audio/transcriptions"
    empty = b'name="file"; filename="a.wav"\r\n\r\n'
    odd = b'name="response_format"\r\n\r\nodd'
    for parts, param in (
        ((MODEL,), "file"),
        ((empty, MODEL), "file"),
        ((empty + b"x", MODEL, odd), "response_format"),
        ((empty + b"x",), "model"),
    ):
        seen = ask(acme, form(*parts, path=path))
        assert (seen.status, seen.json()["error"]["param"]) == (400, param)


# -- judging ---------------------------------------------------------------------------------
def test_moderations_flag_what_speaks_of_an_attack(client: openai.OpenAI) -> None:
    several = client.moderations.create(input=["good morning", "an attack at dawn"])
    parts = client.moderations.create(
        model="omni-moderation-latest", input=[{"type": "text", "text": "good"}, {"type": "text", "text": "morning"}]
    )

    assert [result.flagged for result in several.results] == [False, True]
    assert several.results[1].categories.violence
    assert several.results[1].category_scores.violence > several.results[0].category_scores.violence
    assert several.model == "omni-moderation-latest"
    assert [result.flagged for result in parts.results] == [False]


def test_rerank_puts_what_shares_words_with_the_query_first(acme: ProviderHandle) -> None:
    asked = {
        "model": "rerank-v3",
        "query": "signals at the junction",
        "documents": ["nothing of it", {"text": "the signals at the junction"}, "the rest"],
    }

    def results(**fields: Any) -> Any:
        return ask(acme, request(acme, {**asked, **fields}, path="/v1/rerank")).json()

    answer = results()
    assert sorted(result["index"] for result in answer["results"]) == [0, 1, 2]
    scores = [result["relevance_score"] for result in answer["results"]]
    assert scores == sorted(scores, reverse=True)
    assert answer["results"][0]["index"] == 1
    assert answer["usage"]["total_tokens"] > 0
    assert len(results(top_n=2)["results"]) == 2
    assert results(return_documents=True)["results"][0]["document"] == {"text": "the signals at the junction"}
    assert results(query="")["error"]["param"] == "query"
    assert results(documents=[])["error"]["param"] == "documents"
