"""A canary secret is looked for everywhere the control plane writes to, plain, in base64 and percent-encoded."""

from __future__ import annotations

import base64
import json
import logging
from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest
import redis
from django.core import serializers
from django.core.management import call_command
from django.db import connection

from routes import actions
from routes.models import ConfigRevision, Provider
from routing_project import logs
from routing_project.env import get_env
from tests.control.api import Api
from tests.control.samples import KEY_VALUE, document

if TYPE_CHECKING:
    from routes.actions import Actor
    from routing_project.env import Env

pytestmark = pytest.mark.django_db(transaction=True)
CANARY = "sk-canary+/=&?-9b1e7c35d0aa4412"


def forms(secret: str) -> list[bytes]:
    """The secret and its disguises; base64 at each of the three alignments."""
    raw = secret.encode()
    encoded = [base64.b64encode(b"\0" * shift + raw)[4:-4] for shift in range(3)]
    return [raw, quote(secret, safe="").encode(), json.dumps(secret)[1:-1].encode(), *encoded]


def test_no_secret_leaves_its_sealed_place(
    admin: Actor, env: Env, redis_url: str, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    logs.configure("test", "json", level=logging.DEBUG)
    monkeypatch.setenv("REDIS_URL", redis_url.replace("db=0", "db=6"))
    get_env.cache_clear()
    tree = document()
    tree["providers"][1]["credential"] = {"value": CANARY}
    actions.import_configuration(tree, actor=admin, publish_now=True, message="with a secret")
    api = Api("admin")
    paths = ("providers/", "providers/alpha/", "access-keys/", "access-keys/app/", "revisions/1/", "policy/")
    answers = [api.get(path) for path in paths]
    # Edits, refusals and stale writes of the thing that holds the secret.
    bodies = ({"credential": {"value": CANARY}}, {"credential": {"value": CANARY + "\n"}}, {"credential": CANARY})
    answers += [api.patch("providers/alpha/", body) for body in bodies]
    answers.append(api.patch("providers/alpha/", {"credential": CANARY}, if_match='"99"'))
    answers.append(api.post("access-keys/", {"name": "dup", "value": KEY_VALUE}))
    captured = [json.dumps(answer.body).encode() for answer in answers]
    actions.rollback(1, actor=admin)
    call_command("export_config", str(env.data / "export.yaml"))
    captured.append(serializers.serialize("json", ConfigRevision.objects.all()).encode())
    captured.append(b"".join(row.compiled_text for row in ConfigRevision.objects.all()))
    captured.append(repr(list(Provider.with_deleted.values())).encode())

    with connection.cursor() as cursor:
        for table in connection.introspection.table_names(cursor):
            cursor.execute(f"SELECT * FROM {connection.ops.quote_name(table)}")
            captured.append(repr(cursor.fetchall()).encode())
    client = redis.Redis.from_url(get_env().redis_url or "")
    for key in client.keys("signalbox:*"):
        held = client.hgetall(key) if client.type(key) == b"hash" else client.get(key)
        captured.append(repr(held).encode())
    client.flushdb()
    client.close()
    captured += [path.read_bytes() for path in env.data.rglob("*") if path.is_file()]
    output = capfd.readouterr()
    captured += [output.out.encode(), output.err.encode()]

    assert "revision.published" in output.err, "the log was looked at"
    assert any(b"canary" not in text and b"alpha" in text for text in captured)
    for secret in (CANARY, KEY_VALUE):
        for form in forms(secret):
            places = [text[:80] for text in captured if form in text]
            assert places == [], f"{form!r} found"
