"""One attempt to bring a message to its channel, over HTTP or SMTP, and what came of it.

Addresses are checked where the socket is made (the gateway's guard): by the channel's ``network`` below the ceiling
of the installation. Redirects are not followed, answers are read only as far as an error needs. What is said of a
failure never holds the URL or the secret, also where the receiver repeats it. Must not write to the database.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import os
import re
import smtplib
import ssl
import time
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import unquote, urlsplit

import aiohttp
import orjson
from django.conf import settings
from django.core.mail import EmailMessage, get_connection
from yarl import URL

from health.alerts import formats
from health.models import AlertChannel
from routes import crypto
from routes.gateway import guard
from routing_project.env import EnvError, get_env
from routing_project.logs import REDACTED, redact

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

#: Seconds for everything: name, connection, request, answer.
TIMEOUT: Final = 10
#: Of an answer that refuses: bytes, and seconds to read them in. So many that what is shown of it, a line of 300
#: characters, never holds the first half of a secret whose second half was not read.
ERROR_BYTES: Final = 64 * 1024
ERROR_SECONDS: Final = 3
#: Statuses after which it may work later.
RETRIED: Final = frozenset({408, 409, 421, 423, 425, 429})
#: Parts of a URL that are shorter tell nobody anything, and are in every other text.
SECRET_PART: Final = 6
MAIL_REFUSED_FOR_GOOD: Final = 500
#: Seconds for each step of a conversation with the mail server.
MAIL_TIMEOUT: Final = 5


class Outcome(NamedTuple):
    """``final``: trying again would change nothing. ``retry_after`` in seconds, as the receiver wishes."""

    sent: bool
    error: str = ""
    http_status: int | None = None
    final: bool = False
    retry_after: int | None = None


Job = tuple["UUID", AlertChannel, formats.Message]


def send_all(jobs: Sequence[Job]) -> list[Outcome]:
    """Send messages side by side; takes about as long as the slowest."""
    return asyncio.run(_send_all(jobs))


async def _send_all(jobs: Sequence[Job]) -> list[Outcome]:
    return list(await asyncio.gather(*(_send(*job) for job in jobs)))


async def _send(delivery_id: UUID, channel: AlertChannel, message: formats.Message) -> Outcome:
    """Never raises: whatever goes wrong is an outcome."""
    try:
        if channel.kind == AlertChannel.Kind.EMAIL:
            return await asyncio.to_thread(_mail, str(delivery_id), channel, message)
        return await _post(str(delivery_id), channel, message)
    except (crypto.SealError, EnvError) as error:
        return Outcome(False, f"the channel's URL or secret cannot be read: {error}; enter it again", final=True)
    except Exception as error:  # a bug must not stop the other messages; its text might hold anything
        return Outcome(False, f"internal error: {type(error).__name__}")


# -- HTTP ----------------------------------------------------------------------------------------------
async def _post(delivery_id: str, channel: AlertChannel, message: formats.Message) -> Outcome:
    url = crypto.unseal(bytes(channel.url or b""), channel.context("url")).decode()
    env = get_env()
    make = {"webhook": formats.webhook, "slack": formats.slack, "discord": formats.discord}[channel.kind]
    body = orjson.dumps(make(message, delivery_id, env.public_url))
    headers = {
        "Content-Type": "application/json",
        "User-Agent": "Signalbox",
        "X-Signalbox-Delivery": delivery_id,
    }
    secrets = _secret_parts(url)
    if channel.kind == AlertChannel.Kind.WEBHOOK:
        secret = crypto.unseal(bytes(channel.secret or b""), channel.context("secret"))
        headers |= signature(secret, body, int(time.time()))
        secrets.append(secret.decode())
    allowed = guard.ALLOWED[channel.network] & env.upstream_network_ceiling
    connector = aiohttp.TCPConnector(socket_factory=guard.socket_factory(allowed), force_close=True)
    limits = aiohttp.ClientTimeout(total=TIMEOUT)
    try:
        async with (
            aiohttp.ClientSession(
                connector=connector, timeout=limits, cookie_jar=aiohttp.DummyCookieJar(), auto_decompress=False
            ) as session,
            session.post(URL(url, encoded=True), data=body, headers=headers, allow_redirects=False) as answer,
        ):
            if 200 <= answer.status < 300:
                return Outcome(True, http_status=answer.status)
            said = _clean((await _read(answer.content)).decode("utf-8", "replace"), secrets)
            return _refused(answer.status, said, answer.headers.get("Retry-After", ""))
    except TimeoutError:
        return Outcome(False, f"no answer within {TIMEOUT} s")
    except aiohttp.ClientConnectorDNSError:
        return Outcome(False, "the name of the host could not be resolved")
    except (aiohttp.ClientSSLError, ssl.SSLError) as error:
        return Outcome(False, _clean(f"TLS: {getattr(error, 'os_error', error)}", secrets))
    except aiohttp.ClientConnectorError as error:
        return _not_connected(error.os_error, channel.network)
    except (aiohttp.ClientError, OSError, ValueError) as error:
        return Outcome(False, f"the connection broke, or what came over it is no answer: {type(error).__name__}")


async def _read(content: aiohttp.StreamReader) -> bytes:
    """What a receiver says; nothing where it breaks off, because half a secret is one too."""
    try:
        async with asyncio.timeout(ERROR_SECONDS):
            return await content.readexactly(ERROR_BYTES)
    except asyncio.IncompleteReadError as shorter:
        return shorter.partial
    except (TimeoutError, aiohttp.ClientError):
        return b""


def signature(secret: bytes, body: bytes, now: int) -> dict[str, str]:
    """The headers that prove where a webhook comes from, as those of our own incoming ones: HMAC-SHA256 over the
    timestamp (Unix seconds), a dot and the body."""
    digest = hmac.new(secret, str(now).encode() + b"." + body, hashlib.sha256).hexdigest()
    return {"X-Signalbox-Timestamp": str(now), "X-Signalbox-Signature": f"sha256={digest}"}


def _refused(status: int, said: str, retry_after: str) -> Outcome:
    if 300 <= status < 400:
        return Outcome(False, f"HTTP {status}: redirects are not followed; enter the final URL", status, final=True)
    wait = int(retry_after) if retry_after.isascii() and retry_after.isdigit() and len(retry_after) < 9 else None
    error = f"HTTP {status}: {said}" if said else f"HTTP {status}"
    return Outcome(False, error, status, final=status < 500 and status not in RETRIED, retry_after=wait)


def _not_connected(error: OSError, network: str) -> Outcome:
    if isinstance(error, guard.NotAllowed):
        hint = f"{error.strerror}: the channel may be reached in '{network}', see also SIGNALBOX_UPSTREAM_NETWORKS"
        return Outcome(False, hint, final=True)
    return Outcome(False, f"cannot connect: {os.strerror(error.errno) if error.errno else type(error).__name__}")


def _secret_parts(url: str) -> list[str]:
    """Whatever of a URL could be a secret: path and query as a whole, and their parts."""
    parts = urlsplit(url)
    found = {url, parts.path, parts.query, *re.split(r"[/?&=;,]", f"{parts.path}?{parts.query}")}
    found |= {unquote(part) for part in found}
    return [part for part in found if len(part) >= SECRET_PART]


def _clean(text: str, secrets: Sequence[str]) -> str:
    """One printable line without secrets."""
    for secret in sorted(secrets, key=len, reverse=True):
        text = text.replace(secret, REDACTED)
    line = " ".join("".join(character if character.isprintable() else " " for character in text).split())
    return str(redact(line))


# -- e-mail --------------------------------------------------------------------------------------------
def _mail(delivery_id: str, channel: AlertChannel, message: formats.Message) -> Outcome:
    """Through Django's mail settings. Blocks, ``MAIL_TIMEOUT`` for each step at most."""
    if not settings.EMAIL_HOST:
        return Outcome(False, "no mail server is set: SIGNALBOX_EMAIL_URL", final=True)
    subject, text = formats.email(message, delivery_id, get_env().public_url)
    domain = settings.DEFAULT_FROM_EMAIL.rpartition("@")[2].rstrip(">")
    mail = EmailMessage(
        subject,
        text,
        to=channel.recipients,
        headers={"Message-ID": f"<{delivery_id}@{domain}>", "X-Signalbox-Delivery": delivery_id},
        connection=get_connection(timeout=MAIL_TIMEOUT),
    )
    secrets: list[Any] = [settings.EMAIL_HOST_PASSWORD] if settings.EMAIL_HOST_PASSWORD else []
    try:
        mail.send()
    except smtplib.SMTPRecipientsRefused as error:
        final = all(code >= MAIL_REFUSED_FOR_GOOD for code, _ in error.recipients.values())
        return Outcome(False, "the mail server refused the recipients", final=final)
    except smtplib.SMTPResponseException as error:
        said = error.smtp_error.decode("utf-8", "replace") if isinstance(error.smtp_error, bytes) else error.smtp_error
        final = error.smtp_code >= MAIL_REFUSED_FOR_GOOD
        return Outcome(False, _clean(f"SMTP {error.smtp_code}: {said}", secrets), final=final)
    except TimeoutError:
        return Outcome(False, f"the mail server did not answer within {MAIL_TIMEOUT} s")
    except (smtplib.SMTPException, OSError) as error:
        return Outcome(False, f"the mail server cannot be reached or broke off: {type(error).__name__}")
    return Outcome(True)
