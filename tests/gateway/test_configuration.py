"""How a revision and an overlay reach a running gateway: files, Redis, whichever is newer, never half."""

from __future__ import annotations

import json
import socket
import threading
from typing import TYPE_CHECKING, Any

import pytest
import redis

from routes.crypto import seal
from tests.documents import access_key, an_id, document, overlay, profile, provider, target
from tests.gateways import ENCRYPTION_KEY, KEY, Gateways, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

#: They start and stop processes.
pytestmark = pytest.mark.thorough

OTHER = "sbx_" + "other" * 8


def test_without_a_revision_requests_get_503_until_there_is_one(gateway: Gateways) -> None:
    answer = gateway.chat()
    assert (answer.status, answer.json()["error"]["code"], answer.headers["retry-after"]) == (503, "not_ready", "1")
    assert gateway.get("/readyz").status == 503
    assert gateway.get("/health").status == 503
    assert gateway.get("/healthz").status == 200
    gateway.publish(document([provider("a", models={})]))
    assert gateway.chat().status == 404
    assert gateway.get("/readyz").json()["revision"] == 1


def test_a_process_starts_with_what_the_data_folder_holds(gateway: Gateways) -> None:
    gateway.publish(document([provider("a", models={})]))
    gateway.kill()
    gateway.restart()
    assert gateway.chat().status == 404  # the very first request is routed


@pytest.mark.faults
@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"\xff\xff", b'{"format": 2}', json.dumps(document([provider("a")]) | {"profiles": 3}).encode()],
)
def test_a_broken_revision_is_ignored_and_the_old_one_serves(shared_gateway: Gateways, content: bytes) -> None:
    gateway = shared_gateway
    gateway.publish(document([provider("a", models={})]))
    before = gateway.log().count("cannot be used")
    gateway.write(gateway.data / "revision.json", content)
    wait_until(lambda: gateway.log().count("cannot be used") > before)
    assert gateway.chat().status == 404


@pytest.mark.parametrize(
    "content",
    [b"", b"sbx1junk", seal(b"{}", "overlay", (b"x" * 32,)), seal(b"{}", "overlay", (ENCRYPTION_KEY,))],
    ids=["empty", "junk", "other-key", "no-content"],
)
def test_a_broken_overlay_is_ignored_and_the_old_keys_stay_valid(shared_gateway: Gateways, content: bytes) -> None:
    gateway = shared_gateway
    gateway.publish(document([provider("a", models={})]))
    before = gateway.log().count("cannot be used")
    gateway.write(gateway.data / "overlay.bin", content)
    wait_until(lambda: gateway.log().count("cannot be used") > before)
    assert gateway.chat().status == 404
    assert "overlay" in gateway.get("/readyz").json()["degraded"]
    gateway.overlay(keys=[access_key(KEY, name=f"after {content[-8:]!r}")])
    assert "overlay" not in gateway.get("/readyz").json()["degraded"]


def test_a_process_that_can_read_no_overlay_is_not_ready_instead_of_refusing_every_key(gateway: Gateways) -> None:
    """A sealing key that was taken out of the ring, another release's format: found at the start."""
    gateway.publish(document([provider("a", models={})]))
    gateway.write(gateway.data / "overlay.bin", seal(b"{}", "overlay", (b"x" * 32,)))
    gateway.kill()
    gateway.restart()
    answer = gateway.chat()
    assert (answer.status, answer.json()["error"]["code"]) == (503, "not_ready")
    ready = gateway.get("/readyz")
    assert ready.status == 503
    assert ready.json()["reason"].startswith("access keys and credentials cannot be read: sealed with a key")
    gateway.overlay(keys=[access_key(KEY, name="mended")])
    assert gateway.chat().status == 404
    assert "overlay" not in gateway.get("/readyz").json()["degraded"]


def test_an_older_revision_never_replaces_a_newer_one(shared_gateway: Gateways) -> None:
    gateway = shared_gateway
    gateway.publish(document([provider("old", models={})]))
    gateway.publish(document([provider("new", models={})]))
    newest = gateway.get("/readyz").json()["revision"]
    gateway.write(gateway.data / "revision.json", json.dumps(document([provider("old")], number=newest - 1)).encode())
    for name in ("same-round", "next-round"):
        gateway.overlay(keys=[access_key(KEY, name=name)])  # when the second is in use, the revision has been read
    assert gateway.get("/readyz").json()["revision"] == newest


def test_another_installations_file_is_taken_because_the_folder_is_ours(
    start_gateways: Callable[..., Gateways],
) -> None:
    gateway = start_gateways()
    gateway.publish(document([provider("a", models={})]))
    gateway.publish(document([provider("b", models={})]))
    other = document([provider("c", models={})], number=1, installation=an_id("installation", "other"))
    gateway.write(gateway.data / "revision.json", json.dumps(other).encode())
    wait_until(lambda: gateway.get("/readyz").json()["revision"] == 1)


def test_a_revoked_key_stops_and_a_new_one_works(shared_gateway: Gateways) -> None:
    gateway = shared_gateway
    gateway.publish(document([provider("a", models={})]))
    gateway.overlay(keys=[access_key(OTHER, name="other")])
    assert gateway.chat().status == 401
    assert gateway.post("/v1/chat/completions", {"model": "m"}, key=OTHER).status == 404


def test_every_process_takes_a_publish_over(start_gateways: Callable[..., Gateways]) -> None:
    gateway = start_gateways(2)
    gateway.publish(document([provider("a", models={})]))
    gateway.publish(document([provider("b", models={})]))  # returns when both processes have said so
    assert {gateway.get("/readyz").json()["revision"] for _ in range(20)} == {2}


@pytest.mark.faults
def test_no_request_fails_or_sees_two_revisions_while_publishing(gateway: Gateways) -> None:
    """Odd revisions know only model ``odd`` under profile ``odd``, even ones only ``even``: half of each is a 404."""

    def revision(name: str) -> dict[str, Any]:
        return document(
            [provider(name, models={name: name})],
            [profile("default", [target(name)]), profile(name, [target(name)])],
        )

    gateway.publish(revision("odd"))
    seen: list[tuple[str, int, str]] = []
    done = threading.Event()

    def ask() -> None:
        while not done.is_set():
            for name in ("odd", "even"):
                answer = gateway.chat(name, path=f"/p/{name}/v1/chat/completions")
                seen.append((name, answer.status, answer.json()["error"]["code"]))

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        for round_number in range(4):
            gateway.publish(revision("even" if round_number % 2 == 0 else "odd"))
            asked = len(seen)
            wait_until(lambda asked=asked: len(seen) >= asked + 4, what="each was asked for under this revision")
    finally:
        done.set()
        asking.join()
    # known profile: its target refuses connections (502, later 503); unknown: exactly profile_not_found
    assert {code for _, _, code in seen} <= {"all_targets_failed", "no_target_available", "profile_not_found"}
    assert {name for name, _, code in seen if code == "profile_not_found"} == {"odd", "even"}
    by_provider = {(row.profile, row.provider) for row in gateway.finished() if row.provider}
    assert by_provider == {("odd", "odd"), ("even", "even")}


# -- Redis -----------------------------------------------------------------------------------------------


@pytest.fixture
def server(redis_url: str) -> Iterator[redis.Redis]:
    """The tests' Redis, with nothing published on it."""
    client = redis.Redis.from_url(redis_url)
    client.delete("signalbox:revision", "signalbox:overlay")
    yield client
    client.delete("signalbox:revision", "signalbox:overlay")
    client.close()


def publish_on(server: redis.Redis, kind: str, version: int, blob: bytes) -> None:
    server.hset(f"signalbox:{kind}", mapping={"version": version, "blob": blob})
    server.publish("signalbox:config", f"{kind}:{version}")


def test_redis_alone_brings_a_host_its_configuration(
    start_gateways: Callable[..., Gateways], server: redis.Redis, redis_url: str
) -> None:
    """A second host has an empty data folder."""
    keys = [access_key(KEY)]
    server.hset("signalbox:revision", mapping={"version": 1, "blob": json.dumps(document([provider("a")]))})
    sealed = seal(json.dumps(overlay(keys, version=9)).encode(), "overlay", (ENCRYPTION_KEY,))
    server.hset("signalbox:overlay", mapping={"version": 9, "blob": sealed})
    gateway = start_gateways(REDIS_URL=redis_url)
    wait_until(lambda: gateway.get("/readyz").status == 200)
    publish_on(server, "revision", 2, json.dumps(document([provider("a", models={})], number=2)).encode())
    wait_until(lambda: gateway.get("/readyz").json()["revision"] == 2)
    assert gateway.get("/readyz").json()["overlay"] == 9
    assert gateway.chat().status == 404


def test_what_another_installation_puts_on_a_shared_redis_is_ignored(
    start_gateways: Callable[..., Gateways], server: redis.Redis, redis_url: str
) -> None:
    gateway = start_gateways(REDIS_URL=redis_url)
    gateway.publish(document([provider("a", models={})]))
    foreign = document([provider("b")], number=50, installation=an_id("installation", "other"))
    publish_on(server, "revision", 50, json.dumps(foreign).encode())
    ours = document([provider("a", models={})], number=2)
    publish_on(server, "revision", 2, json.dumps(ours).encode())
    wait_until(lambda: gateway.get("/readyz").json()["revision"] == 2)


@pytest.mark.faults
def test_a_redis_that_is_away_is_named_and_changes_nothing(
    start_gateways: Callable[..., Gateways],
) -> None:
    gateway = start_gateways(REDIS_URL="redis://127.0.0.1:9/0")
    gateway.publish(document([provider("a", models={})]))
    wait_until(lambda: "redis" in gateway.get("/readyz").json()["degraded"])
    assert gateway.chat().status == 404


@pytest.mark.faults
def test_a_mute_redis_is_as_good_as_none(start_gateways: Callable[..., Gateways]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        port = mute.getsockname()[1]
        gateway = start_gateways(REDIS_URL=f"redis://127.0.0.1:{port}/0")
        gateway.publish(document([provider("a", models={})]))
        wait_until(lambda: "redis" in gateway.get("/readyz").json()["degraded"])
        assert gateway.chat().status == 404
