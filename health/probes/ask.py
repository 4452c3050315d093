"""Asking one endpoint, through the gateway's own seam to the network: the same guard of addresses, credentials,
headers, proxies and no redirects. One time limit over all that a probe does, a second question included.

Nothing of the credential leaves this module: what a server repeats of it is blotted out.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final

from health.probes import questions
from health.probes.questions import Finding, Question
from routes.gateway.upstream import UpstreamError
from routing_project.logs import redact

if TYPE_CHECKING:
    from health.probes.plan import Subject
    from routes.gateway.overlay import Credential
    from routes.gateway.upstream import Endpoint, Upstream

#: Lists of models are long where thousands are resold.
MAX_BODY_BYTES: Final = 8 * 1024 * 1024
MAX_MESSAGE: Final = 300


async def ask(upstream: Upstream, subject: Subject, kind: str, credential: Credential | None) -> Finding:
    """``kind`` may be a cheaper one than the subject's. Never raises but when it is cancelled."""
    asking = _Asking(upstream, subject, credential)
    try:
        async with asyncio.timeout(subject.probe.timeout):
            finding = await asking.run(kind)
    except TimeoutError:
        text = f"no answer within {subject.probe.timeout:g} s"
        finding = Finding(asking.kind, False, None, None, asking.phase, text)
    except UpstreamError as error:
        finding = Finding(asking.kind, False, None, None, error.error_class, error.message)
    except Exception as error:  # ours, and no reason to call a target broken
        finding = Finding(asking.kind, False, None, None, "internal", type(error).__name__)
    return finding._replace(message=_presentable(finding.message, credential))


class _Asking:
    """One probe. ``kind``: what is being asked; ``phase``: the error class if time runs out now."""

    def __init__(self, upstream: Upstream, subject: Subject, credential: Credential | None) -> None:
        self._upstream = upstream
        self._subject = subject
        self._credential = credential
        self.kind = subject.kind
        self.phase = "connect_timeout"

    async def run(self, kind: str) -> Finding:
        self.kind = kind
        subject = self._subject
        endpoint = self._upstream.endpoint(subject.endpoint, self._credential)
        began = time.monotonic()
        wire, model = subject.provider.wire, subject.model
        if kind == "completion" and model is not None:
            status, body = await self._answer(endpoint, questions.completion(wire, model))
            if wire != "anthropic" and questions.wants_other_name(status, body):
                began = time.monotonic()
                status, body = await self._answer(endpoint, questions.completion(wire, model, other_name=True))
            return questions.judge_completion(wire, status, body, subject.price, _since(began))
        if kind == "http":
            status, _ = await self._answer(endpoint, questions.page(subject.probe.path), whole=False)
            return questions.judge_page(status, subject.probe, _since(began))
        if kind == "models":
            status, body = await self._answer(endpoint, questions.list_of_models(wire))
            if status not in questions.NO_SUCH_LIST:
                return questions.judge_list(status, body, _since(began))
        self.kind, self.phase, began = "tcp", "connect_timeout", time.monotonic()
        await self._upstream.reach(endpoint)
        return Finding("tcp", True, _since(began))

    async def _answer(self, endpoint: Endpoint, question: Question, *, whole: bool = True) -> tuple[int, bytes]:
        """(status, body), both without the credential. Raises UpstreamError."""
        head = endpoint.head(
            question.method, question.resource, question.query, [], len(question.body), added=question.headers
        )
        self.phase = "connect_timeout"
        reply = await self._upstream.send(endpoint, question.method, head, question.body, self._connected)
        try:
            self.phase = "timeout_idle"
            body = bytearray()
            while whole and (piece := await reply.read()):
                body += piece
                if len(body) > MAX_BODY_BYTES:
                    raise UpstreamError("too_large", f"the answer is larger than {MAX_BODY_BYTES // 2**20} MB")
        finally:
            reply.close()
        if self._credential is not None and self._credential.value:
            body = body.replace(self._credential.value.encode(), b"***")
        return reply.status, bytes(body)

    def _connected(self) -> None:
        self.phase = "timeout_first_byte"


def _since(began: float) -> float:
    return round((time.monotonic() - began) * 1000, 1)


def _presentable(message: str, credential: Credential | None) -> str:
    """One printable line without the credential, cut only after that: half a secret is one too."""
    if credential is not None and credential.value:
        message = message.replace(credential.value, "***")
    line = "".join(character if character.isprintable() else " " for character in message)
    return str(redact(" ".join(line.split())))[:MAX_MESSAGE]
