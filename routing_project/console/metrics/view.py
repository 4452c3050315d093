"""``/metrics``: one scrape for every process of the installation.

What processes counted comes from the folder they share, with the totals of dead ones; what is so now (circuits, heads,
probes, the journal, processes) is looked up at the scrape, in files and in the live state. No database and no Redis: it
answers while they are away.
"""

from __future__ import annotations

import hmac
from contextlib import suppress
from ipaddress import ip_address
from typing import TYPE_CHECKING, Final

from django.http import HttpResponse
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from health.configured import configured
from health.heads.metrics import HeadCollector
from health.metrics import TargetCollector
from routing_project.console.metrics.counted import CountedCollector
from routing_project.console.metrics.journal import JournalCollector
from routing_project.console.metrics.processes import ProcessCollector
from routing_project.env import get_env
from routing_project.logs import get_logger
from routing_project.metrics import folder
from routing_project.metrics.instruments import bring_dropped_lines

if TYPE_CHECKING:
    from django.http import HttpRequest

    from routing_project.env import Env

REFUSED: Final = (
    "/metrics needs the token or an allowed network.\n"
    "Send 'Authorization: Bearer TOKEN' with the value of SIGNALBOX_METRICS_TOKEN (in Prometheus: authorization, "
    "credentials_file),\nor scrape from a network that SIGNALBOX_METRICS_NETWORKS names.\n"
)
BUSY: Final = "the counts of processes that ended are being put together; try again\n"

log = get_logger(__name__)


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


def _allowed(request: HttpRequest, env: Env) -> bool:
    """Open to all until a token or a network is set; then either of them opens it."""
    if not env.metrics_token and not env.metrics_networks:
        return True
    given = request.headers.get("Authorization", "")
    if env.metrics_token and hmac.compare_digest(given.encode(), f"Bearer {env.metrics_token}".encode()):
        return True
    try:
        address = ip_address(request.META.get("REMOTE_ADDR", ""))
    except ValueError:
        return False
    return any(address in network for network in env.metrics_networks)
