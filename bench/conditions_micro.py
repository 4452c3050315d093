"""Micro-benchmark of conditions: what matching a rule costs, and what a request's facts cost the first time.

    .venv/bin/python -m bench.conditions_micro [--quick]

Prints Markdown tables of microseconds, p50 and p99 over batches. "Warm": the facts have been worked out, as they are
for every rule after the first that asks for them. "Cold": a new request each time, body and all. Figures move with the
machine; compare only what one run printed.
"""

from __future__ import annotations

import argparse
import json
from functools import partial
from typing import TYPE_CHECKING, Any

from bench.micro import measure
from routes.engine import conditions
from routes.engine.facts import Facts, KeyFacts, ScenarioSettings, record

if TYPE_CHECKING:
    from collections.abc import Callable

    from routes.engine.conditions import Condition

#: Kilobytes of the chat bodies: one question, a long talk, a coding agent at work.
SIZES = (1, 32, 256)
SETTINGS = ScenarioSettings()
KEY = KeyFacts("app", frozenset({"internal"}))
HEADERS = {b"x-team": b"search", b"user-agent": b"OpenAI/Python 2.0"}

#: All hold, so that no clause is skipped.
CLAUSES: tuple[dict[str, Any], ...] = (
    {"fact": "tokens", "op": "gte", "value": 100},
    {"fact": "model", "op": "prefix", "value": "gpt-4"},
    {"fact": "stream", "op": "is", "value": True},
    {"fact": "scenario", "op": "not_in", "value": ["background", "image"]},
    {"fact": "key.tag", "op": "eq", "value": "internal"},
    {"fact": "model", "op": "glob", "value": "gpt-*"},
    {"fact": "header.x-team", "op": "regex", "value": "^(search|ads)$"},
    {"fact": "client_ip", "op": "in_cidr", "value": ["10.0.0.0/8", "192.168.0.0/16"]},
    {"fact": "time", "op": "within", "value": {"start": "00:00", "end": "24:00", "timezone": "Europe/Berlin"}},
    {"fact": "percent", "op": "lt", "value": 100},
)
SINGLE: tuple[tuple[str, list[dict[str, Any]]], ...] = (
    ("tokens", [{"fact": "tokens", "op": "gte", "value": 100}]),
    ("scenario", [{"fact": "scenario", "op": "ne", "value": "image"}]),
    ("latest_user_text contains", [{"fact": "latest_user_text", "op": "contains", "value": "deploy"}]),
    ("user_text regex", [{"fact": "user_text", "op": "regex", "value": "(?i)deploy|release"}]),
    ("model (no body read)", [{"fact": "model", "op": "eq", "value": "gpt-4o"}]),
)


def _figures(call: Callable[[], object], batches: int, batch: int) -> str:
    """``p50 / p99`` microseconds per call."""
    p50, p99 = measure(call, batches, batch)
    return f"{p50:.2f} / {p99:.2f}"


def chat(kilobytes: int) -> bytes:
    """A conversation of that size, in messages of about 800 bytes, with tools from 32 KB on."""
    words = "Please have a look at the function below and tell me what it does when the list is empty. " * 9
    body: dict[str, Any] = {"model": "gpt-4o", "stream": True, "messages": [{"role": "system", "content": "Be brief."}]}
    if kilobytes >= 32:
        parameters = {"type": "object", "properties": {"path": {"type": "string"}, "limit": {"type": "integer"}}}
        function = {"name": "look_up", "description": words[:300], "parameters": parameters}
        body["tools"] = [{"type": "function", "function": function} for _ in range(10)]
    while len(json.dumps(body)) < kilobytes * 1024 - 900:
        role = "user" if len(body["messages"]) % 2 else "assistant"
        body["messages"].append({"role": role, "content": [{"type": "text", "text": words}]})
    body["messages"].append(
        {"role": "user", "content": words[: max(100, kilobytes * 1024 - len(json.dumps(body)) - 40)]}
    )
    return json.dumps(body).encode()


def request(body: bytes) -> Facts:
    return Facts(
        operation="chat",
        model="gpt-4o",
        route_id="01890a5d-ac96-774b-bcce-b302099a8057",
        wall=1_780_000_000.0,
        body=body,
        stream=True,
        headers=HEADERS,
        key=KEY,
        client_ip="10.1.2.3",
        scenario=SETTINGS,
    )


def ask(condition: Condition, body: bytes) -> bool:
    """The first question to a new request."""
    return condition.matches(request(body), None)


def warm(batches: int) -> None:
    print("| matching on warm facts, µs p50 / p99 | |\n|---|---|")
    facts = request(chat(1))
    for count in (1, 3, 10):
        condition = conditions.parse({"all": list(CLAUSES[:count])})
        assert condition.matches(facts, None)
        figures = _figures(partial(condition.matches, facts, None), batches, 200)
        print(f"| {count} clause{'s' if count > 1 else ''} | {figures} |")
    rules = conditions.parse({"all": list(CLAUSES)}).tree
    print(f"| parse and compile 10 clauses | {_figures(partial(conditions.parse, rules), batches // 5, 10)} |")


def cold(batches: int) -> None:
    print("\n| cold facts, µs p50 / p99 | " + " | ".join(f"{size} KB chat" for size in SIZES) + " |")
    print("|---" * (len(SIZES) + 1) + "|")
    bodies = [chat(size) for size in SIZES]
    rows: list[tuple[str, Callable[[bytes], object]]] = [("make facts, ask nothing", request)]
    for label, clauses in SINGLE:
        rows.append((label, partial(ask, conditions.parse({"all": clauses}))))
    rows.append(("10 clauses", partial(ask, conditions.parse({"all": list(CLAUSES)}))))
    rows.append(("record, body not read", lambda body: record(request(body))))
    rows.append(("record, body read", lambda body: record(request(body), cheap=len(body))))
    for label, call in rows:
        cells = [_figures(partial(call, body), batches, max(1, 20_000 // len(body))) for body in bodies]
        print(f"| {label} | {' | '.join(cells)} |")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Micro-benchmark of conditions.")
    parser.add_argument("--quick", action="store_true", help="a tenth of the rounds")
    rounds = 30 if parser.parse_args().quick else 300
    warm(rounds)
    cold(rounds)
