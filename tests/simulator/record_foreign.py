"""Record what a foreign mock answers, so that the simulated upstream can be compared with it offline.

    python -m tests.simulator.record_foreign [VERSION]

Needs Node and npm and the network; the tests need only the file it writes, `foreign_aimock.json`. The mock is aimock
(MIT, https://github.com/CopilotKit/aimock), which its authors check daily against the real APIs.
"""

from __future__ import annotations

import http.client
import json
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

PACKAGE = "@copilotkit/aimock"
RECORDED = Path(__file__).with_name("foreign_aimock.json")
FIXTURES = {
    "fixtures": [
        {
            "match": {"userMessage": "the weather"},
            "response": {"toolCalls": [{"name": "get_weather", "arguments": {"city": "Bern"}}]},
        },
        {"match": {"userMessage": "hello"}, "response": {"content": "Hello there, how are you today?"}},
    ]
}
HELLO = [{"role": "user", "content": "hello"}]
WEATHER = [{"role": "user", "content": "the weather"}]
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
CHAT_TOOL = {"type": "function", "function": {"name": "get_weather", "parameters": SCHEMA}}
MESSAGE_TOOL = {"name": "get_weather", "input_schema": SCHEMA}
RESPONSE_TOOL = {"type": "function", "name": "get_weather", "parameters": SCHEMA}
USAGE = {"stream_options": {"include_usage": True}}

CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "chat": ("/v1/chat/completions", {"model": "gpt-4o", "messages": HELLO}),
    "chat stream": ("/v1/chat/completions", {"model": "gpt-4o", "messages": HELLO, "stream": True}),
    "chat stream with usage": ("/v1/chat/completions", {"model": "gpt-4o", "messages": HELLO, "stream": True, **USAGE}),
    "chat tools": ("/v1/chat/completions", {"model": "gpt-4o", "messages": WEATHER, "tools": [CHAT_TOOL]}),
    "chat tools stream": (
        "/v1/chat/completions",
        {"model": "gpt-4o", "messages": WEATHER, "tools": [CHAT_TOOL], "stream": True},
    ),
    "responses": ("/v1/responses", {"model": "gpt-4o", "input": "hello"}),
    "responses stream": ("/v1/responses", {"model": "gpt-4o", "input": "hello", "stream": True}),
    "responses tools stream": (
        "/v1/responses",
        {"model": "gpt-4o", "input": "the weather", "tools": [RESPONSE_TOOL], "stream": True},
    ),
    "embeddings": ("/v1/embeddings", {"model": "text-embedding-3-small", "input": ["hello"], "dimensions": 4}),
    "messages": ("/v1/messages", {"model": "claude", "max_tokens": 99, "messages": HELLO}),
    "messages stream": ("/v1/messages", {"model": "claude", "max_tokens": 99, "messages": HELLO, "stream": True}),
    "messages tools": (
        "/v1/messages",
        {"model": "claude", "max_tokens": 99, "messages": WEATHER, "tools": [MESSAGE_TOOL]},
    ),
    "messages tools stream": (
        "/v1/messages",
        {"model": "claude", "max_tokens": 99, "messages": WEATHER, "tools": [MESSAGE_TOOL], "stream": True},
    ),
}


def post(port: int, path: str, document: dict[str, Any]) -> dict[str, Any]:
    """Status, content type and body of one answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    headers = {"content-type": "application/json", "anthropic-version": "2023-06-01", "x-api-key": "k"}
    connection.request("POST", path, json.dumps(document), {**headers, "authorization": "Bearer k"})
    response = connection.getresponse()
    answer = {
        "status": response.status,
        "content_type": response.headers["content-type"].partition(";")[0],
        "body": response.read().decode(),
    }
    connection.close()
    return answer


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def wait_until_listening(port: int) -> None:
    for _ in range(200):
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            return
        except ConnectionRefusedError:
            time.sleep(0.05)
    raise TimeoutError("the mock does not listen")


def record(version: str) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        install = ["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", f"{PACKAGE}@{version}"]
        subprocess.run(install, cwd=folder, check=True)
        package = folder / "node_modules" / PACKAGE
        about = json.loads((package / "package.json").read_text())
        (folder / "fixtures.json").write_text(json.dumps(FIXTURES))
        port = free_port()
        command = ["node", str(package / "dist" / "cli.js"), "--port", str(port), "--fixtures", "fixtures.json"]
        child = subprocess.Popen(command, cwd=folder)
        try:
            wait_until_listening(port)
            answers = {
                case: {"path": path, "request": document, "answer": post(port, path, document)}
                for case, (path, document) in CASES.items()
            }
        finally:
            child.terminate()
            child.wait()
    recorded = {"package": PACKAGE, "version": about["version"], "licence": about["license"], "cases": answers}
    RECORDED.write_text(json.dumps(recorded, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    record(sys.argv[1] if len(sys.argv) > 1 else "latest")
