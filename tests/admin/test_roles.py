"""Roles bind in the console: viewers see and cannot write, operators act on health, admins change everything."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from django.contrib.auth.models import User
from django.test import Client

from history.models import RouteHistory
from routes import actions
from routes.engine.provider import target_id
from routes.models import AccessKey, AuditEntry, ConfigRevision, Profile, Provider
from tests.admin.conftest import ADA, filled, list_of, page_of, person, text
from tests.history import rows, samples

if TYPE_CHECKING:
    from django.http import HttpResponse

    from tests.admin.conftest import Site

LISTS = (Provider, Profile, AccessKey, ConfigRevision, AuditEntry, RouteHistory)


def pages(site: Site) -> list[str]:
    """Every page that only reads."""
    (route,) = rows.store(samples.failed())
    target = target_id(str(site.alpha.pk), None)
    return [
        "/admin/",
        "/admin/health/",
        f"/admin/health/{target}/",
        "/admin/live/",
        *(list_of(model) for model in LISTS),
        "/admin/routes/policy/",
        *(page_of(thing) for thing in (site.alpha, site.default, site.spare, site.rule, site.key)),
        "/admin/routes/configrevision/1/change/",
        "/admin/routes/configrevision/compare/?from=1&to=draft",
        *(f"/admin/history/routehistory/{page}/" for page in ("failures", "statistics", f"{route}/change")),
    ]


def writes(site: Site) -> list[str]:
    """Every address that changes configuration, with a POST."""
    return [
        *(f"{list_of(model)}add/" for model in (Provider, Profile, AccessKey)),
        f"/admin/routes/rule/add/?profile={site.default.pk}",
        "/admin/routes/policy/",
        *(
            page_of(thing, page)
            for thing in (site.alpha, site.default, site.rule, site.key)
            for page in ("change", "delete")
        ),
        *(page_of(site.rule, page) for page in ("switch", "move")),
        page_of(site.key, "revoke"),
        "/admin/routes/configrevision/publish/",
        "/admin/routes/configrevision/1/rollback/",
    ]


def buttons(response: HttpResponse) -> list[str]:
    """Words of buttons that send something, but for the frame's and filters'."""
    main = text(response).partition("<main")[2]
    found = re.findall(r"<button(?![^>]*type=.button.)[^>]*>(.*?)</button>", main, re.S)
    words = [re.sub(r"<[^>]+>", "", word).strip() for word in found]
    return [word for word in words if word not in ("Filter", "Compare")]


def test_a_viewer_may_open_every_page_and_finds_nothing_to_press(viewer: Client, site: Site) -> None:
    for address in pages(site):
        response = viewer.get(address)
        assert response.status_code == 200, address
        assert buttons(response) == [], address
        assert "/add/" not in text(response).partition("<main")[2], address


@pytest.mark.parametrize("role", ["Viewer", "Operator"])
def test_who_is_no_admin_is_refused_every_write_of_configuration(role: str, site: Site) -> None:
    client = person(role)
    actions.publish(message="Second", actor=ADA)
    before = (ConfigRevision.objects.count(), AuditEntry.objects.count())
    for address in writes(site):
        assert client.post(address, {"name": "x", "enabled": "0", "version": "1"}).status_code == 403, address
    assert (ConfigRevision.objects.count(), AuditEntry.objects.count()) == before


def test_a_viewer_may_not_act_on_health_but_an_operator_may(viewer: Client, operator: Client, site: Site) -> None:
    address = page_of(site.alpha, "state")
    assert viewer.post(address, {"state": "draining"}).status_code == 403
    site.alpha.refresh_from_db()
    assert site.alpha.admin_state == "active"
    assert operator.post(address, {"state": "draining"}).status_code == 302
    site.alpha.refresh_from_db()
    assert site.alpha.admin_state == "draining"


def test_an_operator_sees_the_buttons_of_health_and_none_of_configuration(operator: Client, site: Site) -> None:
    assert buttons(operator.get(page_of(site.alpha))) == ["Drain now", "Disable now"]
    assert buttons(operator.get(page_of(site.default))) == []


def test_a_viewer_sees_forms_that_cannot_be_edited_and_no_credential_field(viewer: Client, site: Site) -> None:
    page = text(viewer.get(page_of(site.alpha)))
    assert 'name="credential"' not in page
    main = page.partition("<main")[2]
    fields = re.findall(r"<(?:input|select|textarea)[^>]*>", main)
    assert fields
    assert [tag for tag in fields if "disabled" not in tag and 'type="hidden"' not in tag] == []


def test_somebody_without_a_role_sees_a_sentence_and_no_page(site: Site) -> None:
    client = person(None)
    assert "no role yet" in text(client.get("/admin/"))
    for address in pages(site)[1:]:
        assert client.get(address).status_code == 403, address


def test_a_stranger_is_asked_to_log_in(site: Site) -> None:
    for address in [*pages(site), *writes(site)]:
        response = Client().get(address)
        assert response.status_code == 302, address
        assert response["Location"].startswith("/admin/login/"), address


def test_an_admin_gives_roles_but_cannot_touch_or_make_a_superuser(admin: Client) -> None:
    root = User.objects.create_superuser("root", password="a long password")
    assert admin.post(f"/admin/auth/user/{root.pk}/change/", {"username": "mine"}).status_code == 403
    added = {"username": "vera", "password": "pass-phrase-7", "again": "pass-phrase-7", "is_superuser": "on"}
    assert admin.post("/admin/auth/user/add/", {**added, "roles": ["Viewer"]}).status_code == 302
    vera = User.objects.get(username="vera")
    assert (vera.is_staff, vera.is_superuser, vera.groups.get().name) == (True, False, "Viewer")
    admin.post(f"/admin/auth/user/{vera.pk}/change/", {"username": "vera", "is_superuser": "on", "is_active": "on"})
    vera.refresh_from_db()
    assert not vera.is_superuser


def test_an_action_refused_below_the_page_is_a_403_too(
    viewer: Client, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The page's own check is not the only one: the action asks for the scope again."""
    monkeypatch.setattr("routes.admin.base.OPERATE", "routes.control_read")
    monkeypatch.setattr("routes.admin.providers.OPERATE", "routes.control_read")
    assert viewer.post(page_of(site.alpha, "state"), {"state": "draining"}).status_code == 403


def test_saving_needs_the_token_of_the_page(site: Site) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(User.objects.create_superuser("root", password="a long password"))
    page = page_of(site.alpha)
    assert client.post(page, filled(client.get(page), name="x")).status_code == 403
