"""``/metrics``: one scrape for every process of the installation.

What processes counted comes from the folder they share, with the totals of dead ones; what is so now (circuits, heads,
probes, the journal, processes) is looked up at the scrape, in files and in the live state. No database and no Redis: it
answers while they are away. It is answered in front of Django's check of the host: whoever scrapes names one by its
address. Only where anybody may scrape, a name must be an allowed one: any web page could read it by a name of its own.
"""

from __future__ import annotations

import hmac
from contextlib import suppress
from ipaddress import ip_address
from typing import TYPE_CHECKING, Final, cast
from urllib.parse import urlsplit

from asgiref.sync import iscoroutinefunction, sync_to_async
from django.http import HttpResponse
from django.urls import resolve
from django.utils.decorators import sync_and_async_middleware
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from health.configured import configured
from health.heads.metrics import HeadCollector
from health.metrics import TargetCollector
from routing_project.console.metrics.counted import CountedCollector
from routing_project.console.metrics.journal import JournalCollector
from routing_project.console.metrics.middleware import OWN
from routing_project.console.metrics.processes import ProcessCollector
from routing_project.env import get_env
from routing_project.logs import get_logger
from routing_project.metrics import folder
from routing_project.metrics.instruments import bring_dropped_lines

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from django.http import HttpRequest
    from django.http.response import HttpResponseBase

    from routing_project.env import Env

REFUSED: Final = (
    "/metrics needs the token or an allowed network.\n"
    "Send 'Authorization: Bearer TOKEN' with the value of SIGNALBOX_METRICS_TOKEN (in Prometheus: authorization, "
    "credentials_file),\nor scrape from a network that SIGNALBOX_METRICS_NETWORKS names.\n"
)
BUSY: Final = "the counts of processes that ended are being put together; try again\n"

log = get_logger(__name__)


@sync_and_async_middleware
def answer_scrapes(get_response: Callable[..., object]) -> Callable[..., object]:
    """Middleware, before whatever asks for the host. What is no scrape goes on to it."""
    if iscoroutinefunction(get_response):
        in_thread = sync_to_async(metrics)

        async def asynchronous(request: HttpRequest) -> HttpResponseBase:
            if _is_scrape(request):
                return await in_thread(request)
            return await cast("Awaitable[HttpResponseBase]", get_response(request))

        return asynchronous

    def synchronous(request: HttpRequest) -> HttpResponseBase:
        return metrics(request) if _is_scrape(request) else cast("HttpResponseBase", get_response(request))

    return synchronous


def _is_scrape(request: HttpRequest) -> bool:
    if request.path != OWN or request.method not in ("GET", "HEAD"):
        return False
    if not _guarded(get_env()) and not _is_address(request.headers.get("Host", "")):
        return False
    request.resolver_match = resolve(OWN)  # for the line of the access log
    return True


def metrics(request: HttpRequest) -> HttpResponse:
    """The scrape. Reads files, no database."""
    env = get_env()
    if not _allowed(request, env):
        return HttpResponse(REFUSED, status=403, content_type="text/plain; charset=utf-8")
    env.make_folders()  # a console alone may be scraped before any process wrote there
    try:
        return HttpResponse(scrape(env), content_type=CONTENT_TYPE_LATEST)
    except folder.Busy:
        return HttpResponse(BUSY, status=503, content_type="text/plain; charset=utf-8", headers={"Retry-After": "1"})


def scrape(env: Env) -> bytes:
    """Raises ``folder.Busy``."""
    with suppress(folder.Busy):  # whoever has it does the same, or reads
        try:
            folder.fold(env.metrics_dir)
        except OSError as error:  # a full disk: they are read where they are
            log.warning("the counts of processes that ended cannot be put together", error=str(error))
    bring_dropped_lines()
    snapshot = configured()
    registry = CollectorRegistry(auto_describe=False)
    for collector in (
        CountedCollector(env.metrics_dir, snapshot),
        ProcessCollector(env),
        JournalCollector(env.journal_dir),
        HeadCollector(),
        TargetCollector(snapshot),
    ):
        registry.register(collector)
    return generate_latest(registry)


def _is_address(host: str) -> bool:
    try:
        ip_address(urlsplit(f"//{host}").hostname or "")
    except ValueError:
        return False
    return True


def _guarded(env: Env) -> bool:
    return bool(env.metrics_token or env.metrics_networks)


def _allowed(request: HttpRequest, env: Env) -> bool:
    """Open to all until a token or a network is set; then either of them opens it."""
    if not _guarded(env):
        return True
    given = request.headers.get("Authorization", "")
    if env.metrics_token and hmac.compare_digest(given.encode(), f"Bearer {env.metrics_token}".encode()):
        return True
    try:
        address = ip_address(request.META.get("REMOTE_ADDR", ""))
    except ValueError:
        return False
    return any(address in network for network in env.metrics_networks)
