"""What a request holds of its key's limits is given back even when the gateway's own code fails in the middle of it,
and when nothing of it can be written down any more."""

from __future__ import annotations

import time
from random import Random
from types import SimpleNamespace
from typing import Any, cast

import pytest

from routes.engine.local_live import LocalLiveState
from routes.gateway.app import Gateway
from routes.gateway.auth import AccessKey
from routes.gateway.overlay import Overlay
from routes.gateway.state import Config, GatewaySettings, GatewayState
from tests.documents import access_key, overlay, profile, provider, snapshot, target
from tests.gateways import KEY

#: Many of a kind.
pytestmark = pytest.mark.thorough


class Failing:
    """Has no room for anything."""

    watch = None

    def finish(self, *_: Any, **__: Any) -> None:
        raise OSError("no room")


class Nothing:
    """Metrics that nobody reads."""

    def __getattr__(self, name: str) -> Any:
        return self

    def __call__(self, *_: Any) -> None:
        pass


async def test_a_request_whose_code_fails_gives_back_what_it_held() -> None:
    live = LocalLiveState()
    key = access_key(KEY, limits={"concurrency": 1, "rpm": 10})
    held = []

    async def read_body(limit: int) -> bytes:
        held.append(live.key_usage(key["id"], time.monotonic(), time.time()).in_flight)
        raise RuntimeError("our own fault")

    cycle = SimpleNamespace(attach=lambda exchange: None, read_body=read_body, response_started=False)
    state = GatewayState(
        settings=GatewaySettings(1000, frozenset()),
        live=live,
        recorder=cast("Any", Failing()),
        metrics=cast("Any", Nothing()),
        rng=Random(1),
        clock=time.monotonic,
        upstream=cast("Any", None),
        config=Config(
            snapshot([provider("a")], [profile("default", [target("a")])]),
            Overlay.from_document(overlay(keys=[key])),
            frozenset(),
        ),
    )
    scope = {
        "type": "http",
        "method": "POST",
        "http_version": "1.1",
        "raw_path": b"/v1/chat/completions",
        "query_string": b"",
        "headers": [(b"host", b"x"), (b"authorization", b"Bearer " + KEY.encode())],
        "client": ("127.0.0.1", 1),
        "signalbox": cycle,
    }
    for _ in range(3):
        with pytest.raises(OSError, match="no room"):
            await Gateway(state, cast("Any", None))(scope, None, None)
    assert held == [1, 1, 1]
    usage = live.key_usage(key["id"], time.monotonic(), time.time())
    assert (usage.requests, usage.in_flight) == (3, 0)


def test_a_key_of_an_older_overlay_has_no_limits() -> None:
    document = access_key(KEY)
    assert "limits" not in document
    assert AccessKey.from_document(document).limits is None
