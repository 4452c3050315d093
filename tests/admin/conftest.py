"""People of each role in a browser without scripts (Django's test client), and a configuration to look at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from django.contrib.auth.models import Group, User
from django.test import Client

from routes import actions
from routes.actions import Actor
from routes.actions.rules import create_rule
from routes.admin import preview
from routes.scopes import SCOPES
from routing_project.env import get_env
from tests.control import samples

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from routes.models import AccessKey, Profile, Provider, Rule

PASSWORD = "a long password"
#: Of no request.
NEVER = {"fact": "key.name", "op": "eq", "value": "nobody"}
ADA = Actor("user", "ada", "1", frozenset(SCOPES))


@pytest.fixture(autouse=True)
def data_folder(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Actions deliver into a data folder of this test's own."""
    monkeypatch.setenv("SIGNALBOX_DATA_DIR", str(data_dir))
    get_env.cache_clear()
    yield
    get_env.cache_clear()


@pytest.fixture(autouse=True)
def draws(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages ask the engine for fewer decisions; the tests of shares override this."""
    monkeypatch.setattr(preview, "DRAWS", 100)


def person(role: str | None, name: str | None = None) -> Client:
    """Somebody of that role, logged in."""
    user = User.objects.create_user(name or (role or "nobody").lower(), password=PASSWORD, is_staff=True)
    if role:
        user.groups.add(Group.objects.get(name=role))
    client = Client()
    client.force_login(user)
    return client


@pytest.fixture
def admin(db: None) -> Client:
    return person("Admin")


@pytest.fixture
def operator(db: None) -> Client:
    return person("Operator")


@pytest.fixture
def viewer(db: None) -> Client:
    return person("Viewer")


@dataclass(frozen=True)
class Site:
    """A published configuration: three providers, two profiles, one of them with a rule, one key."""

    alpha: Provider
    beta: Provider
    gamma: Provider
    default: Profile
    spare: Profile
    key: AccessKey
    rule: Rule


@pytest.fixture
def site(db: None) -> Site:
    providers = [
        actions.create_provider(
            samples.provider(
                slug, models={"gpt-4o": f"{slug}-4o"}, credential={"value": f"{samples.CREDENTIAL}-{slug}"}
            ),
            actor=ADA,
        )
        for slug in ("alpha", "beta", "gamma")
    ]
    default = actions.create_profile(
        samples.profile("default", ("alpha", 50), ("beta", 30), ("gamma", 20), strategy="weighted"), actor=ADA
    )
    spare = actions.create_profile(samples.profile("spare", "alpha"), actor=ADA)
    aside = create_rule(spare, samples.rule("aside", "gamma", when=NEVER), actor=ADA)
    key = actions.create_access_key({"name": "app", "value": samples.KEY_VALUE}, actor=ADA).key
    actions.publish(message="First", actor=ADA)
    return Site(*providers, default, spare, key, aside)


def page_of(thing: Any, page: str = "change") -> str:
    """Address of a page of a row."""
    return f"/admin/{thing._meta.app_label}/{thing._meta.model_name}/{thing.pk}/{page}/"


def list_of(model: Any) -> str:
    return f"/admin/{model._meta.app_label}/{model._meta.model_name}/"


def text(response: Any) -> str:
    """The page as text; narrow and unbreaking spaces become plain ones."""
    content: str = response.content.decode()
    return content.replace("\u202f", " ").replace("\u00a0", " ")


def filled(response: Any, **changes: Any) -> dict[str, Any]:
    """What a browser would send back for the page's forms, with some fields changed. None leaves a field out."""
    form = response.context["form"]
    data: dict[str, Any] = {}
    for bound in form:
        field = bound.field
        if field.disabled:
            continue
        value = bound.value()
        name = bound.html_name
        if hasattr(field.widget, "columns"):
            for place, column in enumerate(field.widget.columns):
                data[f"{name}-{column.name}"] = [row[place] for row in value or []]
        elif value is not None and value is not False:
            data[name] = list(value) if isinstance(value, list | tuple) else value
    if "targets" in response.context:
        data.update(target_rows(*(row.initial for row in response.context["targets"].rows())))
    data.update(changes)
    return {name: value for name, value in data.items() if value is not None}


def target_rows(*targets: dict[str, Any]) -> dict[str, Any]:
    """The targets of a profile as its form posts them, in this order."""
    data: dict[str, Any] = {"targets-TOTAL_FORMS": len(targets), "targets-INITIAL_FORMS": 0}
    for place, target in enumerate(targets):
        for field in ("provider", "model", "weight", "tier"):
            value = target.get(field)
            data[f"targets-{place}-{field}"] = "" if value is None else value
        data[f"targets-{place}-ORDER"] = place + 1
    return data
