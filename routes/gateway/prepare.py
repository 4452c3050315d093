"""What one target is sent for a request: its own name of the model, its wire format, the wish to hear what was used.

The client's bytes go on as they are, but for what must change (thinking that a provider of the other kind once answered
is not for one that takes only its own). What a target cannot be told at all raises
``Untranslatable``, and the attempt loop passes it over. Pure: no I/O.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from routes.engine.types import SERVICE
from routes.gateway.errors import BadRequest
from routes.gateway.wire.body import ask_for_usage, replace_model, set_model
from routes.gateway.wire.translate import translation
from routes.gateway.wire.translate.unsigned import without_blocks, without_unsigned

if TYPE_CHECKING:
    from routes.engine.types import Ranked
    from routes.gateway.exchange import Exchange
    from routes.gateway.wire.translate import Translation

#: Streams of these end with what was used only if they are asked to.
_ASKED_FOR_USAGE: Final = frozenset({"chat", "completion"})
_NOTHING: Final[frozenset[bytes]] = frozenset()


class Outgoing:
    """One request as a target is sent it. ``operation`` and ``wire`` say how its answer is to be read."""

    __slots__ = ("added", "body", "dropped", "hides_usage", "operation", "resource", "translation", "wire")

    def __init__(
        self,
        resource: str,
        body: bytes,
        operation: str,
        wire: str,
        translation: Translation | None = None,
        hides_usage: bool = False,
    ) -> None:
        self.resource = resource
        self.body = body
        self.operation = operation
        self.wire = wire
        self.translation = translation  # of the answer, back to the client's format
        self.hides_usage = hides_usage  # the client did not ask for the event that we asked for
        #: headers of the client's format that mean nothing in the other one, and those that it needs
        self.dropped = _NOTHING if translation is None else translation.dropped_headers
        self.added = () if translation is None else translation.added_headers


def prepare(exchange: Exchange, place: Ranked) -> Outgoing:
    """Raises Untranslatable for what this target's format cannot carry, BadRequest for a body that is no JSON."""
    provider, operation = place.target.provider, exchange.operation
    if provider.wire != exchange.wire and operation != SERVICE:
        other = translation(operation, provider.wire)
        assert other is not None  # admission let nobody else in
        body = other.request(exchange.body, place.model, usage=provider.stream_usage)
        return Outgoing(other.resource, body, other.operation, provider.wire, other)
    body = exchange.body
    if operation == "messages":
        body = without_unsigned(body)
    elif operation == "chat":
        body = without_blocks(body)
    hides_usage = False
    try:
        if place.model != exchange.model:
            body = _with_model(exchange, body, place.model)
        if exchange.stream and operation in _ASKED_FOR_USAGE and provider.stream_usage and _accounts(exchange):
            body = ask_for_usage(body)
            hides_usage = True
    except ValueError as error:
        raise BadRequest(f"the request body is not valid JSON: {error}", code="invalid_json") from None
    return Outgoing(exchange.resource, body, operation, exchange.wire, hides_usage=hides_usage)


def _with_model(exchange: Exchange, body: bytes, model: str) -> bytes:
    if exchange.form is not None:
        return exchange.form.replaced(body, "model", model)
    return replace_model(body, model) if exchange.model else set_model(body, model)


def _accounts(exchange: Exchange) -> bool:
    """Whether we want to hear what a stream used although the client did not ask."""
    key, profile = exchange.key, exchange.profile
    assert key is not None
    assert profile is not None
    if exchange.asked_for_usage or profile.accounting == "off":
        return False
    return profile.accounting == "always" or key.counts_usage
