"""What holds for every page: few queries however much there is, and nothing the browser's policy would refuse."""

from __future__ import annotations

import re
import uuid
from typing import TYPE_CHECKING, Any

import pytest
from django.db import connection, connections
from django.test.utils import CaptureQueriesContext

from history import queries
from history.ids import new_id
from history.models import RouteHistory
from history.timerange import TimeRange
from routes import actions
from routes.actions.rules import create_rule
from routes.admin.pending import publication_state
from routes.models import AccessKey, Profile, ProfileTarget, Provider, Rule, RuleTarget
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


@pytest.mark.thorough
def test_every_page_needs_few_queries_and_no_more_when_there_is_much(viewer: Client, site: Site) -> None:
    addresses = pages(site)
    before = queries_of(viewer, addresses)
    # Many times as many, written at once: nothing here is about the writing.
    providers = Provider.objects.bulk_create(copy_of(site.alpha, slug=f"more-{number}") for number in range(57))
    profiles = Profile.objects.bulk_create(copy_of(site.default, slug=f"more-{number}") for number in range(38))
    rules = Rule.objects.bulk_create(copy_of(site.rule, profile_id=profile.pk) for profile in profiles)
    ProfileTarget.objects.bulk_create(
        ProfileTarget(profile=profile, provider=providers[number], position=0)
        for number, profile in enumerate(profiles)
    )
    RuleTarget.objects.bulk_create(RuleTarget(rule=rule, provider=site.beta, position=0) for rule in rules)
    AccessKey.objects.bulk_create(copy_of(site.key, name=f"more-{n}", digest=f"{n:064x}") for n in range(25))
    targets = [{"provider": f"more-{number}"} for number in range(25)]
    for profile in (site.default, site.spare):
        actions.update_profile(profile, {"targets": targets}, actor=ADA)
    for number in range(10):
        create_rule(site.spare, configuration.rule(f"more-{number}", "alpha", "beta"), actor=ADA)
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


def copy_of(row: Any, **changes: Any) -> Any:
    """Another row that says the same but for some columns."""
    columns = {field.attname: getattr(row, field.attname) for field in row._meta.concrete_fields}
    return type(row)(**{**columns, "id": uuid.uuid4(), **changes})


INLINE = re.compile(r"<style|\sstyle=|\son[a-z]+=|javascript:|<script(?![^>]*\ssrc=)", re.I)


def test_no_page_carries_inline_script_or_style(admin: Client, site: Site) -> None:
    forms = [f"/admin/routes/{model}/add/" for model in ("provider", "profile", "accesskey")]
    forms.append(f"/admin/routes/rule/add/?profile={site.default.pk}")
    asks = [page_of(thing, "delete") for thing in (site.alpha, site.default, site.rule, site.key)]
    others = ["/admin/auth/user/", "/admin/auth/user/add/", "/admin/auth/group/", "/admin/password_change/"]
    for address in [*pages(site), *forms, *asks, *others]:
        response = admin.get(address)
        assert response.status_code == 200, address
        assert INLINE.findall(text(response)) == [], address
        assert response["Content-Security-Policy"].startswith("default-src 'self'"), address


def test_the_login_page_is_ours_and_says_what_was_wrong(client: Client, db: None) -> None:
    assert "Log in · Signalbox" in text(client.get("/admin/login/"))
    answer = client.post("/admin/login/", {"username": "nobody", "password": "wrong", "next": "/admin/"})
    assert "do not go together" in text(answer)
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
