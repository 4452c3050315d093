"""The audio resources of the OpenAI wire: speech (binary, in chunks), transcriptions and translations (forms).

Sound is bytes of the right kind that no player needs to like; what is heard in a file is the usual words.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any
from zlib import crc32

from simulator.multipart import Upload
from simulator.script import Answer, Event, Role
from simulator.wire.base import ApiError, Voice, data_frame, json_answer, missing, sse_answer

if TYPE_CHECKING:
    from collections.abc import Iterator

BYTES_PER_CHARACTER = 1000
_BLOCK = 4096
_FORMATS = {
    "mp3": (b"audio/mpeg", b"ID3\x04\x00\x00\x00\x00\x00\x00"),
    "opus": (b"audio/ogg", b"OggS\x00\x02"),
    "aac": (b"audio/aac", b"\xff\xf1"),
    "flac": (b"audio/flac", b"fLaC"),
    "wav": (b"audio/wav", b"RIFF"),
    "pcm": (b"audio/pcm", b""),
}
_BYTES_PER_SECOND = 16_000


def speak(document: Any, voice: Voice) -> Answer:
    text = document.get("input")
    if not isinstance(text, str) or not text:
        raise missing("input")
    if not document.get("voice"):
        raise missing("voice")
    form = document.get("response_format", "mp3")
    if form not in _FORMATS:
        raise ApiError(400, f"Invalid value for 'response_format': '{form}'.", param="response_format")
    kind, start = _FORMATS[form]
    size = len(text) * BYTES_PER_CHARACTER
    if form == "wav":
        layout = (size + 36, b"WAVE", b"fmt ", 16, 1, 1, 24_000, 48_000, 2, 16, b"data", size)
        start += struct.pack("<I4s4sIHHIIHH4sI", *layout)
    noise = struct.pack("<I", crc32(f"{voice.name} {text}".encode("utf-8", "surrogatepass")))
    body = start + noise * (size // 4)
    return Answer(200, [(b"content-type", kind)], body=body, delay=voice.whole_delay(1), block=_BLOCK)


def transcribe(document: Any, voice: Voice) -> Answer:
    upload = _file(document)
    said = _heard(document, voice, upload)
    if not document.get("stream"):
        usage = {
            "type": "tokens",
            "input_tokens": _audio_tokens(upload),
            "output_tokens": len(said),
            "total_tokens": _audio_tokens(upload) + len(said),
        }
        return _written(document, voice, upload, said, "transcribe", {"usage": usage} if voice.behaviour.usage else {})
    return sse_answer(_events(voice, upload, said), voice)


def translate(document: Any, voice: Voice) -> Answer:
    upload = _file(document)
    return _written(document, voice, upload, _heard(document, voice, upload), "translate", {})


def _events(voice: Voice, upload: Upload, said: list[str]) -> Iterator[Event]:
    yield from voice.paced(data_frame({"type": "transcript.text.delta", "delta": part}) for part in said)
    done: dict[str, Any] = {"type": "transcript.text.done", "text": "".join(said)}
    if voice.behaviour.usage:
        tokens = _audio_tokens(upload)
        done["usage"] = {
            "type": "tokens",
            "input_tokens": tokens,
            "output_tokens": len(said),
            "total_tokens": tokens + len(said),
        }
    yield Event(data_frame(done), Role.TERMINATOR)


def _file(document: Any) -> Upload:
    upload = document.get("file")
    if not isinstance(upload, Upload):
        raise missing("file")
    if not upload.data:
        raise ApiError(400, "The audio file is empty.", param="file")
    return upload


def _heard(document: Any, voice: Voice, upload: Upload) -> list[str]:
    """The words in a file: others for other bytes, or another prompt."""
    return voice.tokens(f"{crc32(upload.data)} {document.get('prompt', '')}", None)[0]


def _audio_tokens(upload: Upload) -> int:
    return max(1, len(upload.data) // 1000)


def _written(document: Any, voice: Voice, upload: Upload, said: list[str], task: str, extra: dict[str, Any]) -> Answer:
    """The text in the form asked for; `extra` is added to JSON."""
    form = document.get("response_format", "json")
    text = "".join(said)
    delay = voice.whole_delay(len(said))
    if form == "json":
        return json_answer({"text": text, **extra}, delay)
    if form == "text":
        return Answer(200, [(b"content-type", b"text/plain; charset=utf-8")], body=text.encode() + b"\n", delay=delay)
    if form != "verbose_json":
        raise ApiError(400, f"Invalid value for 'response_format': '{form}'.", param="response_format")
    seconds = round(len(upload.data) / _BYTES_PER_SECOND, 3)
    segment = {
        "id": 0,
        "seek": 0,
        "start": 0.0,
        "end": seconds,
        "text": text,
        "tokens": list(range(len(said))),
        "temperature": 0.0,
        "avg_logprob": -0.1,
        "compression_ratio": 1.0,
        "no_speech_prob": 0.0,
    }
    answer = {"task": task, "language": "english", "duration": seconds, "text": text, "segments": [segment]}
    if extra:
        answer["usage"] = {"type": "duration", "seconds": seconds}
    return json_answer(answer, delay)
