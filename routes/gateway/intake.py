"""Reads a request once: its headers in one pass, the head of its body, the session it belongs to. Pure.

Nothing here looks at the text of prompts: that is ``routes.engine.facts``, for the rules and strategies that ask.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qsl

import msgspec

from routes.engine.conditions.values import address_of
from routes.gateway.errors import BadRequest
from routes.gateway.wire import form

if TYPE_CHECKING:
    from collections.abc import Sequence
    from ipaddress import IPv4Network, IPv6Network

#: A model's name goes into headers, history and metrics of others: longer ones are refused.
MAX_MODEL_LENGTH: Final = 256
#: Sessions are kept with each history row and compared whole.
MAX_SESSION_LENGTH: Final = 256
#: Tags are compared with every provider's and recorded: more of them, or longer ones, are refused.
MAX_TAGS: Final = 32
MAX_TAG_LENGTH: Final = 64

#: Whose request it is, where it ends, or what it says must not depend on which of two headers is read.
_SINGLE: Final = (b"host", b"authorization", b"x-api-key", b"content-length", b"transfer-encoding", b"content-type")

RawHeaders = list[tuple[bytes, bytes]]


def index_headers(headers: RawHeaders) -> dict[bytes, bytes]:
    """Headers by lower-case name; of repeated ones the last (see ``fault`` for those that must not repeat)."""
    return dict(headers)


def fault(headers: RawHeaders, index: dict[bytes, bytes], http_version: str) -> str | None:
    """What makes this head ambiguous or unreadable, in words; None when it is sound."""
    if len(index) != len(headers):
        for name in _SINGLE:
            if name in index and sum(1 for each, _ in headers if each == name) > 1:
                return f"more than one {name.decode()} header"
    if b"host" not in index and http_version == "1.1":
        return "the Host header is missing"
    coding = index.get(b"transfer-encoding")
    if coding is not None and (http_version == "1.0" or coding.strip().lower() != b"chunked"):
        return "this transfer encoding is not understood"
    if not b"".join([value for _, value in headers]).isascii():
        for name, value in headers:
            try:
                value.decode()
            except UnicodeDecodeError:
                return f"the value of header {name.decode('ascii', 'replace')} is not UTF-8"
    return None


def client_address(
    peer: tuple[str, int] | None, forwarded: bytes | None, trusted: Sequence[IPv4Network | IPv6Network]
) -> str:
    """The client's address: the peer's, or, behind trusted proxies, the nearest address none of them has. An IPv4
    address is one also where a socket for both kinds, as that of ``::``, writes it as IPv6."""
    address = _unmapped(peer[0]) if peer else ""
    if not trusted or forwarded is None or not _is_in(address, trusted):
        return address
    for part in reversed(forwarded.decode("latin-1").split(",")):
        hop = _unmapped(part.strip())
        if address_of(hop) is None:
            return address
        address = hop
        if not _is_in(hop, trusted):
            break
    return address


def _unmapped(address: str) -> str:
    if ":" not in address:
        return address
    found = address_of(address)
    return address if found is None else str(found)


def _is_in(address: str, networks: Sequence[IPv4Network | IPv6Network]) -> bool:
    found = address_of(address)
    return found is not None and any(found in network for network in networks)


def is_trusted(peer: tuple[str, int] | None, trusted: Sequence[IPv4Network | IPv6Network]) -> bool:
    """Whether the peer may say for whom it speaks."""
    return bool(trusted) and peer is not None and _is_in(peer[0], trusted)


# -- the body ----------------------------------------------------------------------------------------


class BodyHead(msgspec.Struct):
    """The members of a request body that routing reads; all others are skipped, not built.

    Everything is ``Any``, so that a wrong type is refused by name below instead of by the decoder's words.
    """

    model: Any = msgspec.UNSET
    stream: Any = None
    max_tokens: Any = None
    max_completion_tokens: Any = None
    max_output_tokens: Any = None
    thinking: Any = None
    reasoning: Any = None
    reasoning_effort: Any = None
    metadata: Any = None
    prompt_cache_key: Any = None
    user: Any = None
    previous_response_id: Any = None
    stream_options: Any = None
    stream_format: Any = None

    @property
    def output_limit(self) -> int | None:
        for value in (self.max_tokens, self.max_completion_tokens, self.max_output_tokens):
            if type(value) is int and value > 0:
                return value
        return None

    def streams(self, operation: str) -> bool:
        """Whether the answer is to be a stream of events. Speech that is streamed otherwise is audio as it comes."""
        return self.stream_format == "sse" if operation == "speech" else self.stream is True

    @property
    def asks_for_usage(self) -> bool:
        """Whether a stream is to end with what was used."""
        options = self.stream_options
        return type(options) is dict and options.get("include_usage") is True

    @property
    def thinks(self) -> bool:
        """Whether the request asks for thinking or reasoning, in any of the three dialects."""
        thinking, effort, reasoning = self.thinking, self.reasoning_effort, self.reasoning
        if type(thinking) is dict:
            return thinking.get("type") not in (None, "disabled")
        if type(reasoning) is dict:
            effort = reasoning.get("effort")
        return type(effort) is str and effort != "none"


_decode = msgspec.json.Decoder(BodyHead).decode


def parse_body(body: bytes, *, model_optional: bool = False) -> BodyHead:
    """The head of a JSON request body; an optional model that is left out is "". Raises BadRequest naming what is
    wrong."""
    try:
        head = _decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        if isinstance(error, msgspec.ValidationError):
            raise BadRequest("the request body is not a JSON object", code="invalid_json") from None
        raise BadRequest(f"the request body is not valid JSON: {error}", code="invalid_json") from None
    if model_optional and head.model in (msgspec.UNSET, None):
        head.model = ""
    else:
        _check_model(head.model)
    if head.stream is not None and type(head.stream) is not bool:
        raise BadRequest("stream: must be true or false", code="invalid_field", param="stream")
    return head


def parse_form(body: bytes, content_type: bytes, *, model_optional: bool = False) -> tuple[BodyHead, form.Form]:
    """The same of a form. Raises BadRequest."""
    try:
        found = form.read(body, content_type)
        model, stream = found.text(body, "model"), found.text(body, "stream")
    except form.FormError as error:
        raise BadRequest(f"the request body is not a valid form: {error}", code="invalid_form") from None
    head = BodyHead(model=msgspec.UNSET if model is None else model)
    if model_optional and not model:
        head.model = ""
    else:
        _check_model(head.model)
    if stream is not None and stream.lower() not in _YES_OR_NO:
        raise BadRequest("stream: must be true or false", code="invalid_field", param="stream")
    head.stream = _YES_OR_NO[(stream or "false").lower()]
    return head, found


def parse_query(query: bytes) -> BodyHead:
    """The same of a request that says everything in its address. Raises BadRequest."""
    given = [value for name, value in parse_qsl(query.decode("latin-1"), encoding="utf-8") if name == "model"]
    if len(given) > 1:
        raise BadRequest("model: is given twice", code="invalid_field", param="model")
    head = BodyHead(model=given[0] if given else msgspec.UNSET)
    _check_model(head.model)
    return head


_YES_OR_NO: Final = {"true": True, "1": True, "false": False, "0": False}


def _check_model(model: Any) -> None:
    if type(model) is not str:
        if model is msgspec.UNSET:
            raise BadRequest("model: this field is required", code="missing_field", param="model")
        raise BadRequest("model: must be a string", code="invalid_field", param="model")
    if not model or len(model) > MAX_MODEL_LENGTH:
        raise BadRequest(f"model: must have 1 to {MAX_MODEL_LENGTH} characters", code="invalid_field", param="model")


def find_session(path: bytes | None, header: bytes | None, head: BodyHead, wire: str) -> str | None:
    """The client's session id; the first of the places the contract lists, in its order. Raises BadRequest."""
    if path is not None:
        try:
            return path.decode()[:MAX_SESSION_LENGTH]
        except UnicodeDecodeError:
            raise BadRequest("the session in the path is not UTF-8", code="invalid_field", param="session") from None
    if header:
        return header.decode()[:MAX_SESSION_LENGTH]
    metadata = head.metadata if type(head.metadata) is dict else None
    if wire == "anthropic":
        found = metadata.get("user_id") if metadata is not None else None
        return found[:MAX_SESSION_LENGTH] if type(found) is str and found else None
    for value in (head.prompt_cache_key, head.user, metadata.get("session_id") if metadata is not None else None):
        if type(value) is str and value:
            return value[:MAX_SESSION_LENGTH]
    return None


def inferred_session(client_ip: str) -> str:
    """What takes the place of a session id where a profile lets a client's address stand for it. Readable as such
    in history; which key it belongs to is part of every key that is made of it."""
    return f"ip:{client_ip}"


def find_tags(headers: RawHeaders) -> frozenset[str]:
    """The words of ``x-route-tags``, which may be repeated. Raises BadRequest."""
    given = b",".join([value for name, value in headers if name == b"x-route-tags"]).decode()
    tags = frozenset(word for part in given.split(",") if (word := part.strip()))
    if len(tags) > MAX_TAGS or any(len(tag) > MAX_TAG_LENGTH for tag in tags):
        raise BadRequest(
            f"x-route-tags: at most {MAX_TAGS} tags of {MAX_TAG_LENGTH} characters",
            code="invalid_field",
            param="x-route-tags",
        )
    return tags
