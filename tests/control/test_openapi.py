"""The OpenAPI document: a snapshot that a reviewer reads in the diff, valid, complete, and true of real answers.

After a wanted change: ``python manage.py spectacular --file tests/control/openapi.yaml``.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
import yaml
from django.core.management import call_command
from django.urls import get_resolver
from django.utils import timezone
from jsonschema import Draft202012Validator

from health.models import HealthEvent
from history.filters import FIELDS
from routes import actions, live
from routes.engine.local_live import LocalLiveState
from routes.engine.snapshot import target_id
from routes.engine.types import Outcome
from routes.snapshots import live_snapshot
from tests.control.api import Api
from tests.control.conftest import actor
from tests.control.samples import provider, rule, whole_document

if TYPE_CHECKING:
    from routing_project.env import Env

#: What health answers; each with an example.
HEALTH = (
    *("Health", "ProviderHealth", "TargetHealth", "CircuitState", "QuarantineState", "HealthOutcome", "HealthEvent"),
    *("Probed", "AdminState"),
)
SNAPSHOT = Path(__file__).with_name("openapi.yaml")


@pytest.fixture(scope="module")
def schema(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    path = tmp_path_factory.mktemp("openapi") / "openapi.yaml"
    call_command("spectacular", file=str(path), validate=True, fail_on_warn=True)
    tree: dict[str, Any] = yaml.safe_load(path.read_text())
    return tree


def test_the_snapshot_is_the_schema(schema: dict[str, Any]) -> None:
    assert schema == yaml.safe_load(SNAPSHOT.read_text()), __doc__
    assert schema["openapi"] == "3.1.0"


def test_every_address_of_the_api_is_described(schema: dict[str, Any]) -> None:
    described = {path.rstrip("/") for path in schema["paths"]}
    resources = (
        "providers",
        "profiles",
        "rules",
        "access-keys",
        "prices",
        "policy",
        "revisions",
        "affinity",
        "history",
        "health",
        "circuits",
        "users",
        "roles",
    )
    for resource in resources:
        assert f"/api/v1/{resource}" in described
    assert get_resolver().resolve("/api/v1/providers/").url_name == "provider-list"


def test_every_operation_says_how_it_refuses_and_what_it_needs(schema: dict[str, Any]) -> None:
    for path, operations in schema["paths"].items():
        for method, operation in operations.items():
            assert "default" in operation["responses"], (method, path)
            assert operation["security"], (method, path)


@pytest.mark.django_db
def test_real_answers_are_what_the_schema_says(schema: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    actions.import_configuration(whole_document(), actor=actor("admin"), publish_now=True)
    state = LocalLiveState()
    monkeypatch.setattr(live, "current", lambda: state)
    state.set_pin(b"k" * 16, target_id(str(uuid4()), "m"), time.monotonic(), 60, profile_id=str(uuid4()), session="s")
    api = Api("admin")
    calls: list[Call] = [
        ("get", "/providers/", "", None),
        ("post", "/providers/", "", provider("gamma")),
        ("get", "/providers/{id}/", "alpha", None),
        ("patch", "/providers/{id}/", "alpha", {"weight": 2}),
        ("get", "/profiles/", "", None),
        ("get", "/profiles/{id}/", "default", None),
        ("get", "/rules/", "", None),
        ("post", "/rules/", "", {"profile": "fast", **rule("new", "alpha")}),
        ("get", "/rules/{id}/", "long/?profile=default", None),
        ("patch", "/rules/{id}/", "long/?profile=default", {"position": 0}),
        ("get", "/rules/{id}/", "nothing", None),
        ("get", "/affinity/", "", None),
        ("delete", "/affinity/", "", None),
        ("get", "/access-keys/", "", None),
        ("post", "/access-keys/", "", {"name": "new"}),
        ("get", "/access-keys/{id}/", "new", None),
        ("post", "/users/", "", {"username": "grace", "password": "correct horse battery", "roles": ["Viewer"]}),
        ("get", "/users/", "", None),
        ("get", "/users/{id}/", "grace", None),
        ("patch", "/users/{id}/", "grace", {"email": "grace@example.com"}),
        ("patch", "/users/{id}/", "grace", {"roles": ["Nobody"]}),
        ("get", "/roles/", "", None),
        ("get", "/policy/", "", None),
        ("get", "/prices/", "", None),
        ("get", "/revisions/", "", None),
        ("get", "/revisions/{id}/", "1", None),
        ("get", "/revisions/{id}/diff/", "1", None),
        ("post", "/revisions/", "", {}),
        ("post", "/revisions/{id}/rollback/", "1", {}),
        ("post", "/health/{provider}/state/", "alpha", {"state": "draining"}),
        ("get", "/providers/{id}/", "nobody", None),
        ("delete", "/providers/{id}/", "alpha", None),
    ]
    compare(schema, api, calls)


@pytest.mark.django_db
def test_real_answers_about_health_are_what_the_schema_says(
    schema: dict[str, Any], monkeypatch: pytest.MonkeyPatch, env: Env
) -> None:
    actions.import_configuration(whole_document(), actor=actor("admin"), publish_now=True)
    state, snapshot, now = LocalLiveState(), live_snapshot(), time.monotonic()
    monkeypatch.setattr(live, "current", lambda: state)
    env.live_path.touch()
    assert snapshot is not None
    state.published(snapshot)
    target = snapshot.profiles["default"].targets[0]
    for _ in range(target.provider.circuit.failure_threshold):
        claim = state.claim(target, now)
        assert claim is not None
        state.finish(claim, target, Outcome("failure", "connect_refused"), now)
    state.quarantine(target, "gpt-4o", 60, "rate_limited", now)
    api, slug = Api("admin"), target.provider.slug
    HealthEvent.objects.create(
        at=timezone.now(), kind="circuit", target_id=target.id, subject="x", after="open", reason="z", actor="traffic"
    )
    calls: list[Call] = [
        ("get", "/health/", "", None),
        ("get", "/health/{provider}/", slug, None),
        ("get", "/health/events/", "", None),
        ("get", "/circuits/", "", None),
        ("get", "/circuits/{target}/", target.id, None),
        ("get", "/circuits/{target}/transitions/", target.id, None),
        ("post", "/circuits/{target}/force/", target.id, {"state": "closed"}),
        ("post", "/circuits/{target}/reset/", target.id, {}),
        ("post", "/health/{provider}/state/", slug, {"state": "draining", "target": target.id}),
        ("post", "/health/{provider}/clear-quarantine/", slug, {}),
        ("post", "/health/{provider}/probe/", slug, None),
        ("get", "/health/{provider}/", "nobody", None),
    ]
    compare(schema, api, calls)


#: Method, template of the path, what stands for its parameter, body.
Call = tuple[str, str, str, Any]


def compare(schema: dict[str, Any], api: Api, calls: list[Call]) -> None:
    """Make these calls, and hold the answers against what the schema says of them."""
    for method, template, key, body in calls:
        path = template.replace("{id}/" if "?" in key else "{id}", key)
        path = path.replace("{provider}", key).replace("{target}", key)
        answer = api.call(method, path.lstrip("/"), body)
        responses = schema["paths"][f"/api/v1{template}"][method]["responses"]
        told = responses.get(str(answer.status), responses["default"])["content"]["application/json"]["schema"]
        rooted = {**schema, "told": told, "$ref": "#/told"}
        problems = [problem.message for problem in Draft202012Validator(rooted).iter_errors(answer.body)]
        assert problems == [], (method, path)


def test_the_examples_of_health_and_history_are_what_the_schema_says(schema: dict[str, Any]) -> None:
    components = schema["components"]["schemas"]
    for name in (*HEALTH, "UserResource", "RolePage", *(name for name in components if name.startswith("History"))):
        [example] = components[name]["examples"]
        rooted = {**schema, "told": dict(components[name]), "$ref": "#/told"}
        assert [problem.message for problem in Draft202012Validator(rooted).iter_errors(example)] == [], name
        assert set(example) == set(components[name]["properties"]) - {"count", "scanned_to"} | {
            "count",
            "scanned_to",
        } & set(example), name


def test_every_parameter_and_every_answer_of_the_history_is_described(schema: dict[str, Any]) -> None:
    shared = schema["components"]["parameters"]
    operations = {path: of["get"] for path, of in schema["paths"].items() if path.startswith("/api/v1/history/")}
    assert len(operations) == 8
    for path, operation in operations.items():
        assert {"200", "400", "401", "403", "429"} <= set(operation["responses"]), path
        assert ("404" in operation["responses"]) == ("{" in path or path.endswith("/sessions/")), path
        for status, response in operation["responses"].items():
            for kind, content in response["content"].items():
                if status == "200" and kind == "application/json":
                    assert "examples" in schema["components"]["schemas"][content["schema"]["$ref"].rpartition("/")[2]]
                elif status not in ("409", "default"):
                    assert content["examples"], (path, status, kind)
        assert "Retry-After" in operation["responses"]["429"]["headers"], path
        for parameter in operation["parameters"]:
            whole = shared[parameter["$ref"].rpartition("/")[2]] if "$ref" in parameter else parameter
            assert whole["schema"], (path, whole["name"])
            assert whole["description"], (path, whole["name"])
    filters = {name.removeprefix("History.") for name in shared}
    assert filters == {
        name if operator == "eq" else f"{name}__{operator}"
        for name, field in FIELDS.items()
        for operator in field.operators
    } | {"session", "filter"}


@pytest.mark.django_db
def test_schema_and_docs_need_read_and_the_docs_hold_no_inline_script() -> None:
    from django.contrib.auth.models import Group, User
    from django.test import Client

    for path in ("/api/schema/", "/api/schema"):
        assert Client().get(path).status_code == 401
        reader = Api("read")
        assert Client().get(path, headers=reader.headers).status_code == 200
        reader_key = Api("route")
        assert Client().get(path, headers=reader_key.headers).status_code == 403
        actions.revoke_access_key(_key("key with read"), actor=actor("admin"))
        actions.revoke_access_key(_key("key with route"), actor=actor("admin"))
    answer = Client().get("/api/docs/")
    assert (answer.status_code, answer["Location"]) == (302, "/admin/login/?next=/api/docs/")
    viewer = User.objects.create_user("viewer")
    viewer.groups.add(Group.objects.get(name="Viewer"))
    client = Client()
    client.force_login(viewer)
    page = client.get("/api/docs/")
    html = page.content.decode()
    assert page.status_code == 200
    assert "<script>" not in html
    assert "<style" not in html
    assert "http://" not in html.replace("http://www.w3.org", "")
    assert page["Content-Security-Policy"].startswith("default-src 'self'")


def _key(name: str) -> Any:
    from routes.models import AccessKey

    return AccessKey.objects.get(name=name)
