"""The recorder of a gateway that keeps copies of payloads: writes them into the journal just before their route's row.

That order is the promise: whoever has the row has the copies, whatever is killed when. It puts cutting and redacting
before the last bytes of an answer, which costs tens to hundreds of microseconds; of a stream all else is out by then.
Secrets are taken out before anything is written, for the journal is a file. Must not fail a request.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final, Literal

from history.records import Excerpt, Payload
from routes.gateway.errors import render
from routes.gateway.intake import index_headers
from routes.gateway.payloads.copy import AnswerCopy, excerpt
from routes.gateway.recorder import SWITCHING_PROTOCOLS, Recorder

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from typing import Any

    from history.journal import JournalWriter
    from routes.gateway.errors import Refusal
    from routes.gateway.exchange import Exchange
    from routes.gateway.metrics import Metrics
    from routes.gateway.overlay import Credential

#: Shorter credentials stand in too many words.
MIN_CREDENTIAL: Final = 6

logger = logging.getLogger(__name__)


class PayloadRecorder(Recorder):
    """``policy``: copies of every request, or of those that failed and those that failover saved."""

    def __init__(
        self,
        journal: JournalWriter,
        metrics: Metrics,
        policy: Literal["failures", "all"],
        credential: Callable[[str], Credential | None],
    ) -> None:
        super().__init__(journal, metrics)
        self.watch = self._watch
        self._policy = policy
        self._credential = credential

    def _watch(self, exchange: Exchange, send: Callable[[Any], Awaitable[None]]) -> Callable[[Any], Awaitable[None]]:
        exchange.copy = copy = AnswerCopy(send)
        return copy.send

    def finish(
        self,
        exchange: Exchange,
        *,
        status: str,
        http_status: int | None = None,
        error_code: str | None = None,
        message: str = "",
        fields: Sequence[tuple[bytes, bytes]] = (),
        rest: bytes = b"",
        refusal: Refusal | None = None,
    ) -> None:
        copy, exchange.copy = exchange.copy, None  # which holds the connection, which holds the exchange
        wanted = self._policy == "all" or status != "routed" or len(exchange.attempts) > 1
        # What a WebSocket carries is not kept.
        if wanted and copy is not None and http_status != SWITCHING_PROTOCOLS:
            if refusal is not None:
                _, fields, rest = render(refusal, exchange)
            self._keep(exchange, copy, fields, rest)
        super().finish(exchange, status=status, http_status=http_status, error_code=error_code, message=message)

    def _keep(self, exchange: Exchange, copy: AnswerCopy, fields: Sequence[tuple[bytes, bytes]], rest: bytes) -> None:
        try:
            known = self._known(exchange)
            request, in_request = self._request(exchange, known)
            response, in_response = copy.excerpt(fields, rest, known)
            payload = Payload(exchange.id, request, response, in_request + in_response)
            outcome = "kept" if self.journal.append_payload(payload) else "dropped"
        except Exception as error:
            # Neither the traceback nor the error's words: they may quote what was not redacted yet.
            route = exchange.route_id
            about = {"request_id": route}
            logger.error("the payload of request %s was not kept: %s", route, type(error).__name__, extra=about)
            outcome = "failed"
        self.metrics.payloads.add((outcome,))

    @staticmethod
    def _request(exchange: Exchange, known: list[bytes]) -> tuple[Excerpt, int]:
        index = index_headers(exchange.headers)
        content_type = index.get(b"content-type", b"")
        if not exchange.received:
            return Excerpt(content_type.decode("utf-8", "replace"), None), 0
        return excerpt(exchange.body, content_type, index.get(b"content-encoding", b"").strip().lower(), known)

    def _known(self, exchange: Exchange) -> list[bytes]:
        """Some providers repeat the credential they refuse."""
        place = exchange.place
        credential = self._credential(place.target.provider.id) if place is not None else None
        value = credential.value.encode() if credential is not None else b""
        return [value] if len(value) >= MIN_CREDENTIAL else []
