"""Relays one event stream: held until its first content event, byte for byte after it, ended with the truth.

The stream commits at the first event a client would miss (text, reasoning, tool call, audio, a regular end); until
then a failure raises UpstreamError and another target may take over unseen. After it a cut ends with an error
event in the client's wire format and without the terminator, so that no SDK takes it for a success. Events that are
none are dropped and counted. Memory is bounded: 64 KB held before the commit, 256 KB of one unfinished event after it.
"""

from __future__ import annotations

import asyncio
import zlib
from math import inf
from typing import TYPE_CHECKING, Final

from routes.gateway import headers
from routes.gateway.errors import AllTargetsFailed
from routes.gateway.relay import Relay, after, as_failure, estimate, unpacked, unpacker
from routes.gateway.upstream import UpstreamError
from routes.gateway.wire import formats, sse
from routes.gateway.wire.reading import InvalidAnswer, Kind

if TYPE_CHECKING:
    from routes.gateway.deadlines import Watch
    from routes.gateway.exchange import Exchange
    from routes.gateway.relay import Send
    from routes.gateway.state import GatewayState
    from routes.gateway.trial import Trial
    from routes.gateway.upstream import Reply

#: Events without content are held up to this size; more than that commits a stream all the same.
MAX_HELD_BYTES: Final = 64 * 1024
#: What one read of a packed stream may unpack to.
MAX_UNPACKED_BYTES: Final = 4 * 1024 * 1024
#: How long we wait for the upstream's end of body behind the last event, to keep its connection.
TAIL_SECONDS: Final = 1.0
#: How long a client may take for the event that tells it about a cut.
LAST_WORD_SECONDS: Final = 5.0

_CONTENT, _END, _ERROR, _MALFORMED = Kind.CONTENT, Kind.END, Kind.ERROR, Kind.MALFORMED


class StreamRelay(Relay):
    def __init__(
        self, state: GatewayState, exchange: Exchange, send: Send, watch: Watch, trial: Trial, reply: Reply
    ) -> None:
        super().__init__(state, exchange, send, watch, trial, reply)
        self.reader = formats.reader_for(exchange.operation)
        self.splitter = sse.Splitter(MAX_HELD_BYTES)
        self.idle = self.timeouts.idle or inf
        self.held: list[bytes] = []
        self.held_bytes = 0
        self.dropped = 0
        self.sending = False
        self.mid_event = False  # the client has the beginning of an event and not its end

    async def deliver(self) -> None:
        kind = (self.reply.header(b"content-type") or b"").lower()
        if b"json" in kind or b"html" in kind:
            await self._refuse_document()
        try:
            ended = await self._pump()
        except (UpstreamError, asyncio.CancelledError) as error:
            await self._ended_badly(error)
        else:
            if ended:
                await self._read_tail()
        finally:
            self.reply.close()

    async def _refuse_document(self) -> None:
        """A stream was asked for and a document came: at best it says why."""
        body, whole = await self.hold()
        try:
            said = formats.read_answer(self.exchange.wire, unpacked(self.reply, body)).error if whole else None
        except InvalidAnswer:
            said = None
        if said is not None:
            raise UpstreamError("error_in_200", said)
        raise UpstreamError("invalid_response", "a document came instead of an event stream")

    # -- while it runs -------------------------------------------------------------------------------------
    async def _pump(self) -> bool:
        """Relay until the stream ends. True: it ended well and the rest of the body may be read."""
        read, feed = self.reply.read, self.splitter.feed
        watch, clock, idle, trial = self.watch, self.state.clock, self.idle, self.trial
        machine = unpacker(self.reply)
        while True:
            chunk = await read()
            if not chunk:
                return await self._body_ended()
            if machine is not None:
                chunk = _inflate(machine, chunk)
            events = feed(chunk)
            if events and (over := await self._relay(events)) is not None:
                return over
            if trial.committed:
                watch.at = clock() + idle

    async def _relay(self, events: list[bytes]) -> bool | None:
        """Sort events and send what may go. None: the stream goes on; else as ``_pump``."""
        reader, trial = self.reader, self.trial
        out: list[bytes] = []
        content = False
        for event in events:
            if event.__class__ is sse.Fragment:
                if not self.mid_event:
                    reader.long_event(event)
                self.mid_event = not event.endswith((b"\n", b"\r"))
                content = True
                if not self.mid_event and reader.complete() and not reader.terminator:
                    out.append(event)
                    await self._finish(out, None, "")
                    return True
            else:
                kind = reader.read(event)
                if kind is _CONTENT:
                    content = True
                elif kind is _MALFORMED:
                    self.dropped += 1
                    continue
                elif kind is _END:
                    if not (content or trial.committed or reader.end_is_content):
                        raise UpstreamError("invalid_response", "the stream ended without content")
                    out.append(event)
                    await self._finish(out, "error_in_200" if reader.error else None, reader.error)
                    return True
                elif kind is _ERROR:
                    if not (content or trial.committed):
                        raise UpstreamError("error_in_200", reader.error)
                    # The upstream said it in the client's own format; nothing may follow it, above all no terminator.
                    out.append(event)
                    await self._finish(out, "error_in_200", reader.error)
                    return False
            out.append(event)
        if trial.committed:
            if out:
                await self._write(out[0] if len(out) == 1 else b"".join(out))
            return None
        self.held += out
        self.held_bytes += sum(map(len, out))
        if content or self.held_bytes > MAX_HELD_BYTES:
            await self._commit()
            out, self.held = self.held, []
            await self._write(b"".join(out))
        return None

    async def _commit(self) -> None:
        self.trial.commit()
        self.splitter.max_event = sse.MAX_EVENT_BYTES
        watch, now = self.watch, self.state.clock()
        watch.limit(inf, "timeout_idle")
        watch.ceiling = after(now, self.timeouts.stream_max)
        fields = headers.received(self.reply.headers)
        fields += self.state.recorder.route_headers(self.exchange)
        await self.send({"type": "http.response.start", "status": self.reply.status, "headers": fields})

    async def _write(self, data: bytes) -> None:
        """Hand bytes to the client; while it does not take them the upstream is not to blame for the silence."""
        self.watch.at = inf
        self.sending = True
        await self.send({"type": "http.response.body", "body": data, "more_body": True})
        self.sending = False

    # -- its end -------------------------------------------------------------------------------------------
    async def _body_ended(self) -> bool:
        """The upstream closed the body before a terminator."""
        rest = self.splitter.flush()
        if rest.strip() and not self.mid_event:
            # Without its blank line the last event is none by the standard, but some servers forget it; half an
            # event is not a malformed one.
            dropped = self.dropped
            parsed = sse.fields(rest + b"\n\n")
            if parsed is not None and parsed[1] and (over := await self._relay([rest + b"\n\n"])) is not None:
                return over
            self.dropped = dropped
        if not self.reader.complete():
            raise UpstreamError("truncated", "the stream ended without its terminator")
        await self._finish([self.reader.terminator], None, "")
        return True

    async def _finish(self, out: list[bytes], error_class: str | None, message: str) -> None:
        """Send the last events, with everything written down before."""
        exchange = self.exchange
        if not self.trial.committed:
            await self._commit()
            out = self.held + out
        self._close("success" if error_class is None else "failure", error_class, message)
        self.state.recorder.finish(
            exchange,
            status="routed" if error_class is None else "failed",
            http_status=self.reply.status,
            error_code=error_class,
            message=message,
        )
        self.watch.limit(inf, "")
        await self.send({"type": "http.response.body", "body": b"".join(out), "more_body": False})

    async def _ended_badly(self, error: UpstreamError | asyncio.CancelledError) -> None:
        """Before the commit: another target's turn. After it: tell the client, and the record first."""
        try:
            failure = as_failure(error, self.exchange, self.watch)
        except asyncio.CancelledError:
            if self.trial.committed:
                self._close("neutral", "cancelled", "")
            raise
        if not self.trial.committed:
            raise failure
        error_class = failure.error_class
        if error_class == "truncated" and not self.reply.ended:
            error_class = "reset_midstream"
        ours = error_class == "timeout_total"
        self._close("neutral" if ours else "failure", error_class, failure.message)
        if self.exchange.finished:
            return  # the last events did not get through: nothing more can be said
        self.state.recorder.finish(
            self.exchange,
            status="timeout" if ours else "failed",
            http_status=self.reply.status,
            error_code=error_class,
            message=failure.message,
        )
        if self.sending:
            return  # the client does not read
        word = formats.error_event(
            self.exchange, AllTargetsFailed("the upstream's answer was cut off", code=error_class)
        )
        if self.mid_event:
            word = b"\n\n" + word
        self.watch.limit(self.state.clock() + LAST_WORD_SECONDS, "last_word")
        try:
            await self.send({"type": "http.response.body", "body": word, "more_body": False})
        except asyncio.CancelledError:
            if self.watch.caught() is None:
                raise

    def _close(self, verdict: str, error_class: str | None, message: str) -> None:
        """Write down what was used and what happened."""
        reader, exchange = self.reader, self.exchange
        exchange.usage = usage = reader.usage
        if usage.output is None or usage.input is None:
            estimate(usage, exchange, reader.text_bytes)
        if self.dropped:
            exchange.note = f"{self.dropped} malformed event{'s' if self.dropped > 1 else ''} dropped"
        complete = error_class is None
        self.trial.close(
            verdict,  # type: ignore[arg-type]
            error_class,
            message,
            self.reply.received,
            None if usage.estimated or not complete else usage.output,
        )

    async def _read_tail(self) -> None:
        """Read the upstream's body to its end, a moment behind the last event, so that its connection can be kept."""
        self.watch.ceiling = inf
        self.watch.limit(self.state.clock() + TAIL_SECONDS, "tail")
        try:
            while not self.reply.ended and await self.reply.read():
                pass
            self.reply.release()
        except UpstreamError:
            pass
        except asyncio.CancelledError:
            if self.watch.caught() is None:
                raise


def _inflate(machine: zlib._Decompress, chunk: bytes) -> bytes:
    try:
        plain = machine.decompress(chunk, MAX_UNPACKED_BYTES)
    except zlib.error as error:
        raise UpstreamError("invalid_response", f"the stream does not unpack: {error}") from None
    if machine.unconsumed_tail:
        raise UpstreamError("too_large", "the stream unpacks to far more than it is")
    return plain
