"""docs/users.md says what is so: its examples work, its figures and roles are the product's."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from routes.roles import ROLES
from routing_project.console import login_throttle
from tests.control.api import Api

DOCS = (Path(__file__).resolve().parents[2] / "docs" / "users.md").read_text()


@pytest.mark.django_db
def test_the_examples_of_the_api_work() -> None:
    api = Api("admin")
    (body,) = re.findall(r"-d '(\{.*\})'", DOCS)
    made, refused = (json.loads(text) for text in re.findall(r"```json\n(.*?)```", DOCS, re.S))
    answer = api.post("users/", json.loads(body))
    own = ("id", "version", "created_at")
    assert {**answer.body, **{name: made[name] for name in own}} == made
    for patch in re.findall(r"`(\{\"(?:roles|is_active)\".*?\})`", DOCS):
        assert api.patch("users/grace/", json.loads(patch)).status == 200
    wrong = api.patch("users/grace/", {"password": "short"})
    assert wrong.body == refused


def test_roles_and_bounds_are_those_of_the_product() -> None:
    for role, may in ROLES.items():
        assert re.search(rf"^\| {role} \|.*\| {re.escape(may[0].lower() + may[1:].rstrip('.'))} \|$", DOCS, re.M), role
    told = [(int(most), int(minutes) * 60) for most, minutes in re.findall(r"\| (\d+) \| (\d+) minutes \|", DOCS)]
    assert told == [
        tuple(bound)
        for bound in (
            login_throttle.AT_NAME_FROM_ADDRESS,
            login_throttle.FROM_ADDRESS,
            login_throttle.FROM_SITE,
            login_throttle.AT_NAME_FROM_STRANGERS,
        )
    ]
    assert f"within {login_throttle.KNOWN_SECONDS // 86_400} days" in DOCS
