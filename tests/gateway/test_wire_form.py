"""Reading uploads: every field where an independent reader finds it, nothing else touched, and no second reading."""

from __future__ import annotations

import time
from email import message_from_bytes
from email.policy import HTTP
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routes.gateway.wire import form
from routes.gateway.wire.form import FormError

#: Many of a kind.
pytestmark = pytest.mark.thorough

names = st.sampled_from(["file", "image", "image[]", "prompt", "mask", "n", "modell", "Model", "filename", "ö"])
#: Pieces of which files are made: all that looks like a boundary and is none.
pieces = st.one_of(
    st.binary(max_size=40),
    st.sampled_from(
        [b"\r\n", b"\n", b"\r", b"--", b"\r\n--", b"\r\n--B", b"x--Bound", b"\r\n\r\n", b"-\r\n--Bou", b'name="model"']
    ),
)


def part(name: str, value: bytes, more: str = "") -> bytes:
    return f'Content-Disposition: form-data; name="{name}"{more}\r\n\r\n'.encode() + value


def form_of(*parts: bytes, boundary: bytes = b"Bound", preamble: bytes = b"", epilogue: bytes = b"\r\n") -> bytes:
    line = b"--" + boundary
    return preamble + b"".join(line + b"\r\n" + each + b"\r\n" for each in parts) + line + b"--" + epilogue


def read_by_another(body: bytes, content_type: bytes) -> dict[str, list[bytes]]:
    """The same with the standard library's reader of MIME messages."""
    message: Any = message_from_bytes(b"Content-Type: " + content_type + b"\r\n\r\n" + body, policy=HTTP)
    assert not message.defects, message.defects
    found: dict[str, list[bytes]] = {}
    for each in message.get_payload():
        name = each.get_param("name", header="content-disposition")
        found.setdefault(name, []).append(each.get_payload(decode=True))
    return found


@given(
    st.lists(st.tuples(names, st.lists(pieces, max_size=8).map(b"".join), st.booleans()), max_size=5),
    st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=40),
    st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=40),
    st.integers(0, 5),
    st.sampled_from([b"Bound", b"----WebKitFormBoundary7MA4", b"a'()+_,-./:=?b"]),
    st.sampled_from([b"", b"\r\n", b"preamble\r\n"]),
)
def test_the_model_is_found_and_replaced_and_every_other_byte_stays(
    fields: list[tuple[str, bytes, bool]], model: str, other: str, place: int, boundary: bytes, preamble: bytes
) -> None:
    parts = [part(name, value, '; filename="a; name=b.png"' if file else "") for name, value, file in fields]
    parts.insert(place, part("model", model.encode()))
    body = form_of(*parts, boundary=boundary, preamble=preamble)
    found = form.read(body, b'multipart/form-data; boundary="' + boundary + b'"')

    assert found.text(body, "model") == model
    parts[min(place, len(fields))] = part("model", other.encode())
    assert found.replaced(body, "model", other) == form_of(*parts, boundary=boundary, preamble=preamble)


@given(st.lists(st.tuples(names, st.binary(max_size=60)), max_size=5), st.none() | st.just("gpt-image-1"))
def test_what_is_sent_on_says_the_same_to_another_reader(fields: list[tuple[str, bytes]], model: str | None) -> None:
    # Its line ends are anybody's, and it takes the last one for its own.
    fields = [(name, value.replace(b"\r", b"_").replace(b"\n", b"_")) for name, value in fields]
    parts = [part(name.replace("ö", "o"), value, '; filename="a.png"') for name, value in fields]
    if model is not None:
        parts.append(part("model", model.encode()))
    body = form_of(*parts, part("n", b"1"))
    content_type = b"multipart/form-data; boundary=Bound"
    before = read_by_another(body, content_type)

    after = read_by_another(form.read(body, content_type).replaced(body, "model", "up/stream"), content_type)

    assert after == {**before, "model": [b"up/stream"]}


@pytest.mark.parametrize(
    "content_type",
    [
        b"multipart/form-data; boundary=Bound",
        b'multipart/form-data; boundary="Bound"',
        b'Multipart/Form-Data;BOUNDARY="Bound"; charset=utf-8',
        b"multipart/form-data ; charset=utf-8 ; boundary=Bound ;",
    ],
)
def test_boundaries_are_taken_quoted_and_not(content_type: bytes) -> None:
    body = form_of(part("model", b"m"))

    assert form.read(body, content_type).text(body, "model") == "m"


@pytest.mark.parametrize(
    "content_type",
    [
        b"multipart/form-data",
        b"multipart/form-data; boundary=",
        b'multipart/form-data; boundary=""',
        b"multipart/form-data; boundary=a; boundary=Bound",
        b"multipart/form-data; boundary=a, multipart/form-data; boundary=Bound",
        b"multipart/form-data; xboundary=Bound",
        b'multipart/form-data; charset="; boundary=Bound"',
        b"multipart/form-data; boundary=" + b"B" * 71,
        b'multipart/form-data; boundary="Bound',
        b"multipart/form-data; boundary=other",
    ],
)
def test_a_content_type_without_one_clear_boundary_is_refused(content_type: bytes) -> None:
    with pytest.raises(FormError):
        form.read(form_of(part("model", b"m")), content_type)


MODEL = part("model", b"m")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"--Bound",
        b"--Bound--extra",
        form_of(MODEL)[:-4],
        form_of(MODEL)[:40],
        form_of(MODEL, b"no head at all"),
        form_of(MODEL, b"\r\nno head"),
        form_of(MODEL, b"Content-Type: text/plain\r\n\r\nx"),
        form_of(MODEL, b"Content-Disposition: attachment; name=a\r\n\r\nx"),
        form_of(MODEL, b"Content-Disposition: form-data\r\n\r\nx"),
        form_of(MODEL, b'Content-Disposition: form-data; name="a\r\n\r\nx'),
        form_of(MODEL, b"X: " + b"y" * 9000 + b"\r\n" + part("a", b"x")),
        form_of(*[part("a", b"")] * 1001),
        form_of(part("model", b"\xff")),
        # what another reader would take for a second model
        form_of(MODEL, part("model", b"x")),
        form_of(MODEL, part("model", b"x", '; filename="a"')),
        form_of(MODEL, b"X-Note: filename\r\n" + part("model", b"x")),
        form_of(MODEL, part("model", b"x" * 1001)),
        form_of(MODEL, b'Content-Disposition: form-data; name="mo\\del"\r\n\r\nx'),
        form_of(MODEL, b'Content-Disposition: form-data; name="a"; name="model"\r\n\r\nx'),
        form_of(MODEL, b"Content-Disposition: form-data; name=\"a\"; name*=utf-8''model\r\n\r\nx"),
        form_of(MODEL, b'Content-Disposition: form-data; name="a"\r\n' + part("model", b"x")),
        form_of(MODEL, b'Content-Disposition: form-data;\r\n name="model"\r\n\r\nx'),
        form_of(MODEL, part("file", b'1\n--Bound\nContent-Disposition: form-data; name="model"\n\nx')),
        form_of(MODEL, part("file", b"1\r--Bound\r" + part("model", b"x"))),
        form_of(MODEL, part("file", b"--Bound\r\n" + part("model", b"x"))),
        form_of(MODEL, part("file", b"x\r\n--Bounds\r\n" + part("model", b"x"))),
        form_of(MODEL, b'Content-Disposition: form-data; name="a"\r\n--Bound\r\n' + part("model", b"x")),
        form_of(MODEL, epilogue=b"\r\n--Bound\r\n" + part("model", b"x")),
        form_of(b"Content-Transfer-Encoding: base64\r\n" + part("model", b"bQ==")),
    ],
)
def test_a_form_that_is_cut_broken_or_can_be_read_in_two_ways_is_refused(body: bytes) -> None:
    with pytest.raises(FormError):
        form.read(body, b"multipart/form-data; boundary=Bound").text(body, "model")


def test_a_name_inside_a_file_name_is_no_name() -> None:
    body = form_of(b'Content-Disposition: form-data; filename="; name=model"; name="image"\r\n\r\nx')

    assert form.read(body, b"multipart/form-data; boundary=Bound").text(body, "model") is None


@pytest.mark.parametrize("coding", [b"binary", b"8bit", b"7BIT"])
def test_heads_as_other_libraries_write_them_are_taken(coding: bytes) -> None:
    head = b"Content-Type: text/plain; charset=UTF-8\r\nContent-Transfer-Encoding: " + coding + b"\r\n"
    body = form_of(head + b"content-disposition: form-data; name=model\r\n\r\nm")

    assert form.read(body, b"multipart/form-data; boundary=Bound").text(body, "model") == "m"


@pytest.mark.parametrize("filler", [b"\r\n", b"\r\n--", b"-", b"\r\n--Boun", b"\0"])
def test_a_form_of_32_mb_is_read_in_time_that_grows_with_its_size_only(filler: bytes) -> None:
    def seconds(megabytes: int) -> float:
        file = filler * (megabytes * 1024 * 1024 // len(filler))
        body = form_of(part("file", file, '; filename="a"'), MODEL)
        began = time.process_time()
        assert form.read(body, b"multipart/form-data; boundary=Bound").text(body, "model") == "m"
        return time.process_time() - began

    small = max(seconds(1), 0.002)
    assert seconds(32) < 32 * small * 8  # were it quadratic, it would be a thousand times as much


@pytest.mark.parametrize("text", [b";" * 60_000, b" " * 60_000, b"; a=" + b" " * 60_000 + b"x y", b'; a="' * 9_000])
def test_no_content_type_keeps_the_reader_busy(text: bytes) -> None:
    began = time.process_time()
    with pytest.raises(FormError):
        form.read(b"", b"multipart/form-data" + text)
    assert time.process_time() - began < 1
