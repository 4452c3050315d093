"""The demo can be taken out again with one action, by an admin."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from routes.models import ConfigRevision, Provider
from routing_project import announce
from routing_project.console import demo
from routing_project.env import get_env
from tests.admin.conftest import ADA

if TYPE_CHECKING:
    from django.test import Client

pytestmark = pytest.mark.django_db(transaction=True)
PAGE = "/admin/demo/remove/"


@pytest.fixture
def loaded() -> None:
    get_env().make_folders()
    demo.create(get_env(), ADA)


def test_an_admin_is_asked_and_then_the_demo_is_gone(admin: Client, loaded: None) -> None:
    assert "demo-north" in admin.get(PAGE).content.decode()
    assert Provider.objects.count() == 3
    answer = admin.post(PAGE, follow=True)
    assert "The demo is gone" in answer.content.decode()
    assert not Provider.objects.exists()
    assert ConfigRevision.objects.count() == 2
    assert not announce.demo_path(get_env()).exists()


def test_only_an_admin_may_and_only_while_there_is_one(admin: Client, operator: Client, loaded: None) -> None:
    assert operator.get(PAGE).status_code == 403
    assert operator.post(PAGE).status_code == 403
    assert Provider.objects.count() == 3
    admin.post(PAGE)
    assert admin.get(PAGE).status_code == 404
