"""Every entry is one message on ``audit:routing:logs``, in order; a Redis that is away or mute holds nothing up."""

from __future__ import annotations

import json
import socket
import tempfile
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
import redis
from django.db import connection
from django.db.models import QuerySet
from structlog.testing import capture_logs

from routes.audit import channel, delivery
from routes.audit.chain import hash_of
from routes.models import AuditDelivery, AuditEntry
from routes.tasks import deliver_audit
from routing_project.env import get_env
from tests import servers
from tests.audit.conftest import write

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.django_db


class Listener:
    """Somebody who subscribed before anything was said."""

    def __init__(self, url: str) -> None:
        self.redis = redis.Redis.from_url(url)
        self._heard = self.redis.pubsub(ignore_subscribe_messages=True)
        self._heard.subscribe("audit:routing:logs")
        self._heard.get_message(timeout=5)

    def messages(self) -> list[dict[str, Any]]:
        """What has come; the end is one that we send ourselves."""
        self.redis.publish("audit:routing:logs", "null")
        found: list[dict[str, Any]] = []
        while True:
            message = self._heard.get_message(timeout=5)
            if message is None:
                continue
            tree = json.loads(message["data"])
            if tree is None:
                return found
            found.append(tree)

    def names(self) -> list[str]:
        return [entry["object_name"] for entry in self.messages()]

    def close(self) -> None:
        self._heard.close()
        self.redis.close()


@pytest.fixture
def listener(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Listener]:
    use(redis_url, monkeypatch)
    found = Listener(redis_url)
    yield found
    found.close()
    channel._client(redis_url).close()


def use(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_URL", url)
    get_env.cache_clear()


def test_a_message_is_the_entry_with_its_hash(listener: Listener) -> None:
    write("alpha", changes={"weight": [1, 3]})
    assert channel.deliver() == 1
    (message,) = listener.messages()
    assert (message["id"], message["object_name"], message["changes"]) == (1, "alpha", {"weight": [1, 3]})
    assert message["hash"] == hash_of(message)


def test_nothing_is_told_twice_and_nothing_left_out(listener: Listener, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(channel, "BATCH", 2)
    for name in "abcde":
        write(name)
    assert [channel.deliver(), channel.deliver()] == [5, 0]
    write("f")
    assert channel.deliver() == 1
    assert listener.names() == list("abcdef")


def test_large_entries_go_one_by_one(listener: Listener, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(channel, "BATCH_BYTES", 10)
    for name in "abc":
        write(name)
    assert channel.deliver() == 3
    assert listener.names() == list("abc")


def test_a_process_that_died_before_it_noted_the_place_tells_nothing_twice(listener: Listener) -> None:
    for name in "ab":
        write(name)
    channel.deliver()
    AuditDelivery.objects.update(last_id=0, last_hash="0" * 64, last_at=None)
    write("c")
    channel.deliver()
    assert listener.names() == list("abc")
    assert AuditDelivery.objects.get().last_id == 3


def test_a_redis_that_forgot_everything_goes_on_where_the_database_says(listener: Listener) -> None:
    write("a")
    channel.deliver()
    listener.redis.flushall()
    write("b")
    channel.deliver()
    assert listener.names() == ["a", "b"]


def test_the_note_in_redis_does_not_last(listener: Listener) -> None:
    write("a")
    channel.deliver()
    (key,) = listener.redis.keys("signalbox:audit:*")
    assert 0 < listener.redis.ttl(key) <= channel.NOTE_SECONDS


def test_a_table_that_was_cut_tells_what_comes(listener: Listener) -> None:
    for name in "abc":
        write(name)
    channel.deliver()
    QuerySet(AuditEntry).filter(pk__gt=1).delete()
    write("d")
    assert [channel.deliver(), channel.deliver()] == [1, 0]
    assert listener.names() == list("abcd")


def test_several_that_tell_at_once_tell_each_entry_once(
    listener: Listener, monkeypatch: pytest.MonkeyPatch, transactional_db: None
) -> None:
    monkeypatch.setattr(delivery, "look", lambda: None)
    monkeypatch.setattr(channel, "BATCH", 3)
    for number in range(12):
        write(str(number))
    threads = [threading.Thread(target=_deliver) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert listener.names() == [str(number) for number in range(12)]
    assert AuditDelivery.objects.get().last_id == 12


def _deliver() -> None:
    channel.deliver()
    connection.close()


def test_a_redis_that_was_away_is_caught_up_by_the_task_and_told_of_once(monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Path(tempfile.mkdtemp(prefix="away-", dir=servers.FOLDER))
    url = f"unix://{folder / 'redis.sock'}?db=0"
    use(url, monkeypatch)
    write("a")
    with capture_logs() as told:
        for _ in range(3):
            deliver_audit()
        child = servers.start_own_redis(folder)
        try:
            listener = Listener(url)
            write("b")
            assert channel.deliver() == 2  # as another process
            deliver_audit()
            deliver_audit()
            assert listener.names() == ["a", "b"]
            listener.close()
        finally:
            channel._client(url).close()
            child.kill()
            child.wait()
    lines = [line for line in told if line.get("sink") == "channel"]
    assert [line["event"] for line in lines] == ["audit_sink_down", "audit_sink_back"]
    assert lines[-1]["caught_up"] == 2, "whoever told them"


@contextmanager
def mute_server(path: Path) -> Iterator[list[socket.socket]]:
    """Accepts, and never answers."""
    held: list[socket.socket] = []
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        listening.listen(10)

        def accept() -> None:
            while True:
                try:
                    held.append(listening.accept()[0])
                except OSError:
                    return

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        try:
            yield held
        finally:
            listening.shutdown(socket.SHUT_RDWR)
            thread.join()
            for each in held:
                each.close()


def test_a_redis_that_never_answers_holds_neither_a_command_nor_the_database(
    monkeypatch: pytest.MonkeyPatch, redis_url: str, transactional_db: None
) -> None:
    """Another connection writes while it is waited for."""
    path = Path(urlsplit(redis_url).path).with_name("mute.sock")
    with mute_server(path) as held:
        use(f"unix://{path}?db=0", monkeypatch)
        wrote: list[bool] = []
        usual = channel._publish

        def publish(*arguments: Any) -> None:
            thread = threading.Thread(target=_write_elsewhere, args=(wrote,))
            thread.start()
            try:
                usual(*arguments)
            finally:
                thread.join()

        monkeypatch.setattr(channel, "_publish", publish)
        write("a")  # commits, and looks at once
        assert held, "it was tried"
        assert wrote == [True]
        assert delivery._down.keys() == {"channel"}
        channel._client(f"unix://{path}?db=0").close()
    assert AuditDelivery.objects.get().last_id == 0


def _write_elsewhere(wrote: list[bool]) -> None:
    AuditDelivery.objects.create(sink="another", last_hash="")
    AuditDelivery.objects.filter(sink="another").delete()
    wrote.append(True)
    connection.close()
