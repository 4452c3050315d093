"""The images resources of the OpenAI wire: generations (JSON), edits and variations (forms with a file).

Every image is the same small PNG; what was asked for is said in `revised_prompt` and in the URL. Streams are refused.
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from simulator import content
from simulator.multipart import Upload
from simulator.wire.base import ApiError, Voice, json_answer, missing, text_of

if TYPE_CHECKING:
    from simulator.script import Answer

# One grey pixel.
PNG = base64.b64decode("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNoAAAAggCBd81ytgAAAABJRU5ErkJggg==")
_MOST = 10


def generate(document: Any, voice: Voice) -> Answer:
    prompt = document.get("prompt")
    if not isinstance(prompt, str) or not prompt:
        raise missing("prompt")
    return _images(document, voice, f"{voice.name} drew with {document['model']}: {prompt}")


def edit(document: Any, voice: Voice) -> Answer:
    prompt = document.get("prompt")
    if not isinstance(prompt, str) or not prompt:
        raise missing("prompt")
    return _images(document, voice, f"{voice.name} edited {_files(document)} with {document['model']}: {prompt}")


def vary(document: Any, voice: Voice) -> Answer:
    return _images(document, voice, f"{voice.name} varied {_files(document)} with {document['model']}")


def _files(document: Any) -> str:
    """The uploads by name and size. Raises ApiError when there is none."""
    sent = document.get("image", document.get("image[]"))
    uploads = [one for one in (sent if isinstance(sent, list) else [sent]) if isinstance(one, Upload)]
    if not uploads:
        raise missing("image")
    return ", ".join(f"{upload.filename} ({len(upload.data)} bytes)" for upload in uploads)


def _images(document: Any, voice: Voice, said: str) -> Answer:
    if document.get("stream"):
        raise ApiError(400, "Streaming is not supported for images here.", param="stream")
    count = _count(document.get("n"))
    model = document["model"]
    form = document.get("response_format") or ("b64_json" if model.startswith("gpt-image") else "url")
    if form not in ("url", "b64_json"):
        raise ApiError(400, f"Invalid value for 'response_format': '{form}'.", param="response_format")
    place = f"https://images.simulated.invalid/{quote(voice.name)}/{voice.ident('img-')}"
    encoded = base64.b64encode(PNG).decode()
    images = [
        {"revised_prompt": said, **({"b64_json": encoded} if form == "b64_json" else {"url": f"{place}-{index}.png"})}
        for index in range(count)
    ]
    answer: dict[str, Any] = {"created": voice.created(), "data": images}
    if model.startswith("gpt-image") and voice.behaviour.usage:
        prompt = content.tokens_of(text_of(document.get("prompt")))
        answer["usage"] = {
            "input_tokens": prompt,
            "input_tokens_details": {"image_tokens": 0, "text_tokens": prompt},
            "output_tokens": count,
            "total_tokens": prompt + count,
        }
    return json_answer(answer, voice.whole_delay(1))


def _count(value: Any) -> int:
    """How many are wanted; a form says it in digits."""
    if value is None:
        return 1
    number = int(value) if isinstance(value, str) and value.isdecimal() else value
    if not isinstance(number, int) or isinstance(number, bool) or not 1 <= number <= _MOST:
        raise ApiError(400, f"Invalid value for 'n': expected a whole number from 1 to {_MOST}.", param="n")
    return number
