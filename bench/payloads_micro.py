"""What copies of payloads cost the gateway per request: ``python -m bench.payloads_micro``.

Microseconds, the best of 200 short rounds: what it costs when nothing else runs. ``off`` is the record of a request
without copies, beside which the others are to be seen; of a stream also what hands on its events.
"""

from __future__ import annotations

import base64
import json
import tempfile
import time
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

from prometheus_client import CollectorRegistry

from bench.micro import best
from history.ids import new_id
from history.journal import JournalWriter
from routes.gateway.auth import AccessKey
from routes.gateway.exchange import Exchange
from routes.gateway.metrics import Metrics
from routes.gateway.payloads.recorder import PayloadRecorder
from routes.gateway.recorder import Recorder
from tests.documents import access_key

if TYPE_CHECKING:
    from collections.abc import Callable

ROUNDS, CALLS = 200, 4
KEY = AccessKey.from_document(access_key("sbx_" + "bench" * 8))
WORDS = "the line is clear and the signal at the junction shows green so the next train may pass over the points "
HEADERS = [(b"content-type", b"application/json")]
EVENTS = [(b"content-type", b"text/event-stream")]


def chat(size: int, *more: Any) -> bytes:
    text = (WORDS * (size // len(WORDS) + 1))[:size]
    content: Any = [{"type": "text", "text": text}, *more]
    return json.dumps({"model": "gpt-4o", "messages": [{"role": "user", "content": content}]}).encode()


def event(number: int) -> bytes:
    choice = {"index": 0, "delta": {"content": f" word{number}"}, "logprobs": None, "finish_reason": None}
    chunk = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "model": "gpt-4o", "choices": [choice]}
    return b"data: " + json.dumps(chunk, separators=(",", ":")).encode() + b"\n\n"


def exchange(body: bytes) -> Exchange:
    made = Exchange(new_id().bytes, "", time.monotonic(), 0, "POST", "/v1/chat/completions", b"", HEADERS)
    made.key, made.body, made.received = KEY, body, made.accepted
    return made


async def _nowhere(message: Any) -> None: ...


def finished(recorder: Recorder, body: bytes, answer: bytes) -> None:
    """A request that is answered whole."""
    made = exchange(body)
    if recorder.watch is not None:
        recorder.watch(made, _nowhere)
    recorder.finish(made, status="routed", http_status=200, fields=HEADERS, rest=answer)


def streamed(recorder: Recorder, body: bytes, events: list[bytes]) -> None:
    """One that is answered by events."""
    made = exchange(body)
    send: Any = _nowhere if recorder.watch is None else recorder.watch(made, _nowhere)
    send({"type": "http.response.start", "status": 200, "headers": EVENTS}).close()
    for each in events:
        send({"type": "http.response.body", "body": each, "more_body": True}).close()
    recorder.finish(made, status="routed", http_status=200, rest=b"data: [DONE]\n\n")


def main() -> None:
    image = base64.b64encode(Random(1).randbytes(1_500_000)).decode()
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + image}}
    with tempfile.TemporaryDirectory() as folder:
        journal = JournalWriter(Path(folder), 64 << 30)
        metrics = Metrics("bench", CollectorRegistry())
        off = Recorder(journal, metrics)
        on = {policy: PayloadRecorder(journal, metrics, policy, lambda _: None) for policy in ("failures", "all")}
        answer = chat(1_000)
        cases: list[tuple[str, Callable[[Recorder], object]]] = [
            ("chat of 1 KB, answer of 1 KB", lambda to: finished(to, chat_1k, answer)),
            ("chat of 20 KB, answer of 1 KB", lambda to: finished(to, chat_20k, answer)),
            ("chat of 1 MB, answer of 1 KB", lambda to: finished(to, chat_1m, answer)),
            ("chat with a picture of 1.5 MB, answer of 1 KB", lambda to: finished(to, pictured, answer)),
            ("chat of 1 KB, stream of 100 events", lambda to: streamed(to, chat_1k, events[:100])),
            ("chat of 1 KB, stream of 1,000 events", lambda to: streamed(to, chat_1k, events)),
        ]
        chat_1k, chat_20k, chat_1m, pictured = chat(1_000), chat(19_000), chat(1_000_000), chat(500, picture)
        events = [event(number) for number in range(1000)]
        print(f"{'µs per request':<48}{'off':>8}{'failures':>10}{'all':>8}")
        for name, call in cases:
            figures = [
                best(lambda to=to, call=call: call(to), ROUNDS, CALLS) for to in (off, on["failures"], on["all"])
            ]
            print(f"{name:<48}{figures[0]:>8.1f}{figures[1]:>10.1f}{figures[2]:>8.1f}")
            journal.close()
            for path in Path(folder).glob("*.seg"):
                path.unlink()


if __name__ == "__main__":
    main()
