"""Heads at work: an installation with two gateways, heads that beat on threads of their own, and one that does not."""

from __future__ import annotations

import hashlib
import hmac
import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Self

from tests.gateways import Answer, wait_until
from tests.stack import Stack

if TYPE_CHECKING:
    from pathlib import Path

    from tests.simulators import ProviderHandle

SECRET = "a secret of the tests"
#: A head is offline after three of these.
INTERVAL = 2.0


class Stage(Stack):
    """``own-gpus`` is a provider whose base URL leads nowhere; that of ``fallen`` serves while no head does."""

    def __init__(self, folder: Path, provider: ProviderHandle) -> None:
        super().__init__(folder, workers=2, SIGNALBOX_HEAD_INTERVAL=str(INTERVAL), SIGNALBOX_WEBHOOK_SECRET=SECRET)
        self.provider = provider

    def __enter__(self) -> Self:
        super().__enter__()
        shared = {"wire": "openai", "network": "loopback", "head_networks": ["127.0.0.1/32"]}
        base = self.provider.base_url
        self.import_config(
            {
                "version": 1,
                "providers": [
                    {"slug": "own-gpus", "name": "Own", "base_url": "http://127.0.0.1:9/v1", **shared},
                    {"slug": "fallen", "name": "Fallen", "base_url": base, "fallback_to_base_url": True, **shared},
                ],
                "profiles": [
                    {"slug": "default", "name": "Default", "targets": [{"provider": "own-gpus"}], **ROUND},
                    {"slug": "fallen", "name": "Fallen", "targets": [{"provider": "fallen"}], **ROUND},
                ],
            }
        )
        self.operator = self.key_with("operate")
        wait_until(lambda: self.heads().status == 200, 10, "the operator's key is live")
        return self

    def key_with(self, scope: str) -> str:
        """A new access key."""
        made = self.request("POST", "/api/v1/access-keys/", {"name": f"may {scope}", "scopes": [scope]})
        return str(made.json()["value"])

    def heads(self, path: str = "", method: str = "GET", body: Any = None) -> Answer:
        return self.request(method, f"/api/v1/heads/{path}", body, key=self.operator)

    def register(self, head_id: str, **given: Any) -> Answer:
        body = {"head_id": head_id, "provider": "own-gpus", "endpoint": self.provider.base_url, **given}
        return self.heads("", "POST", body)

    def beat(self, head_id: str, load: float = 0, status: str = "active", **given: Any) -> Answer:
        return self.heads(f"{head_id}/status/", "PATCH", {"status": status, "load": load, **given})

    def gauge(self, name: str) -> float:
        line = next(line for line in self.metrics().splitlines() if line.startswith(f"{name} "))
        return float(line.split(" ")[1])

    def events(self, after: str) -> list[str]:
        """Ids of heads that the timeline tells this of, in its order."""
        sql = "select subject from health_healthevent where kind = 'head' and after = ? order by id"
        return [subject for (subject,) in self.query(sql, after)]

    def webhook(self, body: Any, *, secret: str = SECRET, at: float = 0.0) -> Answer:
        content, timestamp = json.dumps(body).encode(), str(int(time.time() + at))
        signed = hmac.new(secret.encode(), timestamp.encode() + b"." + content, hashlib.sha256).hexdigest()
        headers = {
            "Content-Type": "application/json",
            "X-Signalbox-Timestamp": timestamp,
            "X-Signalbox-Signature": f"sha256={signed}",
        }
        return self.raw("POST", "/webhook/head-status", content, headers)

    def raw(self, method: str, path: str, content: bytes, headers: dict[str, str]) -> Answer:
        import http.client

        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request(method, path, content, headers)
            response = connection.getresponse()
            return Answer(response.status, dict(response.getheaders()), response.read())
        finally:
            connection.close()


#: Sessions choose anew with every request, and everybody gets a turn.
ROUND: dict[str, Any] = {"strategy": "round_robin", "affinity": {"enabled": False}}


class Pulse:
    """Heartbeats of many heads until each is stopped; a head that is stopped says nothing more."""

    def __init__(self, stage: Stage, head_ids: list[str]) -> None:
        self._stage = stage
        self._beating = set(head_ids)
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()

    def stop(self, head_ids: list[str]) -> None:
        self._beating.difference_update(head_ids)

    def _run(self) -> None:
        with ThreadPoolExecutor(4) as pool:
            while not self._end.wait(INTERVAL / 4):
                list(pool.map(self._stage.beat, sorted(self._beating)))
