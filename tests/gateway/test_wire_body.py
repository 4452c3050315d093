"""Replacing the model in a request body: exactly that value, whatever the JSON looks like."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routes.gateway.wire.body import ask_for_usage, replace_model, set_model

TRICKY = st.sampled_from(
    ["model", '"model"', '\\"model\\":"x"', '"model": "gpt"', "\\", '"', "mod\u0065l", "é \u2028", "", "\U0001f600"]
)
texts = TRICKY | st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=12,
)


@st.composite
def bodies(draw: st.DrawFn) -> tuple[dict[str, Any], bytes]:
    document = draw(st.dictionaries(texts.filter(lambda key: key != "model"), values, max_size=4))
    position = draw(st.integers(0, len(document)))
    members = list(document.items())
    members.insert(position, ("model", draw(texts)))
    document = dict(members)
    separators = draw(st.sampled_from([(",", ":"), (", ", ": "), (" ,\n\t", "\r\n : ")]))
    indent = draw(st.none() | st.integers(0, 3))
    text = json.dumps(document, ensure_ascii=draw(st.booleans()), separators=separators, indent=indent)
    return document, text.encode()


@given(bodies(), texts)
def test_the_document_is_the_same_but_for_its_model(body: tuple[dict[str, Any], bytes], model: str) -> None:
    document, raw = body

    replaced = json.loads(replace_model(raw, model))

    assert replaced == {**document, "model": model}
    assert list(replaced) == list(document)


@given(st.dictionaries(st.sampled_from(["a", "b", "stream"]), values, max_size=3))
def test_every_other_byte_stays_where_it_was_when_the_key_occurs_once(rest: dict[str, Any]) -> None:
    head = json.dumps(rest, indent=1).encode()[:-1].rstrip()
    before = head + (b", " if rest else b"") + b'"model" :  '
    if before.count(b"model") > 1:
        return  # the word is also elsewhere; see the test above
    raw = before + b'"gpt-4o" \n}'

    assert replace_model(raw, "x") == before + b'"x" \n}'


@pytest.mark.parametrize(
    "raw",
    [
        b'{"metadata": {"model": "inner"}, "model": "m"}',
        b'{"model": "m", "tools": [{"parameters": {"properties": {"model": {"type": "string"}}}}]}',
        b'{"messages": [{"content": "say \\"model\\": \\"x\\""}], "model": "m"}',
        b'{"a": "ends in \\"model", "model": "m"}',
        b'{"a": "back\\\\", "model": "m"}',
        b'{"type": "model", "model": "m"}',
        b'{"mod\\u0065l": "m"}',
        b'{"mod\\u0065l": "first", "model": "m"}',
        b'{"model":"m\\"quoted\\\\"}',
        b'\n{\t"model"\r\n:\n"m"}\n',
    ],
)
def test_only_the_top_level_value_changes(raw: bytes) -> None:
    assert json.loads(replace_model(raw, "up/str\u00e9am")) == {**json.loads(raw), "model": "up/str\u00e9am"}


def test_of_equal_keys_none_is_left_with_the_old_value() -> None:
    raw = b'{"model": "first", "x": 1, "model": "last"}'

    members = json.loads(replace_model(raw, "new"), object_pairs_hook=list)

    assert [value for name, value in members if name == "model"] == ["new"]


def test_the_value_is_written_as_json_whatever_the_name() -> None:
    assert json.loads(replace_model(b'{"model":"m"}', 'a"b\\c\n')) == {"model": 'a"b\\c\n'}


@pytest.mark.parametrize("raw", [b"[]", b"{", b'{"a": 1}', b"", b'"model"'])
def test_a_body_without_a_top_level_model_is_refused(raw: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        replace_model(raw, "x")


@given(st.dictionaries(texts.filter(lambda key: key != "model"), values, max_size=4), texts)
def test_a_model_is_added_where_there_was_none(document: dict[str, Any], model: str) -> None:
    for given_model in ({}, {"model": None}):
        raw = json.dumps({**given_model, **document}).encode()

        assert json.loads(set_model(raw, model)) == {**document, "model": model}


@given(bodies())
def test_asking_for_usage_changes_nothing_else(body: tuple[dict[str, Any], bytes]) -> None:
    document, raw = body

    assert json.loads(ask_for_usage(raw)) == {**document, "stream_options": {"include_usage": True}}


@pytest.mark.parametrize(
    ("raw", "options"),
    [
        (b'{"model":"m","stream_options":null}', {"include_usage": True}),
        (b'{"model":"m","stream_options":{"a":1}}', {"a": 1, "include_usage": True}),
        (b'{"model":"m","stream_\\u006fptions":{"a":1}}', {"a": 1, "include_usage": True}),
        (b'{"model":"m","x":"\\"stream_options\\""}', {"include_usage": True}),
        (b'{"model":"m","x":{"stream_options":1}}', {"include_usage": True}),
        (b'{"model":"m","stream_options":[1]}', [1]),
    ],
)
def test_the_clients_own_wishes_for_the_stream_stay(raw: bytes, options: Any) -> None:
    assert json.loads(ask_for_usage(raw)) == {**json.loads(raw), "stream_options": options}
