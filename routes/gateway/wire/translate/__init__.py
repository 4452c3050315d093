"""OpenAI chat completions ⇄ Anthropic messages: requests, answers, errors and streams, both ways. Pure: no I/O.

``translation`` chooses by what the client speaks and what the upstream does. What cannot be carried over raises
Untranslatable with the name of the field; nothing is dropped that is not in the lists of ``to_anthropic`` and
``to_openai``, and docs/translation.md says why for each.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, ClassVar, Final, Protocol

import msgspec

from routes.gateway.wire.reading import NOT_JSON
from routes.gateway.wire.translate import answers, failures, to_anthropic, to_openai
from routes.gateway.wire.translate.chat_stream import ChatStream
from routes.gateway.wire.translate.fields import Untranslatable
from routes.gateway.wire.translate.messages_stream import MessagesStream

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["StreamTranslation", "Translation", "Untranslatable", "translation"]


class StreamTranslation(Protocol):
    """One stream. Costs some microseconds an event."""

    def feed(self, event: bytes) -> bytes:
        """The client's events for one whole event of the upstream; b"" = nothing to say yet. Raises InvalidAnswer
        for content that the client's format has no place for."""
        ...

    def finish(self) -> bytes:
        """What a stream that ended well still lacks; b"" when nothing does."""
        ...


class Translation(Protocol):
    """``resource`` follows the upstream's base URL, ``operation`` is what its answers are read as;
    ``dropped_headers`` belong to the client's format and must not go on, ``added_headers`` the upstream's needs;
    ``renamed_headers`` are those of the answer that the client's format has under another name."""

    resource: ClassVar[str]
    operation: ClassVar[str]
    dropped_headers: ClassVar[frozenset[bytes]]
    added_headers: ClassVar[tuple[tuple[bytes, bytes], ...]]
    renamed_headers: ClassVar[Mapping[bytes, bytes]]

    def request(self, body: bytes, model: str, *, usage: bool = True) -> bytes:
        """``body`` as the client sent it, ``model`` as the upstream calls it; ``usage``: a stream may be asked to
        report it. Raises Untranslatable."""
        ...

    def answer(self, body: bytes) -> bytes:
        """A whole answer. Raises InvalidAnswer when it is none, or holds what the client's format cannot say."""
        ...

    def error(self, status: int, body: bytes, request_id: str) -> bytes:
        """An error document for the client, whatever the upstream sent (HTML, nothing)."""
        ...

    def stream(self, body: bytes) -> StreamTranslation:
        """``body``: the client's request, which may ask for the usage."""
        ...


class _StreamOptions(msgspec.Struct):
    include_usage: bool | None = None


class _Asked(msgspec.Struct):
    stream_options: _StreamOptions | None = None


_asked = msgspec.json.Decoder(_Asked).decode


class _OpenAIClient:
    """A client of chat completions, an upstream of messages."""

    resource: ClassVar[str] = "/messages"
    operation: ClassVar[str] = "messages"
    dropped_headers: ClassVar[frozenset[bytes]] = frozenset(
        {b"openai-organization", b"openai-project", b"openai-beta", b"openai-version"}
    )
    added_headers: ClassVar[tuple[tuple[bytes, bytes], ...]] = ((b"anthropic-version", b"2023-06-01"),)
    renamed_headers: ClassVar[Mapping[bytes, bytes]] = MappingProxyType({b"request-id": b"x-request-id"})

    def request(self, body: bytes, model: str, *, usage: bool = True) -> bytes:
        return to_anthropic.request(body, model)  # Anthropic's streams report their usage unasked

    def answer(self, body: bytes) -> bytes:
        return answers.to_openai(body)

    def error(self, status: int, body: bytes, request_id: str) -> bytes:
        return failures.to_openai(status, body)

    def stream(self, body: bytes) -> StreamTranslation:
        try:
            options = _asked(body).stream_options
        except NOT_JSON:
            options = None
        return ChatStream(usage=options is not None and bool(options.include_usage))


class _AnthropicClient:
    """A client of messages, an upstream of chat completions."""

    resource: ClassVar[str] = "/chat/completions"
    operation: ClassVar[str] = "chat"
    dropped_headers: ClassVar[frozenset[bytes]] = frozenset(
        {
            b"anthropic-version",
            b"anthropic-beta",
            b"anthropic-dangerous-direct-browser-access",
            b"anthropic-user-profile-id",
            b"anthropic-workspace-id",
        }
    )
    added_headers: ClassVar[tuple[tuple[bytes, bytes], ...]] = ()
    renamed_headers: ClassVar[Mapping[bytes, bytes]] = MappingProxyType({b"x-request-id": b"request-id"})

    def request(self, body: bytes, model: str, *, usage: bool = True) -> bytes:
        return to_openai.request(body, model, usage=usage)

    def answer(self, body: bytes) -> bytes:
        return answers.to_anthropic(body)

    def error(self, status: int, body: bytes, request_id: str) -> bytes:
        return failures.to_anthropic(status, body, request_id)

    def stream(self, body: bytes) -> StreamTranslation:
        return MessagesStream()


_TRANSLATIONS: Final[dict[tuple[str, str], Translation]] = {
    ("chat", "anthropic"): _OpenAIClient(),
    ("messages", "openai"): _AnthropicClient(),
}


def translation(operation: str, wire: str) -> Translation | None:
    """What carries a client's ``operation`` to an upstream that speaks ``wire``; None when nothing needs to, or
    nothing can."""
    return _TRANSLATIONS.get((operation, wire))
