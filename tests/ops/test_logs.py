"""Log lines: one shape for every process, and no secrets in them."""

from __future__ import annotations

import io
import json
import logging
from typing import TYPE_CHECKING, Any

import pytest
import structlog

from routing_project import logs

if TYPE_CHECKING:
    from collections.abc import Iterator

KEY = "sbx_" + "A1b2" * 12


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    root = logging.getLogger()
    before, level = list(root.handlers), root.level
    output = io.StringIO()
    logs.configure("gateway-1", "json", stream=output)
    yield output
    root.handlers[:] = before
    root.setLevel(level)
    structlog.reset_defaults()


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_line_names_the_process_and_keeps_its_fields(stream: io.StringIO) -> None:
    logs.get_logger("x").info("revision loaded", revision=7)
    (line,) = lines(stream)
    assert line["event"] == "revision loaded"
    assert line["revision"] == 7
    assert line["process"] == "gateway-1"
    assert line["level"] == "info"


def test_standard_library_loggers_give_the_same_shape(stream: io.StringIO) -> None:
    logging.getLogger("django.security").warning("Not Found: %s", "/nowhere")
    (line,) = lines(stream)
    assert line["event"] == "Not Found: /nowhere"
    assert line["process"] == "gateway-1"


@pytest.mark.parametrize(
    "secret",
    [KEY, "sk-proj-abcdefghijklmnop", "Bearer eyJhbGciOiJIUzI1NiJ9.e30.x", "postgres://app:hunter2hunter2@db/x"],
)
def test_a_secret_never_reaches_a_line_whatever_holds_it(stream: io.StringIO, secret: str) -> None:
    log = logs.get_logger("x")
    log.info(f"text {secret}")
    log.info("field", value=secret, deep={"list": [secret], "tuple": (secret,)}, raw=secret.encode())
    logging.getLogger("y").warning("argument %s", secret)
    try:
        raise ValueError(f"refused {secret}")
    except ValueError:
        log.exception("failed")
    token = secret.split("://")[-1].split("@")[0].split(" ")[-1]
    assert token not in stream.getvalue()
    assert stream.getvalue().count(logs.REDACTED) >= 7


def test_fields_named_like_secrets_are_redacted_whatever_they_hold(stream: io.StringIO) -> None:
    logs.get_logger("x").info("headers", headers={"Authorization": "plain", "cookie": "a=b"}, password="short")
    (line,) = lines(stream)
    assert line["headers"] == {"Authorization": logs.REDACTED, "cookie": logs.REDACTED}
    assert line["password"] == logs.REDACTED


def test_token_counts_are_not_secrets(stream: io.StringIO) -> None:
    logs.get_logger("x").info("usage", input_tokens=12, output_tokens=5)
    (line,) = lines(stream)
    assert line["input_tokens"] == 12
