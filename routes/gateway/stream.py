"""Relays one event stream: held until its first content event, byte for byte after it, ended with the truth.

The stream commits at the first event a client would miss (text, reasoning, tool call, audio, a regular end); until
then a failure raises UpstreamError and another target may take over unseen. After it a cut ends with an error
event in the client's wire format and without the terminator, so that no SDK takes it for a success. Events that are
none are dropped and counted. Where target and client speak different formats, events are translated one by one on
their way out; the reader sees them as the upstream wrote them. Memory is bounded: 64 KB held before the commit, 256 KB
of one unfinished event after it.
"""

from __future__ import annotations

import asyncio
import zlib
from math import inf
from typing import TYPE_CHECKING, Final

from routes.engine.types import COUNTED
from routes.gateway.errors import AllTargetsFailed
from routes.gateway.relay import TAIL_BYTES, Relay, after, as_failure, estimate, unpacked, unpacker
from routes.gateway.upstream import UpstreamError
from routes.gateway.wire import formats, sse
from routes.gateway.wire.reading import InvalidAnswer, Kind

if TYPE_CHECKING:
    from routes.gateway.deadlines import Watch
    from routes.gateway.exchange import Exchange
    from routes.gateway.prepare import Outgoing
    from routes.gateway.relay import Send
    from routes.gateway.state import GatewayState
    from routes.gateway.trial import Trial
    from routes.gateway.upstream import Reply
    from routes.gateway.wire.translate import StreamTranslation

#: Events without content are held up to this size; more than that commits a stream all the same.
MAX_HELD_BYTES: Final = 64 * 1024
#: What one read of a packed stream may unpack to.
MAX_UNPACKED_BYTES: Final = 4 * 1024 * 1024
#: How long we wait for the upstream's end of body behind the last event, to keep its connection.
TAIL_SECONDS: Final = 1.0
#: How long a client may take for the event that tells it about a cut.
LAST_WORD_SECONDS: Final = 5.0

_HELD, _CONTENT, _END, _MALFORMED, _HIDDEN = Kind.HELD, Kind.CONTENT, Kind.END, Kind.MALFORMED, Kind.HIDDEN


class StreamRelay(Relay):
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
        super().__init__(state, exchange, send, watch, trial, reply, outgoing)
        self.reader = formats.reader_for(outgoing.operation)
        self.reader.hides_usage = outgoing.hides_usage
        self.translation: StreamTranslation | None = None
        if outgoing.translation is not None:
            self.translation = outgoing.translation.stream(exchange.body)
        self.splitter = sse.Splitter(MAX_HELD_BYTES if self.translation is None else sse.MAX_EVENT_BYTES)
        self.idle = self.timeouts.idle or inf
        self.content = False  # there was an event that a client would miss
        self.held: list[bytes] = []
        self.held_bytes = 0
        self.dropped = 0
        self.sending = False
        self.mid_event = False  # the client has the beginning of an event and not its end
        self.long_tail = b""  # the end so far of an event that is too long to be read whole

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
            said = formats.read_answer(self.outgoing.wire, unpacked(self.reply, body)).error if whole else None
        except InvalidAnswer:
            said = None
        if said is not None:
            raise UpstreamError("error_in_200", said)
        raise UpstreamError("invalid_response", "a document came instead of an event stream")

    # -- while it runs -------------------------------------------------------------------------------------
    async def _pump(self) -> bool:
        """Relay until the stream ends. True: it ended well and the rest of the body may be read. One turn of the
        loop is one event of a busy stream, so it awaits nothing but the two ends."""
        read, feed, sort, send = self.reply.read, self.splitter.feed, self._sort, self.send
        watch, clock, idle, trial = self.watch, self.state.clock, self.idle, self.trial
        machine = unpacker(self.reply)
        while True:
            chunk = await read()
            if not chunk:
                return await self._body_ended()
            if machine is not None:
                chunk = _inflate(machine, chunk)
            data, ending = sort(feed(chunk))
            if ending is not None:
                return await self._ended(data, ending)
            if not trial.committed:
                await self._hold(data)
            elif data:
                # While the client does not take it, the upstream is not to blame for the silence.
                watch.at = inf
                self.sending = True
                await send({"type": "http.response.body", "body": data, "more_body": True})
                self.sending = False
            if trial.committed:
                watch.at = clock() + idle

    def _sort(self, events: list[bytes]) -> tuple[bytes, Kind | None]:
        """(bytes that go to the client, how the stream ends if it does: END or ERROR). Notes whether there was
        content; leaves out malformed events and whatever follows the end."""
        read = self.reader.read
        if self.translation is not None:
            return self._sort_translated(events, self.translation)
        if len(events) == 1 and (event := events[0]).__class__ is bytes:
            kind = read(event)
            if kind is _CONTENT:
                self.content = True
                return event, None
            if kind is _HELD:
                return event, None
            if kind is _HIDDEN:
                return b"", None
            if kind is not _MALFORMED:
                return event, kind
            self.dropped += 1
            return b"", None
        out: list[bytes] = []
        for event in events:
            if event.__class__ is sse.Fragment:
                out.append(event)
                if self._long_event_ended(event):
                    return b"".join(out), _END
                continue
            kind = read(event)
            if kind is _MALFORMED:
                self.dropped += 1
                continue
            if kind is _HIDDEN:
                continue
            out.append(event)
            if kind is _CONTENT:
                self.content = True
            elif kind is not _HELD:
                return b"".join(out), kind
        return b"".join(out), None

    def _sort_translated(self, events: list[bytes], translation: StreamTranslation) -> tuple[bytes, Kind | None]:
        """The same in the client's format."""
        out: list[bytes] = []
        for event in events:
            if event.__class__ is sse.Fragment:
                raise UpstreamError("too_large", "an event is too long to be translated")
            kind = self.reader.read(event)
            if kind is _MALFORMED:
                self.dropped += 1
                continue
            try:
                out.append(translation.feed(event))
                if kind is _END:
                    out.append(translation.finish())
            except InvalidAnswer as error:
                raise UpstreamError("invalid_response", str(error)) from None
            if kind is _END or kind is Kind.ERROR:
                return b"".join(out), kind
            if kind is _CONTENT:
                self.content = True
        return b"".join(out), None

    def _long_event_ended(self, fragment: bytes) -> bool:
        """Note a piece of an event that is too long to be read; True when it was the last event."""
        if not self.mid_event:
            self.reader.long_event(fragment)
        self.content = True
        self.mid_event = not fragment.endswith((b"\n", b"\r"))
        self.long_tail = (self.long_tail + fragment)[-TAIL_BYTES:]
        if self.mid_event:
            return False
        self.reader.long_event_ended(self.long_tail)
        self.long_tail = b""
        return self.reader.ends_long and self.reader.complete()

    async def _hold(self, data: bytes) -> None:
        """Keep what comes before the content; with the content send all of it."""
        self.held.append(data)
        self.held_bytes += len(data)
        if self.content or self.held_bytes > MAX_HELD_BYTES:
            await self._commit()
            self.sending = True
            await self.send({"type": "http.response.body", "body": b"".join(self.held), "more_body": True})
            self.sending = False
            self.held.clear()

    async def _commit(self) -> None:
        self.trial.commit(answer_id=self.reader.answer_id)
        self.splitter.max_event = sse.MAX_EVENT_BYTES
        watch, now = self.watch, self.state.clock()
        watch.limit(inf, "timeout_idle")
        watch.ceiling = after(now, self.timeouts.stream_max)
        fields = self.received()
        fields += self.state.recorder.route_headers(self.exchange)
        self.state.metrics.streams.add(self.exchange.id)
        await self.send({"type": "http.response.start", "status": self.reply.status, "headers": fields})

    # -- its end -------------------------------------------------------------------------------------------
    async def _ended(self, data: bytes, ending: Kind) -> bool:
        """The stream's own last event came."""
        reader = self.reader
        good = ending is _END
        if not (self.content or self.trial.committed or (good and reader.end_is_content)):
            if good:
                raise UpstreamError("invalid_response", "the stream ended without content")
            raise UpstreamError("error_in_200", reader.error)
        # An upstream's error event is in the client's own format, or was translated into it; nothing may follow it,
        # above all no terminator.
        await self._finish(data, "error_in_200" if reader.error or not good else None, reader.error)
        return good

    async def _body_ended(self) -> bool:
        """The upstream closed the body before a terminator."""
        rest = self.splitter.flush()
        data = b""
        if rest.strip() and not self.mid_event:
            # Without its blank line the last event is none by the standard, but some servers forget it; half an
            # event is not a malformed one.
            parsed = sse.fields(rest + b"\n\n")
            if parsed is not None and parsed[1]:
                dropped = self.dropped
                data, ending = self._sort([rest + b"\n\n"])
                self.dropped = dropped
                if ending is not None:
                    return await self._ended(data, ending)
        if not self.reader.complete():
            raise UpstreamError("truncated", "the stream ended without its terminator")
        try:
            terminator = self.reader.terminator if self.translation is None else self.translation.finish()
        except InvalidAnswer as error:
            raise UpstreamError("invalid_response", str(error)) from None
        await self._finish(data + terminator, None, "")
        return True

    async def _finish(self, data: bytes, error_class: str | None, message: str) -> None:
        """Send the last bytes, with everything written down before."""
        exchange = self.exchange
        if not self.trial.committed:
            await self._commit()
            data = b"".join([*self.held, data])
        self._close("success" if error_class is None else "failure", error_class, message)
        self.state.recorder.finish(
            exchange,
            status="routed" if error_class is None else "failed",
            http_status=self.reply.status,
            error_code=error_class,
            message=message,
            rest=data,
        )
        self.watch.limit(inf, "")
        await self.send({"type": "http.response.body", "body": data, "more_body": False})

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
        word = b""
        if not self.sending:  # else the client does not read
            word = formats.error_event(
                self.exchange, AllTargetsFailed("the upstream's answer was cut off", code=error_class)
            )
            if self.mid_event:
                word = b"\n\n" + word
        self.state.recorder.finish(
            self.exchange,
            status="timeout" if ours else "failed",
            http_status=self.reply.status,
            error_code=error_class,
            message=failure.message,
            rest=word,
        )
        if not word:
            return
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
        if exchange.operation in COUNTED and (usage.output is None or usage.input is None):
            estimate(self.state.live, exchange, reader.text_bytes)
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
