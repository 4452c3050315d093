"""What holds for every page: few queries however much there is, and nothing the browser's policy would refuse."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from django.db import connection, connections
from django.test.utils import CaptureQueriesContext

from history import queries
from history.ids import new_id
from history.models import RouteHistory
from history.timerange import TimeRange
from routes import actions
from routes.admin.pending import publication_state
from routes.models import Profile
from tests.admin.conftest import ADA, page_of, text
from tests.admin.test_roles import pages
from tests.control import samples as configuration
from tests.control.conftest import both_databases
from tests.history import rows, samples

if TYPE_CHECKING:
    from django.test import Client

    from tests.admin.conftest import Site

MOST_QUERIES = 15
__all__ = ["both_databases"]  # a fixture, found by its name


def queries_of(client: Client, addresses: list[str]) -> dict[str, int]:
    counts = {}
    for address in addresses:
        client.get(address)  # what a process keeps after its first look
        with CaptureQueriesContext(connection) as captured:
            assert client.get(address).status_code == 200, address
        counts[address] = len(captured)
    return counts


def test_every_page_needs_few_queries_and_no_more_when_there_is_much(viewer: Client, site: Site) -> None:
    addresses = pages(site)
    before = queries_of(viewer, addresses)
    for number in range(25):
        slug = f"more-{number}"
        actions.create_provider(configuration.provider(slug, models={"gpt-4o": "x"}), actor=ADA)
        actions.create_profile(configuration.profile(slug, slug, "alpha"), actor=ADA)
        actions.create_access_key({"name": slug, "profile": slug}, actor=ADA)
    targets = [{"provider": f"more-{number}"} for number in range(25)]
    actions.update_profile(Profile.objects.get(slug="default"), {"targets": targets}, actor=ADA)
    rows.store(*(samples.finished(new_id().bytes) for _ in range(100)))
    after = queries_of(viewer, addresses)
    assert {address: count for address, count in after.items() if count > MOST_QUERIES} == {}
    assert after == before


@pytest.mark.django_db(databases=["default", "pg"])
@pytest.mark.usefixtures("both_databases")
def test_how_far_the_draft_is_ahead_and_whose_circuits_opened_is_known_on_both_databases() -> None:
    assert publication_state() == (None, 0)
    row = actions.create_provider(configuration.provider(), actor=ADA)
    assert publication_state() == (None, 1)
    actions.publish(actor=ADA)
    assert publication_state() == (1, 0)
    actions.update_provider(row, {"weight": 2}, actor=ADA)
    with CaptureQueriesContext(connections["default"]) as first:
        assert publication_state() == (1, 1)
    with CaptureQueriesContext(connections["default"]) as second:
        assert publication_state() == (1, 1)
    assert len(second) == 1 < len(first)
    assert queries.circuit_openings(TimeRange.last()) == []


INLINE = re.compile(r"<style|\sstyle=|\son[a-z]+=|javascript:|<script(?![^>]*\ssrc=)", re.I)


def test_no_page_carries_inline_script_or_style(admin: Client, site: Site) -> None:
    forms = [f"/admin/routes/{model}/add/" for model in ("provider", "profile", "accesskey")]
    asks = [page_of(thing, "delete") for thing in (site.alpha, site.default, site.key)]
    others = ["/admin/auth/user/", "/admin/auth/user/add/", "/admin/auth/group/", "/admin/password_change/"]
    for address in [*pages(site), *forms, *asks, *others]:
        response = admin.get(address)
        assert response.status_code == 200, address
        assert INLINE.findall(text(response)) == [], address
        assert response["Content-Security-Policy"].startswith("default-src 'self'"), address


def test_the_login_page_is_ours_and_says_what_was_wrong(client: Client, db: None) -> None:
    assert "Log in · Signalbox" in text(client.get("/admin/login/"))
    answer = client.post("/admin/login/", {"username": "nobody", "password": "wrong", "next": "/admin/"})
    assert "Please enter the correct" in text(answer)
    assert INLINE.findall(text(answer)) == []


@pytest.mark.django_db
def test_an_unknown_page_is_not_found(admin: Client) -> None:
    for address in ("/admin/routes/provider/nonsense/change/", "/admin/routes/configrevision/9/change/"):
        assert admin.get(address).status_code == 404


def test_the_audit_log_is_read_only_and_can_be_filtered(admin: Client, site: Site) -> None:
    actions.set_admin_state(site.beta, "disabled", reason="broken", actor=ADA)
    page = text(admin.get("/admin/routes/auditentry/?object=beta"))
    assert "Set the admin state of provider beta" in page
    assert "active → disabled" in page
    assert "“broken”" in page
    assert "alpha" not in page.partition("<tbody>")[2]
    assert admin.post("/admin/routes/auditentry/add/").status_code == 403
    assert RouteHistory.objects.count() == 0
