"""Commands to copy: a request to a profile, by curl and by the SDK of its wire format, with the real address. A profile
of generic providers alone gets a service request."""

from __future__ import annotations

import json
import shlex
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

    from django.http import HttpRequest

KEY = "$SIGNALBOX_KEY"


class Snippets(NamedTuple):
    curl: str
    python: str
    service: bool = False  # its path is a placeholder


def snippets(request: HttpRequest, slug: str, wires: Iterable[str], model: str, key: str = KEY) -> Snippets:
    """``wires`` of the profile's targets decide the format; ``key`` is a real value right after creation only."""
    base = request.build_absolute_uri(f"/p/{slug}")
    wires = set(wires)
    if wires == {"generic"}:
        return _service(request.build_absolute_uri(f"/svc/{slug}/path"), key)
    if "anthropic" in wires and "openai" not in wires:
        return _anthropic(base, model or "claude-sonnet-4-5", key)
    return _openai(f"{base}/v1", model or "gpt-4o", key)


def _curl(url: str, key: str, headers: Iterable[str] = (), body: object = None) -> str:
    # The placeholder is expanded by the shell, so it stands in double quotes.
    lines = [
        f"curl {shlex.quote(url)}",
        f'-H "Authorization: Bearer {key}"',
        *(f"-H {shlex.quote(header)}" for header in headers),
    ]
    if body is not None:
        lines.append(f"-d {shlex.quote(json.dumps(body, ensure_ascii=False))}")
    return " \\\n  ".join(lines)


def _python_key(key: str) -> str:
    return 'os.environ["SIGNALBOX_KEY"]' if key == KEY else json.dumps(key)


def _openai(base: str, model: str, key: str) -> Snippets:
    body = {"model": model, "messages": [{"role": "user", "content": "Hello"}]}
    return Snippets(
        _curl(f"{base}/chat/completions", key, ["Content-Type: application/json"], body),
        ("import os\n\n" if key == KEY else "")
        + "from openai import OpenAI\n\n"
        + f"client = OpenAI(base_url={json.dumps(base)}, api_key={_python_key(key)})\n"
        + "answer = client.chat.completions.create(\n"
        + f"    model={json.dumps(model)},\n"
        + '    messages=[{"role": "user", "content": "Hello"}],\n'
        + ")\nprint(answer.choices[0].message.content)",
    )


def _anthropic(base: str, model: str, key: str) -> Snippets:
    body = {"model": model, "max_tokens": 100, "messages": [{"role": "user", "content": "Hello"}]}
    headers = ["Content-Type: application/json", "anthropic-version: 2023-06-01"]
    return Snippets(
        _curl(f"{base}/v1/messages", key, headers, body),
        ("import os\n\n" if key == KEY else "")
        + "from anthropic import Anthropic\n\n"
        + f"client = Anthropic(base_url={json.dumps(base)}, api_key={_python_key(key)})\n"
        + "answer = client.messages.create(\n"
        + f"    model={json.dumps(model)},\n"
        + "    max_tokens=100,\n"
        + '    messages=[{"role": "user", "content": "Hello"}],\n'
        + ")\nprint(answer.content[0].text)",
    )


def _service(url: str, key: str) -> Snippets:
    return Snippets(
        _curl(url, key),
        ("import os\n" if key == KEY else "")
        + "from urllib.request import Request, urlopen\n\n"
        + f"request = Request({json.dumps(url)})\n"
        + f'request.add_header("Authorization", "Bearer " + {_python_key(key)})\n'
        + "print(urlopen(request).read())",
        service=True,
    )


def example_model(targets: Iterable[tuple[str | None, dict[str, str] | None]]) -> str:
    """A model name that works: the first that a target fixes or its provider's list names. "" = any will do."""
    for model, model_map in targets:
        if model:
            return model
        for name in model_map or ():
            if not set(name) & set("*?["):
                return name
    return ""
