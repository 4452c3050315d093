"""Log lines: one shape for every process, and no secrets in them."""

from __future__ import annotations

import base64
import io
import json
import logging
import sys
from contextlib import contextmanager
from pathlib import PurePath
from typing import TYPE_CHECKING, Any
from urllib.parse import quote
from uuid import UUID

import pytest
import structlog
from django.core.exceptions import DisallowedHost

from routing_project import log_lines, logs, redaction, request_ids

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

KEY = "sbx_" + "A1b2" * 12


@contextmanager
def configured(log_format: str) -> Iterator[io.StringIO]:
    root = logging.getLogger()
    before, level, hook = list(root.handlers), root.level, sys.excepthook
    output = io.StringIO()
    logs.configure("gateway-1", log_format, stream=output)
    yield output
    root.handlers[:] = before
    root.setLevel(level)
    sys.excepthook = hook
    structlog.reset_defaults()


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    with configured("json") as output:
        yield output


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


SECRETS = {
    "ours": KEY,
    "ours in base64": base64.b64encode(KEY.encode()).decode(),
    "ours percent-encoded": "".join(f"%{ord(each):02X}" for each in KEY),
    "OpenAI's": "sk-proj-abcdefghijkl7mnop",
    "AWS's id": "AKIAIOSFODNN7EXAMPLE",
    "a JSON web token": "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl",
    "a private key": "-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBg\n-----END PRIVATE KEY-----",
    "a webhook's signature": "sha256=" + "0f" * 32,
}
#: Text, and the part of it that is secret.
QUOTED = {
    "a bearer": ("Bearer eyJhbGci.e30.x0123", "eyJhbGci.e30.x0123"),
    "a header": ('AUTHORIZATION : Digest username="ada", response="77c1f2"', "77c1f2"),
    "a header of Python's": ("[(b'Authorization', b'opaque'), (b'host', b'x')]", "opaque"),
    "another scheme": ("proxy-authorization=Token%20opaque", "opaque"),
    "a basic login": ("Basic YWRhOmxvdmVsYWNl", "YWRhOmxvdmVsYWNl"),
    "a login in a URL": ("postgres://app:hunter2@hunter2@db/x", "hunter2"),
    "a token in a URL": ("https://0ab1c2d3@errors.example/7", "0ab1c2d3"),
    "a parameter": ("GET /v1/x?model=a&api_key=opaque&n=1", "opaque"),
    "another parameter": ("https://x.example/?token=opaque", "opaque"),
    "JSON": ('{"user": "ada", "password": "correct horse"}', "correct horse"),
    "JSON inside JSON": ('"{\\"client_secret\\": \\"opaque\\"}"', "opaque"),
    "a setting in quotes": ("password='correct horse \"battery\"'", "battery"),
    "YAML": ('password: "S3cretpassword12345"', "S3cret"),
    "YAML with words": ("api_key: 'correct horse'", "horse"),
    "a percent-encoded header": ("x-password%3A%20S3cretpassword12345", "S3cret"),
    "a setting": ("aws_secret_access_key=wJalrXUtnFEMI/K7MDENG/bPxRfiCY", "wJalrXUtnFEMI"),
    "a cookie": ("cookie: csrftoken=opaque; sessionid=opaque", "opaque"),
    "a chat's webhook": ("https://hooks.slack.com/services/T0/B0/opaque", "opaque"),
}


@pytest.mark.parametrize("log_format", ["json", "console"])
@pytest.mark.parametrize(
    ("text", "secret"),
    [*((secret, secret) for secret in SECRETS.values()), *QUOTED.values()],
    ids=[*SECRETS, *QUOTED],
)
def test_a_secret_never_reaches_a_line_whatever_holds_it(log_format: str, text: str, secret: str) -> None:
    with configured(log_format) as stream:
        log = logs.get_logger("x")
        log.info(f"text {text}")
        log.info("field", value=text, deep={"list": [text], "tuple": (text, 1, 2)}, raw=text.encode(), key={text: 1})
        log.info("object", error=ValueError(text), several={text})
        logging.getLogger("y").warning("argument %s", text)
        try:
            raise ValueError(f"refused {text}")
        except ValueError:
            log.exception("failed")
    told = stream.getvalue()
    assert secret not in told
    assert secret.replace("\n", "\\n") not in told
    assert told.count(logs.REDACTED) >= 10


@pytest.mark.parametrize("before", ["%20", "%22", "%3D", "%253d", "\\n", "\\t", "\\x1b", "\\u2028", "_", "=", "("])
@pytest.mark.parametrize(
    "secret", [*SECRETS.values(), "Bearer opaque-opaque", "Basic YWRhOmxvdmVsYWNl"], ids=[*SECRETS, "bearer", "basic"]
)
def test_a_secret_is_found_whatever_stands_before_it(before: str, secret: str) -> None:
    told = redaction.redact_text(f"/a?next=b{before}{secret} c")
    assert secret.split()[-1] not in told
    assert told.startswith(f"/a?next=b{before}"), "only the secret is taken out"
    assert told.endswith(" c")


def test_what_this_process_knows_to_be_secret_is_found_in_every_form(stream: io.StringIO) -> None:
    secret = "correct horse/battery+staple"
    redaction.know([secret, "short"])
    try:
        forms = [secret, quote(secret, safe=""), secret.encode().hex()]
        for before in ("", "a", "ab", "abc"):
            encoded = before.encode() + secret.encode() + b":z"
            forms += [base64.b64encode(encoded).decode(), base64.urlsafe_b64encode(encoded).decode()]
        for form in forms:
            logs.get_logger("x").info(f"the form {form}.")
        logs.get_logger("x").info("in short")
    finally:
        redaction.know([])
    told = [line["event"] for line in lines(stream)]
    assert all(logs.REDACTED in event and len(event) <= len("the form abcd[redacted]abcd.") for event in told[:-1]), (
        told
    )
    assert told[-1] == "in short"


def test_ordinary_words_are_left_alone(stream: io.StringIO) -> None:
    told = [
        "access key 'deploy' has spent 80 % of its 5.00 US dollars of this usd_day",
        "wrong password: must be at least 10 characters",
        "Basic authentication is not offered, and the token is missing",
        "input_tokens=12 max_tokens=5 at http://127.0.0.1:8000/admin/",
        "task-sketch of a disk-based masked-language model, %20skip and \\nsketch, next_bearer of news",
        "SIGNALBOX_METRICS_TOKEN: set it, or SIGNALBOX_METRICS_NETWORKS",
    ]
    for each in told:
        logs.get_logger("x").info(each)
    assert [line["event"] for line in lines(stream)] == told


def test_fields_named_like_secrets_are_redacted_whatever_they_hold(stream: io.StringIO) -> None:
    logs.get_logger("x").info("headers", headers={"Authorization": "plain", "cookie": "a=b"}, password="short")
    (line,) = lines(stream)
    assert line["headers"] == {"Authorization": logs.REDACTED, "cookie": logs.REDACTED}
    assert line["password"] == logs.REDACTED


def test_token_counts_are_not_secrets(stream: io.StringIO) -> None:
    logs.get_logger("x").info("usage", input_tokens=12, output_tokens=5)
    (line,) = lines(stream)
    assert line["input_tokens"] == 12


def test_whatever_a_telling_name_holds_is_redacted(stream: io.StringIO) -> None:
    logs.get_logger("x").info("fields", token="opaque", api_keys=["opaque"], cookies={"any": "opaque"})
    logs.get_logger("x").info("headers", headers=[("X-Api-Key", "opaque"), [b"authorization", b"opaque"]])
    assert "opaque" not in stream.getvalue()


# -- valid, whatever is logged -------------------------------------------------------------------------
class Broken:
    def __str__(self) -> str:
        raise RuntimeError("no words")


ODD: dict[str, Any] = {
    "bytes": b"\xff\x00",
    "nan": float("nan"),
    "infinity": [float("-inf")],
    "set": {3, 1, 2},
    "huge": 10**400,
    "surrogate": "a\ud800b",
    "control": "\x00\x1b[31m\u2028\x9b",
    "keys": {1: "a", None: "b", (1, 2): "c", b"d": "d"},
    "object": PurePath("/x"),
    "broken": Broken(),
    "class": Broken,
}


@pytest.mark.parametrize("value", ODD.values(), ids=list(ODD))
def test_a_line_is_valid_json_whatever_is_logged(stream: io.StringIO, value: Any) -> None:
    cyclic: list[Any] = [value]
    cyclic.append(cyclic)
    logs.get_logger("x").warning(value, value=value, inside={"list": [value, (value,)]}, cyclic=cyclic)
    logging.getLogger("y").warning("%s", cyclic)
    told = stream.getvalue()
    assert told.isascii()
    assert told.count("\n") == 2

    def no_constant(name: str) -> None:
        raise AssertionError(f"{name} is no JSON")

    first, second = (json.loads(line, parse_constant=no_constant) for line in told.splitlines())
    assert first["level"] == second["level"] == "warning"
    json.dumps(first).encode().decode("utf-8")
    assert "\ud800" not in first["event"]


def test_what_cannot_be_formatted_is_named_and_not_quoted() -> None:
    with configured("json") as stream:  # in here, so that pytest's own handlers are not asked
        logging.getLogger("y").warning("%d of them", KEY)
        logging.getLogger("y").warning("%s", Broken())
    first, second = lines(stream)
    assert first["event"].startswith("a line could not be written: TypeError at ")
    assert second["event"].startswith("a line could not be written: RuntimeError at ")
    assert KEY not in stream.getvalue()


FORGED = "x\r\n2026-11-30T08:00:00Z [info] all is well\x1b[2J\x9b1A\u2028\u202ey"


def test_no_text_pretends_to_be_a_second_line_or_commands_a_terminal() -> None:
    with configured("console") as stream:
        log = logs.get_logger("x")
        log.info(FORGED, field=FORGED, deep=[FORGED], **{FORGED: 1})
        try:
            raise ValueError(FORGED)
        except ValueError:
            log.exception("failed")
    first, second, *trace = stream.getvalue().split("\n")
    assert "all is well" in first
    assert "failed" in second
    assert trace.pop() == ""
    assert len(trace) > 3
    assert all(line.startswith("    | ") for line in trace)
    assert stream.getvalue().replace("\n", "").isprintable()


@pytest.mark.parametrize("render", [log_lines.as_json, log_lines.for_people])
@pytest.mark.parametrize(
    "field",
    [
        "x" * 1_000_000,
        "\x00\u00e9" * 100_000,
        ["é" * 1000] * 2000,
        {f"name {number}": "y" * 500 for number in range(2000)},
        {"a": {"b": [["z" * 900] * 40] * 40}},
    ],
    ids=["text", "what grows when it is escaped", "list", "fields", "tree"],
)
def test_a_line_has_a_bounded_size_and_keeps_who_says_it_and_of_what(render: Any, field: Any) -> None:
    event = {"event": f"began {field}", "process": "gateway-1", "level": "info", "request_id": "r-1", "field": field}
    line = log_lines.line({**event, "exception": f"Traceback\n{field}\nValueError: the end"}, render)
    assert len(line.encode()) < log_lines.MAX_LINE
    assert "r-1" in line
    assert "began" in line
    assert "shortened" in line


def test_of_a_long_traceback_the_end_is_kept(stream: io.StringIO) -> None:
    def deep(left: int) -> None:
        if not left:
            raise ValueError("what went wrong " + "x" * 100)
        [deep][0](left - 1) if left % 2 else deep(left - 1)

    try:
        deep(400)
    except ValueError:
        logs.get_logger("x").exception("failed")
    (line,) = lines(stream)
    assert line["exception"].endswith("ValueError: what went wrong " + "x" * 100)
    assert line["exception"].startswith("Traceback")


def test_no_part_of_a_secret_is_left_where_a_text_is_cut(stream: io.StringIO) -> None:
    for length in range(31_980, 32_080, 5):
        logs.get_logger("x").info("long", text="y " * (length // 2) + KEY + " " + "z " * 20_000)
        logs.get_logger("x").info("long", text="y " * 20_000 + KEY + " " + "z " * (length // 2))
    assert KEY[4:12] not in stream.getvalue()
    assert stream.getvalue().count("shortened") == 40


# -- what is on every line -------------------------------------------------------------------------------
def test_lines_of_a_request_have_its_id_and_those_after_it_do_not(stream: io.StringIO) -> None:
    with request_ids.bound("r-1"):
        logs.get_logger("x").info("in it")
        logging.getLogger("y").warning("in it")
        logging.getLogger("y").warning("of another", extra={"request_id": "r-2"})
    logs.get_logger("x").info("after it")
    assert [line.get("request_id") for line in lines(stream)] == ["r-1", "r-1", "r-2", None]


def test_lines_name_the_revision_once_there_is_one(stream: io.StringIO, data_dir: Path) -> None:
    path = data_dir / "revision.json"
    logs.follow_revision(logs.OnDisk(path).number)
    try:
        logs.get_logger("x").info("before the first")
        for content in ('{"number": 1}', '{"number": 2, "providers": []}', "{broken"):
            (data_dir / "new").write_text(content)
            (data_dir / "new").replace(path)
            logging.getLogger("y").warning("told")
        path.unlink()
        logs.get_logger("x").info("of another one", revision=7)
    finally:
        logs.follow_revision(lambda: None)
    assert [line.get("revision") for line in lines(stream)] == [None, 1, 2, 2, 7]


def test_a_name_that_pages_do_not_answer_to_is_one_line_and_a_scanner_has_few(stream: io.StringIO) -> None:
    refusals = logging.getLogger("django.security.DisallowedHost")

    def refuse(number: int, at: float) -> None:
        error = DisallowedHost(f"Invalid HTTP_HOST header: 'name-{number}.example'.")
        told = {"name": refusals.name, "levelno": logging.ERROR, "levelname": "ERROR", "msg": str(error)}
        refusals.handle(logging.makeLogRecord({**told, "exc_info": (DisallowedHost, error, None), "created": at}))

    for number in (1, 1, *range(1, 100)):
        refuse(number, 1000.0 + number)
    told = lines(stream)
    refuse(1, 4700.0)
    assert len(lines(stream)) == len(told) + 1, "in the next hour it is said again"
    assert [line["event"] for line in told][:2] == [
        "Invalid HTTP_HOST header: 'name-1.example'.",
        "Invalid HTTP_HOST header: 'name-2.example'.",
    ]
    assert len(told) == 20
    assert {line["level"] for line in told} == {"warning"}
    assert "Traceback" not in stream.getvalue()


def test_djangos_request_is_not_quoted(stream: io.StringIO) -> None:
    logging.getLogger("django.security").warning("no", extra={"request": "<WSGIRequest: GET '/?q=opaque'>"})
    assert "opaque" not in stream.getvalue()
    assert lines(stream)[0]["logger"] == "django.security"


# -- whose request it is ---------------------------------------------------------------------------------
@pytest.mark.parametrize("value", ["r-1", "0197a1f0-0000-7000-8000-000000000000", "x" * 64, "a b/c:d=e"])
def test_a_plain_id_of_the_clients_is_taken_over(value: str) -> None:
    assert request_ids.of_headers([(b"x-request-id", value.encode())]) == value


@pytest.mark.parametrize(
    "values", [[], [""], ["x" * 65], ["é"], ["a\tb"], ["a\x1b[31m"], ["a", "b"], [KEY], ["sk-abcdefghijklmnopqrs1"]]
)
def test_any_other_is_replaced_by_one_of_ours(values: list[str]) -> None:
    made = request_ids.of_headers([(b"x-request-id", value.encode()) for value in values])
    assert made not in values
    assert UUID(made).version == 7
