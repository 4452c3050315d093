"""Hands one upstream answer to the client: checked documents, and bodies nobody looks into. Streams: ``stream``.

Before the commit point everything is held and a bad answer raises UpstreamError: the attempt loop goes on as if
nothing had happened, and the client sees none of it. After it, bytes go on as they came; a cut body ends without its
last chunk. The route's record is written before the bytes that end the answer are handed to the transport.
"""

from __future__ import annotations

import asyncio
import zlib
from math import inf
from typing import TYPE_CHECKING, Any, Final

from routes.engine.types import COUNTED, GENERATING
from routes.gateway import headers
from routes.gateway.route_request import estimate_tokens
from routes.gateway.upstream import UpstreamError
from routes.gateway.wire import formats, openai
from routes.gateway.wire.reading import InvalidAnswer

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from routes.engine.live import LiveState
    from routes.gateway.deadlines import Watch
    from routes.gateway.exchange import Exchange
    from routes.gateway.headers import RawHeaders
    from routes.gateway.prepare import Outgoing
    from routes.gateway.state import GatewayState
    from routes.gateway.trial import Trial
    from routes.gateway.upstream import Reply

    Send = Callable[[Any], Awaitable[None]]

#: Answers of these statuses have no body, whatever length they name.
_WITHOUT_BODY: Final = frozenset({204, 304})
#: JSON answers up to this size are held whole and checked; larger ones commit when it is passed.
MAX_HELD_BYTES: Final = 4 * 1024 * 1024
#: So much of the end of what is too long to be held is looked at for what was used.
TAIL_BYTES: Final = 4096


def after(now: float, seconds: float) -> float:
    """The moment a time-out passes; 0 switches it off."""
    return now + seconds if seconds > 0 else inf


class Relay:
    """The relay of one reply: ``deliver`` for a 2xx, ``surface`` for an error the client is to see as it is."""

    def __init__(
        self,
        state: GatewayState,
        exchange: Exchange,
        send: Send,
        watch: Watch,
        trial: Trial,
        reply: Reply,
        outgoing: Outgoing,
    ) -> None:
        assert exchange.profile is not None
        self.state = state
        self.exchange = exchange
        self.send = send
        self.watch = watch
        self.trial = trial
        self.reply = reply
        self.outgoing = outgoing
        self.timeouts = exchange.profile.timeouts
        self.tail: bytes | None = None  # the end so far of a document that is too long to be held; None = not of use

    async def hold(self, *, paced: bool = True) -> tuple[bytes, bool]:
        """(body, whether that is all of it). Stops reading behind the limit. ``paced``: the idle time-out runs
        between pieces; else the limit in force stays. Raises UpstreamError."""
        reply = self.reply
        body = await reply.read()
        if reply.ended:
            return body, True
        pieces = [body]
        size = len(body)
        while size <= MAX_HELD_BYTES:
            if paced:
                self.watch.limit(after(self.state.clock(), self.timeouts.idle), "timeout_idle")
            piece = await reply.read()
            if not piece:
                return b"".join(pieces), True
            pieces.append(piece)
            size += len(piece)
        return b"".join(pieces), False

    async def deliver(self) -> None:
        """Check a successful answer and relay it. Raises UpstreamError only before the client got anything."""
        exchange, reply, trial, outgoing = self.exchange, self.reply, self.trial, self.outgoing
        if not self._is_document():
            held = [await reply.read()]  # without a first byte another target may still do better
            trial.commit()
            await self._deliver_unread(held, "routed", None, "")
            return
        body, whole = await self.hold()
        if not whole and outgoing.translation is not None:
            raise UpstreamError("too_large", "the answer is larger than 4 MB and would have to be translated")
        if not whole:
            trial.commit(answer_id=openai.long_answer_id(body) if exchange.operation == "responses" else "")
            self.tail = b"" if outgoing.wire == "openai" else None
            held = [body]
            del body
            await self._deliver_unread(held, "routed", None, "")
            return
        body = unpacked(reply, body)
        try:
            answer = formats.read_answer(outgoing.wire, body)
            if answer.error is not None:
                raise UpstreamError("error_in_200", answer.error)
            size = len(body)
            if outgoing.translation is not None:
                body = outgoing.translation.answer(body)
        except InvalidAnswer as error:
            raise UpstreamError("invalid_response", f"not an answer of this format: {error}") from None
        reply.release()
        exchange.usage = usage = answer.usage
        if usage.output is None and exchange.operation in COUNTED:
            estimate(self.state.live, exchange, size if exchange.operation in GENERATING else 0)
        measured = None if usage.estimated else usage.output
        trial.complete(measured, answer.id, reply.received)
        await self._send_whole(body, "routed", None, "")

    def _is_document(self) -> bool:
        """Whether the answer is JSON, to be held and checked. Raises UpstreamError for a web page where a text or a
        file was asked for."""
        answers = self.exchange.answers
        if answers == "document":
            return True
        if answers == "anything":
            return False
        kind = (self.reply.header(b"content-type") or b"").lower()
        if b"html" in kind:
            raise UpstreamError("invalid_response", "a web page came instead of an answer")
        return b"json" in kind

    async def surface(self, held: bytes, whole: bool, error_class: str | None, message: str) -> None:
        """Relay an error answer. ``held`` and ``whole`` as ``hold`` returned them."""
        self.trial.surface()
        status = "routed" if self.reply.status < 500 else "failed"
        body = None if not whole or self.exchange.answers == "anything" else self._plain(held)
        if body is None:
            await self._deliver_unread([held], status, error_class, message)
            return
        self.reply.release()
        self.trial.close("neutral", error_class, message, self.reply.received)
        if self.outgoing.translation is not None:
            body = self.outgoing.translation.error(self.reply.status, body, self.exchange.route_id)
        await self._send_whole(body, status, error_class, message)

    def _plain(self, body: bytes) -> bytes | None:
        """An error answer's body; None for one that does not unpack and goes to the client as it is."""
        try:
            return unpacked(self.reply, body)
        except UpstreamError:
            return None

    async def _send_whole(self, body: bytes, status: str, error_class: str | None, message: str) -> None:
        recorder, exchange, http_status = self.state.recorder, self.exchange, self.reply.status
        fields = self._fields()
        if self.outgoing.translation is not None:  # it is JSON now, whatever came
            fields = [field for field in fields if field[0] != b"content-type"]
            fields.append((b"content-type", b"application/json"))
        fields.append((b"content-length", b"%d" % len(body)))
        fields += recorder.route_headers(exchange)
        self.watch.limit(inf, "")
        self.watch.ceiling = after(self.state.clock(), self.timeouts.stream_max)
        recorder.finish(
            exchange,
            status=status,
            http_status=http_status,
            error_code=error_class,
            message=message,
            fields=fields,
            rest=body,
        )
        await self.send({"type": "http.response.start", "status": http_status, "headers": fields})
        await self.send({"type": "http.response.body", "body": body, "more_body": False})

    def _fields(self) -> RawHeaders:
        """The answer's headers without those about its length."""
        fields = self.received()
        status = self.reply.status
        if status >= 400 and status != 408 and len(self.exchange.attempts) >= 2:
            # SDKs would try it all again; the upstream knows nothing of what was tried before it.
            fields = [field for field in fields if field[0] != b"x-should-retry"]
            fields.append((b"x-should-retry", b"false"))
        return fields

    def received(self) -> RawHeaders:
        """The upstream's headers that go on, by the names that the client's format has for them."""
        fields = headers.received(self.reply.headers)
        if (translation := self.outgoing.translation) is not None:
            renamed = translation.renamed_headers
            fields = [(renamed.get(name, name), value) for name, value in fields]
        return fields

    async def _deliver_unread(self, held: list[bytes], status: str, error_class: str | None, message: str) -> None:
        """Send what is held and pass on the rest as it comes, packed or not. ``held`` is taken out of its list, so that
        nobody keeps megabytes for as long as the answer runs."""
        state, reply, watch, exchange = self.state, self.reply, self.watch, self.exchange
        fields = self._fields()
        if (packing := reply.header(b"content-encoding")) is not None:
            fields.append((b"content-encoding", packing))
        declared = declared_length(reply)
        if declared is not None and reply.status not in _WITHOUT_BODY:
            fields.append((b"content-length", b"%d" % declared))
        fields += state.recorder.route_headers(exchange)
        watch.ceiling = after(state.clock(), self.timeouts.stream_max)
        if b"event-stream" in (reply.header(b"content-type") or b"").lower():
            state.metrics.streams.add(exchange.id)
        piece = held.pop()
        try:
            await self.send({"type": "http.response.start", "status": reply.status, "headers": fields})
            while piece:
                if reply.received == declared:
                    break  # by the length the client knows this to be the last piece
                watch.limit(inf, "")
                if self.tail is not None:
                    self.tail = (self.tail + piece)[-TAIL_BYTES:]
                await self.send({"type": "http.response.body", "body": piece, "more_body": True})
                watch.limit(after(state.clock(), self.timeouts.idle), "timeout_idle")
                piece = await reply.read()
        except (UpstreamError, asyncio.CancelledError) as error:
            failure = as_failure(error, exchange, watch)
            self.trial.close("failure", failure.error_class, failure.message, reply.received)
            state.recorder.finish(
                exchange,
                status="failed",
                http_status=reply.status,
                error_code=failure.error_class,
                message=failure.message,
            )
            return  # without the last chunk: that is how the client learns of it
        reply.release()
        if self.tail is not None:  # what was used stands last
            openai.usage_of_tail((self.tail + piece)[-TAIL_BYTES:], exchange.usage)
        self.trial.close("success" if error_class is None else "neutral", error_class, message, reply.received)
        state.recorder.finish(
            exchange, status=status, http_status=reply.status, error_code=error_class, message=message, rest=piece
        )
        await self.send({"type": "http.response.body", "body": piece, "more_body": False})


def as_failure(error: UpstreamError | asyncio.CancelledError, exchange: Exchange, watch: Watch) -> UpstreamError:
    """What ended an attempt. Raises the CancelledError again when it was not a time limit of ours."""
    if isinstance(error, UpstreamError):
        return error
    limit = None if exchange.client_gone else watch.caught()
    if limit is None:
        raise error
    return UpstreamError(limit)


def declared_length(reply: Reply) -> int | None:
    value = reply.header(b"content-length")
    return int(value) if value is not None else None  # the parser accepts nothing but digits


def unpacker(reply: Reply) -> zlib._Decompress | None:
    """For upstreams that pack an answer although they were asked not to: what is checked is what is sent.
    Raises UpstreamError for a packing nobody asked for and we do not know."""
    packing = (reply.header(b"content-encoding") or b"identity").strip().lower()
    if packing == b"identity":
        return None
    if packing in (b"gzip", b"x-gzip", b"deflate"):
        return zlib.decompressobj(wbits=47)  # tells gzip and zlib apart by itself
    raise UpstreamError("invalid_response", "the answer is packed in a way that was not asked for")


def unpacked(reply: Reply, body: bytes) -> bytes:
    """A whole body as plain bytes. Raises UpstreamError when it does not unpack, or to more than we hold."""
    machine = unpacker(reply)
    if machine is None:
        return body
    try:
        plain = machine.decompress(body, MAX_HELD_BYTES)
    except zlib.error as error:
        raise UpstreamError("invalid_response", f"the body does not unpack: {error}") from None
    if machine.unconsumed_tail:
        raise UpstreamError("too_large", "the body unpacks to more than 4 MB")
    if not machine.eof:
        raise UpstreamError("truncated", "the packed body is cut")
    return plain


def estimate(live: LiveState, exchange: Exchange, text_bytes: int) -> None:
    """Fill in what the upstream did not report: UTF-8 bytes of text ÷ 4, marked as an estimate."""
    usage = exchange.usage
    if usage.input is None:
        usage.estimated = True
        usage.input = estimate_tokens(live, exchange)
    if usage.output is None:
        usage.estimated = True
        usage.output = (text_bytes + 3) // 4
