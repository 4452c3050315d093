"""Revision and overlay on their way to gateways: files, Redis, and what happens when one of them is away."""

from __future__ import annotations

import base64
import json
import socket
import stat
from typing import TYPE_CHECKING, Any

import pytest
import redis
from django.utils import timezone

from routes import actions, crypto, publish, tasks
from routes.models import AccessKey, ConfigRevision, Installation, Provider
from routing_project.env import get_env
from tests.control.samples import CREDENTIAL, KEY_VALUE, document

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from routes.actions import Actor
    from routing_project.env import Env

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def client(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[redis.Redis]:
    """A Redis database of this test's own."""
    url = redis_url.replace("db=0", "db=7")
    monkeypatch.setenv("REDIS_URL", url)
    get_env.cache_clear()
    client = redis.Redis.from_url(url)
    client.flushdb()
    yield client
    client.flushdb()
    client.close()


def overlay_on_disk(env: Env) -> dict[str, Any]:
    tree: dict[str, Any] = json.loads(crypto.unseal(env.overlay_path.read_bytes(), "overlay"))
    return tree


def test_publishing_writes_both_files_and_both_hashes_and_tells_gateways(
    admin: Actor, env: Env, client: redis.Redis
) -> None:
    listener = client.pubsub(ignore_subscribe_messages=True)
    listener.subscribe(publish.CHANNEL)
    listener.get_message(timeout=1)
    actions.import_configuration(document(), actor=admin, publish_now=True)

    on_disk = env.revision_path.read_bytes()
    assert on_disk == ConfigRevision.objects.get().compiled_text
    assert client.hget("signalbox:revision", "blob") == on_disk
    assert client.hget("signalbox:revision", "version") == b"1"
    overlay = overlay_on_disk(env)
    blob = client.hget("signalbox:overlay", "blob")
    assert isinstance(blob, bytes)
    assert json.loads(crypto.unseal(blob, "overlay")) == overlay
    version = Installation.get().overlay_version
    assert overlay["version"] == version

    told = []
    while message := listener.get_message(timeout=0.2):
        told.append(message["data"].decode())
    listener.close()
    assert told == ["revision:1", f"overlay:{version}"]


def test_files_are_private_and_the_overlay_is_sealed(admin: Actor, env: Env) -> None:
    actions.import_configuration(document(), actor=admin, publish_now=True)
    for path in (env.revision_path, env.overlay_path):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert CREDENTIAL.encode() not in path.read_bytes()
        assert KEY_VALUE.encode() not in path.read_bytes()
    assert sorted(path.name for path in env.data.glob(".*new*")) == []


def test_the_overlay_holds_what_acts_at_once_and_a_gateway_can_read_it(admin: Actor, env: Env) -> None:
    from routes.gateway.overlay import Overlay

    actions.import_configuration(document(), actor=admin, publish_now=True)
    alpha, beta = Provider.objects.all()
    until = timezone.now() + timezone.timedelta(hours=1)
    actions.set_admin_state(beta, "draining", actor=admin, until=until, reason="repair")
    overlay = Overlay.from_document(overlay_on_disk(env))
    assert overlay.credentials[str(alpha.pk)].value == CREDENTIAL
    assert overlay.credentials[str(alpha.pk)].generation == 1
    assert str(beta.pk) not in overlay.credentials
    assert overlay.admin_states[str(beta.pk)].until == until.timestamp()
    key = next(iter(overlay.keys.values()))
    assert key.digest.hex() == AccessKey.objects.get().digest
    assert key.debug
    assert not key.overrides
    assert key.may_use_model("gpt-4o")
    assert not key.may_use_model("claude")


def test_limits_of_a_key_reach_gateways_without_a_publish(admin: Actor, env: Env) -> None:
    actions.import_configuration(document(), actor=admin, publish_now=True)
    none = {"rpm": 0, "tpm": 0, "concurrency": 0, "usd_day": 0, "usd_week": 0, "usd_month": 0}
    assert overlay_on_disk(env)["keys"][0]["limits"] == none
    actions.update_access_key(AccessKey.objects.get(), {"limits": {"tpm": 9000, "usd_week": 2.5}}, actor=admin)
    assert overlay_on_disk(env)["keys"][0]["limits"] == {**none, "tpm": 9000, "usd_week": 2.5}
    assert ConfigRevision.objects.count() == 1


def test_an_import_of_many_keys_is_delivered_once(admin: Actor, env: Env, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    monkeypatch.setattr(publish, "deliver", lambda: calls.append(1))
    keys = [{"name": f"k{index}", "value": f"sbx_{index:040d}"} for index in range(20)]
    actions.import_configuration({"access_keys": keys}, actor=admin)
    assert calls == [1]


def test_a_refused_action_delivers_nothing(admin: Actor, env: Env) -> None:
    with pytest.raises(actions.errors.Invalid):
        actions.import_configuration({"access_keys": [{"name": "k"}]}, actor=admin)
    assert not env.overlay_path.exists()


def test_redis_being_away_never_fails_a_publish_and_is_caught_up(
    admin: Actor, env: Env, client: redis.Redis, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    there = get_env().redis_url or ""
    monkeypatch.setenv("REDIS_URL", f"unix://{tmp_path / 'nobody.sock'}?db=0")
    get_env.cache_clear()
    revision = actions.import_configuration(document(), actor=admin, publish_now=True)
    assert revision is not None
    assert env.revision_path.exists()
    assert set(publish.deliver().failed) == {"revision redis", "overlay redis"}
    monkeypatch.setenv("REDIS_URL", there)
    get_env.cache_clear()
    tasks.reconcile()
    assert client.hget("signalbox:revision", "version") == b"1"


def test_a_mute_redis_delays_a_publish_by_its_timeouts_and_no_more(
    admin: Actor, env: Env, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        monkeypatch.setenv("REDIS_URL", f"redis://127.0.0.1:{mute.getsockname()[1]}/0")
        monkeypatch.setattr(publish, "REDIS_TIMEOUT", 0.05)
        get_env.cache_clear()
        publish._client.cache_clear()
        assert actions.publish(actor=admin).number == 1
        publish._client.cache_clear()
    assert env.revision_path.exists()


def test_what_is_missing_or_older_is_written_again_and_the_rest_left_alone(
    admin: Actor, env: Env, client: redis.Redis
) -> None:
    actions.import_configuration(document(), actor=admin, publish_now=True)
    assert publish.deliver().written == []
    client.flushdb()
    env.overlay_path.unlink()
    assert sorted(publish.deliver().written) == ["overlay file", "overlay redis", "revision redis"]
    env.revision_path.write_text('{"installation": "damaged')
    env.overlay_path.write_bytes(b"garbage")
    assert sorted(publish.deliver().written) == ["overlay file", "revision file"]


def test_files_of_another_installation_are_replaced_however_new_they_say_they_are(
    admin: Actor, env: Env, client: redis.Redis
) -> None:
    env.make_folders()
    foreign = {"format": 1, "installation": "another", "number": 900}
    env.revision_path.write_text(json.dumps(foreign))
    client.hset("signalbox:revision", mapping={"installation": "another", "version": 900, "form": "", "blob": b"x"})
    actions.publish(actor=admin)
    assert json.loads(env.revision_path.read_bytes())["number"] == 1
    assert client.hget("signalbox:revision", "version") == b"1"


def test_copies_that_gateways_cannot_read_any_more_are_written_again_under_the_same_version(
    admin: Actor, env: Env, client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another format after an upgrade, a sealing key that was taken out of the ring."""
    actions.import_configuration(document(), actor=admin, publish_now=True)
    version = Installation.get().overlay_version
    monkeypatch.setattr(publish.overlay, "FORMAT", 2)
    publish._read_version.cache_clear()
    assert sorted(publish.deliver().written) == ["overlay file", "overlay redis"]
    assert overlay_on_disk(env)["format"] == 2
    assert publish.deliver().written == []

    monkeypatch.setenv("SIGNALBOX_ENCRYPTION_KEYS", base64.b64encode(b"n" * 32).decode())
    get_env.cache_clear()
    publish._read_version.cache_clear()
    assert sorted(publish.deliver().written) == ["overlay file", "overlay redis"]
    assert overlay_on_disk(env)["version"] == version
    blob = client.hget("signalbox:overlay", "blob")
    assert isinstance(blob, bytes)
    assert json.loads(crypto.unseal(blob, "overlay"))["version"] == version
    assert publish.deliver().written == []


def test_an_older_copy_never_replaces_a_newer_one(admin: Actor, env: Env, client: redis.Redis) -> None:
    actions.publish(actor=admin)
    actions.publish(actor=admin)
    identity = str(Installation.get().uuid)
    late = publish.Copy("revision", identity, 1)
    assert publish.write_file(late) is False
    assert publish.write_redis(late) is False
    script = [publish._SET_IF_NEWER, 2, "signalbox:revision", publish.CHANNEL, identity, 1, "", b"old", "revision:1"]
    assert client.eval(*script) == 0
    assert json.loads(env.revision_path.read_bytes())["number"] == 2


def test_a_database_restored_from_a_backup_counts_on_from_what_gateways_run(admin: Actor, env: Env) -> None:
    for _ in range(3):
        actions.publish(actor=admin)
    for _ in range(5):
        actions.revoke_access_key(actions.create_access_key({"name": "k"}, actor=admin).key, actor=admin)
    version = overlay_on_disk(env)["version"]
    ConfigRevision.objects.filter(number__gt=1)._raw_delete("default")
    Installation.objects.update(overlay_version=2)
    assert actions.publish(actor=admin).number == 4
    assert overlay_on_disk(env)["version"] > version
    assert Installation.get().overlay_version == overlay_on_disk(env)["version"]


def test_a_full_disk_fails_the_file_and_not_the_publish(
    admin: Actor, env: Env, client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    actions.publish(actor=admin)
    monkeypatch.setattr(publish.os, "fsync", full)
    assert actions.publish(actor=admin).number == 2
    assert json.loads(env.revision_path.read_bytes())["number"] == 1, "the old file stays whole"
    assert client.hget("signalbox:revision", "version") == b"2"
    monkeypatch.undo()
    get_env.cache_clear()


def test_a_credential_that_cannot_be_opened_does_not_keep_the_others_from_gateways(admin: Actor, env: Env) -> None:
    tree = document()
    tree["providers"][0]["credential"] = {"value": "sk-second-secret"}
    actions.import_configuration(tree, actor=admin, publish_now=True)
    alpha, beta = Provider.objects.all()
    Provider.objects.filter(pk=alpha.pk).update(credential=beta.credential)
    actions.create_access_key({"name": "new"}, actor=admin)
    overlay = overlay_on_disk(env)
    assert set(overlay["credentials"]) == {str(beta.pk)}
    assert len(overlay["keys"]) == 2


def test_a_provider_deleted_from_the_draft_keeps_its_credential_until_that_is_published(admin: Actor, env: Env) -> None:
    actions.import_configuration(document(), actor=admin, publish_now=True)
    alpha = Provider.objects.get(slug="alpha")
    actions.delete_provider(alpha, actor=admin, remove_from_profiles=True)
    assert str(alpha.pk) in overlay_on_disk(env)["credentials"]
    actions.publish(actor=admin)
    assert str(alpha.pk) not in overlay_on_disk(env)["credentials"]
    actions.rollback(1, actor=admin)
    assert overlay_on_disk(env)["credentials"][str(alpha.pk)]["value"] == CREDENTIAL
