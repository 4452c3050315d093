"""Changing what must change in a request body and nothing else. Pure.

``replace_model`` puts the upstream's name of the model in place of the client's, byte for byte otherwise. It never
parses a body twice: a search for the key finds the only place in almost every body; where the key occurs more
than once (a tool with a parameter called "model") the object is taken apart one level deep and put together again.
``ask_for_usage`` adds the one member that makes a stream say what it used.
"""

from __future__ import annotations

import re

import msgspec

from routes.gateway.wire.reading import NOT_JSON

_STREAM_OPTIONS = re.compile(rb'"stream_options"')
_KEY = re.compile(rb'"model"')  # a literal expression is searched twice as fast as ``bytes.find``
# A quote inside a string is always escaped, so `"model"` after anything but a backslash is a whole string, and
# before a colon it is a key.
_VALUE = re.compile(rb'[ \t\r\n]*:[ \t\r\n]*("(?:[^"\\]|\\.)*")', re.DOTALL)
# The key written with escapes ("mod\u0065l"). Nobody does; if something looks like it, do not trust the search.
_ESCAPED_LETTER = re.compile(rb"\\u00[46][dfDF45cC]")

_BACKSLASH = ord("\\")

_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_encode = msgspec.json.Encoder().encode


def replace_model(body: bytes, model: str) -> bytes:
    """``body`` with the value of its top-level ``model`` replaced.

    ``body`` is JSON, an object, and has a top-level ``model`` that is a string (the caller has read it). Only that
    value changes, unless the key appears more than once anywhere in the document: then white space between the
    top-level members and all but the last of equal top-level keys go too. Raises ValueError when it is no such body.
    """
    return _replaced(body, model, add=False)


def set_model(body: bytes, model: str) -> bytes:
    """``replace_model`` for a body that may leave the model out: then it is added. Raises ValueError."""
    return _replaced(body, model, add=True)


def ask_for_usage(body: bytes) -> bytes:
    """``body``, a JSON object, with ``stream_options.include_usage`` switched on. Raises ValueError."""
    if _STREAM_OPTIONS.search(body) is None and b"\\u" not in body:
        opening = body.index(b"{") + 1
        return b"".join((body[:opening], b'"stream_options":{"include_usage":true},', body[opening:]))
    try:
        members = _members(body)
        given = members.get("stream_options")
    except NOT_JSON as error:
        raise ValueError(str(error)) from None
    try:
        options = {} if given is None or bytes(given).strip() == b"null" else _members(given)
    except NOT_JSON:
        return body  # no object: the upstream says so in its own words
    members["stream_options"] = msgspec.Raw(_encode({**options, "include_usage": True}))
    return _encode(members)


def _replaced(body: bytes, model: str, *, add: bool) -> bytes:
    span = None if add else _only_place(body)
    if span is not None:
        return b"".join((body[: span[0]], _encode(model), body[span[1] :]))
    try:
        members = _members(body)
    except NOT_JSON as error:
        raise ValueError(str(error)) from None
    if "model" not in members and not add:
        raise ValueError("no top-level member 'model'")
    members["model"] = msgspec.Raw(_encode(model))
    return _encode(members)


def _only_place(body: bytes) -> tuple[int, int] | None:
    """Where the only string under a key "model" is; None when there are several, or none that can be trusted.

    The caller knows that the top level has one, so a single one is that one.
    """
    span: tuple[int, int] | None = None
    for key in _KEY.finditer(body):
        if body[key.start() - 1] != _BACKSLASH and (value := _VALUE.match(body, key.end())) is not None:
            if span is not None:
                return None
            span = value.span(1)
    if b"\\" in body and _ESCAPED_LETTER.search(body) is not None:
        return None
    return span
