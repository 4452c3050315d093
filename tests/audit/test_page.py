"""The audit log in the admin: every filter, older pages, a bounded search, a page for each entry."""

from __future__ import annotations

import html
import re
from typing import TYPE_CHECKING, Any

import pytest
from django.db.models import QuerySet

from routes import actions
from routes.actions import Actor
from routes.admin import audit as page
from routes.models import AuditEntry, Provider
from tests.admin.conftest import admin, operator, person, viewer
from tests.audit.conftest import ADA, write
from tests.control.samples import provider

if TYPE_CHECKING:
    from django.test import Client

__all__ = ["admin", "operator", "viewer"]

pytestmark = pytest.mark.django_db
LIST = "/admin/routes/auditentry/"
BOB = Actor("key", "bob's key", "k-1", frozenset(), "2001:db8::1", "req-2")


def text(client: Client, address: str) -> str:
    answer = client.get(address)
    assert answer.status_code == 200, address
    return html.unescape(answer.content.decode())


def rows(client: Client, question: str = "") -> list[int]:
    return [int(pk) for pk in re.findall(r"auditentry/(\d+)/change/", text(client, f"{LIST}?{question}"))]


@pytest.fixture
def four() -> None:
    write("alpha")
    write("beta", "head.registered", BOB, category="head", changes={"endpoint": [None, "http://10.0.0.1"]})
    write("alpha", "provider.deleted", BOB, reason="not needed")
    write("alphabet", "history.exported", Actor.system("tests"), category="export", object_id="")


@pytest.mark.usefixtures("four")
@pytest.mark.parametrize(
    ("question", "found"),
    [
        ("", [4, 3, 2, 1]),
        ("category=head", [2]),
        ("object_type=provider", [3, 1]),
        ("object=alpha", [4, 3, 1]),
        ("object=ALPHA&category=export", [4]),
        ("object=id of beta", [2]),
        ("object_id=id of alpha", [3, 1]),
        ("actor=bob", [3, 2]),
        ("action=provider.updated", [1]),
        ("actor_kind=system", [4]),
        ("client_ip=192.0.2.7", [1]),
        ("request_id=req-2", [3, 2]),
        ("from=2000-01-01&to=2000-01-02", []),
        ("from=2000-01-01 10:00", [4, 3, 2, 1]),
        ("before=3", [2, 1]),
        ("before=3&actor=bob", [2]),
        ("before=nonsense", [4, 3, 2, 1]),
    ],
)
def test_filters_find_what_they_say(viewer: Client, question: str, found: list[int]) -> None:
    assert rows(viewer, question) == found


@pytest.mark.usefixtures("four")
def test_a_filter_that_cannot_be_is_named_and_nothing_is_shown(admin: Client) -> None:
    said = text(admin, f"{LIST}?client_ip=here&from=yesterday&category=head")
    assert "client_ip: must be an IP address" in said
    assert "from: must be an ISO 8601 time" in said
    assert "<tbody>" not in said


@pytest.mark.usefixtures("four")
@pytest.mark.parametrize("name", ["object_name", "actor_name", "actor_id", "category__in", "limit", "nonsense", "<b>"])
def test_a_filter_that_is_not_known_is_named_and_nothing_is_shown(viewer: Client, name: str) -> None:
    for value in ("", "x"):
        said = text(viewer, f"{LIST}?category=head&{name}={value}")
        assert f"{name}: there is no such filter" in said
        assert "<tbody>" not in said


@pytest.mark.usefixtures("four")
def test_a_filter_that_is_given_twice_is_refused(viewer: Client) -> None:
    said = text(viewer, f"{LIST}?category=head&category=admin")
    assert "category: is given 2 times" in said
    assert "<tbody>" not in said


@pytest.mark.usefixtures("four")
def test_what_was_not_looked_for_is_not_said_to_match_nothing(viewer: Client) -> None:
    for question in ("client_ip=here", "nonsense=1"):
        said = text(viewer, f"{LIST}?{question}")
        assert "Nothing was looked for." in said
        assert "Nothing matches" not in said
        assert "The first change" not in said
        assert 'href="?">Clear</a>' in said
    said = text(viewer, f"{LIST}?action=nothing")
    assert "Nothing matches these filters." in said
    assert "Nothing was looked for" not in said


@pytest.mark.usefixtures("four")
def test_the_page_says_truly_which_of_its_filters_the_api_takes(viewer: Client) -> None:
    help_text = re.search(r"<p class=\"help\">Times are(.*?)</p>", text(viewer, LIST))
    assert help_text is not None
    values = {
        "category": "head",
        "actor_kind": "user",
        "client_ip": "192.0.2.7",
        **dict.fromkeys(("from", "to"), "2026-11-20"),
    }
    for name in page.EXACT:
        assert viewer.get("/api/v1/audit/", {name: values.get(name, "x")}).status_code == 200, name
    for name in page.SEARCHES:
        assert viewer.get("/api/v1/audit/", {name: "x"}).status_code == 400, name
    for name in re.findall(r"<code>(\w+)</code>", help_text[1]):
        assert viewer.get("/api/v1/audit/", {name: "x"}).status_code == 200, name
    assert "object_name" in help_text[1]


def test_pages_go_back_to_the_first_entry(admin: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page, "PAGE", 3)
    for number in range(7):
        write(str(number))
    QuerySet(AuditEntry).update(at=AuditEntry.objects.get(pk=1).at)  # of one moment
    found, question = [], "category=admin"
    while True:
        said = text(admin, f"{LIST}?{question}")
        found.append([int(pk) for pk in re.findall(r"auditentry/(\d+)/change/", said)])
        older = re.search(r'href="\?([^"]+)" rel="next">Older', said)
        if older is None:
            break
        question = older[1]
    assert found == [[7, 6, 5], [4, 3, 2], [1]]


def test_a_search_says_how_far_it_looked_and_goes_on(admin: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page, "SEARCHED", 3)
    for name in ("needle", "a", "b", "c", "d", "e"):
        write(name)
    said = text(admin, f"{LIST}?object=need")
    assert "Nothing matches back to" in said
    question = re.search(r'href="\?([^"]+)" rel="next">Look further back', said)
    assert question is not None
    assert rows(admin, question[1]) == [1]
    assert "Look further back" not in text(admin, f"{LIST}?category=admin"), "filters have an index"


def test_what_happened_to_an_object_is_not_what_happened_to_others_of_its_number(admin: Client) -> None:
    write("grace", "user.updated", object_id="7")
    write("revision 7", "revision.published", object_id="7")
    write("7", "access_key.created", object_id="8")
    write("loud", "alert_rule.created", object_id="7")
    link = re.search(r'href="([^"]+)">Everything about it', text(admin, f"{LIST}2/change/"))
    assert link is not None
    assert rows(admin, link[1].partition("?")[2]) == [2]
    for address, found in (
        ("auth/user/7", [1]),
        ("routes/configrevision/7", [2]),
        ("routes/accesskey/8", [3]),
        ("health/alertrule/7", [4]),
    ):
        answer = admin.get(f"/admin/{address}/history/")
        assert rows(admin, answer["Location"].partition("?")[2]) == found, address


def test_the_list_says_where_the_chain_ends(admin: Client) -> None:
    entry = write("alpha")
    said = text(admin, LIST)
    assert f'ends with entry 1, hash <code class="break">{entry.hash}</code>' in said


def test_an_entry_has_a_page_with_all_it_says(viewer: Client) -> None:
    made = actions.create_provider(provider("acme"), actor=ADA)
    actions.update_provider(made, {"weight": 3, "circuit": {"slow_start": 5}}, actor=ADA)
    said = text(viewer, f"{LIST}2/change/")
    assert "Changed provider acme" in said
    assert re.search(r"weight</code></td>\s*<td[^>]*>1</td><td[^>]*>3</td>", said)
    assert re.search(r"circuit.slow_start</code></td>\s*<td[^>]*>30</td><td[^>]*>5</td>", said)
    for part in ("192.0.2.7", "req-1", "fits what the entry says", AuditEntry.objects.get(pk=2).hash):
        assert part in said
    assert f"/admin/routes/provider/{made.pk}/change/" in said
    assert f"{LIST}1/change/" in said, "the one before"
    assert "this is the last" in said
    actions.delete_provider(Provider.objects.get(), actor=ADA)
    assert f"/admin/routes/provider/{made.pk}/change/" not in text(viewer, f"{LIST}2/change/")


def test_a_key_or_a_command_is_not_taken_for_a_person_of_its_name(viewer: Client) -> None:
    actors = {
        ADA: "ada",
        Actor("key", "ada", "k-1"): "access key ada",
        Actor("command", "setup (ada)"): "command setup (ada)",
        Actor.system("reconcile"): "Signalbox reconcile",
        Actor.stranger(None): "not logged in",
    }
    for actor in actors:
        write(actor=actor)
    cells = re.findall(r'data-label="Who">(.*?)</td>', text(viewer, LIST))
    shown = [" ".join(re.sub("<[^>]+>", " ", cell).split()).removesuffix(" 192.0.2.7") for cell in cells]
    assert shown == list(actors.values())[::-1]
    for number, who in enumerate(actors.values(), 1):
        lede = re.search(r'<p class="lede">(.*?)</p>', text(viewer, f"{LIST}{number}/change/"))
        assert lede is not None
        assert re.sub("<[^>]+>", "", lede[1]).endswith(f", by {who}")


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"rolled_back_to": 1, "changes": ["x"]}, "Rolled back to revision 1, as revision 3"),
        ({"changes": ["x"]}, "Rolled back, as revision 3"),  # of a release that did not say where to
    ],
)
def test_a_rollback_names_the_revision_it_went_back_to(viewer: Client, changes: Any, sentence: str) -> None:
    write("revision 3", "revision.rolled_back", object_id="3", changes=changes)
    said = text(viewer, f"{LIST}1/change/")
    assert f"<h1>{sentence}</h1>" in said
    assert "/admin/routes/configrevision/3/change/" in said
    listed = text(viewer, LIST)
    assert f">{sentence}</a>" in listed
    assert "rolled_back_to" not in listed, "once is enough"


def test_a_page_says_that_its_entry_does_not_fit_any_more(admin: Client) -> None:
    for name in ("a", "b", "c"):
        write(name)
    assert "chain is broken" not in text(admin, f"{LIST}2/change/")
    QuerySet(AuditEntry).filter(pk=1).update(hash="f" * 64)
    assert "The chain is broken before this entry" in text(admin, f"{LIST}2/change/")
    QuerySet(AuditEntry).filter(pk=3).update(reason="another")
    assert "was changed after it was written" in text(admin, f"{LIST}3/change/")


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"changes": ["profile default: weight 1 → 2", "x"]},
        {"a": {"b": [1, None]}},
        {"when": [None, {"x": 1}]},
        {"n": 3},
    ],
)
def test_any_shape_of_changes_can_be_shown(admin: Client, changes: Any) -> None:
    write(changes=changes)
    text(admin, LIST)
    text(admin, f"{LIST}1/change/")


def test_what_is_not_shown_is_not_taken_for_a_value(viewer: Client) -> None:
    made = actions.create_provider(provider("acme", headers={"x-title": "ours"}), actor=ADA)
    for headers in ({"x-key": "a"}, {"x-key": "b"}, {}):
        actions.update_provider(Provider.objects.get(), {"headers": headers}, actor=ADA)
    said = {"x-key": "a", "x-title": "ours"}
    actions.update_provider(Provider.objects.get(), {"headers": said, "name": "changed"}, actor=ADA)
    actions.delete_provider(Provider.objects.get(), actor=ADA)
    told = [page.changes_of(entry) for entry in AuditEntry.objects.order_by("pk")]
    assert [fields for fields in told[1] if "x-key" in fields.field] == [
        page.FieldChange("headers.x-key", told="set (not shown)")
    ]
    assert page.FieldChange("headers.x-key", told="changed") in told[2]
    assert page.FieldChange("headers.x-key", told="removed") in told[3]
    # What is called so, and what a whole object was made or deleted with.
    assert page.FieldChange("name", "Acme", "changed") in told[4]
    assert page.FieldChange("headers", "x-key (not shown), x-title ours", "none") in told[5]
    assert "headers.x-key: set (not shown)" in text(viewer, f"{LIST}?object_id={made.pk}")
    listed = text(viewer, LIST)
    for line in ("headers.x-key: set (not shown)", "headers.x-key: changed", "headers.x-key: removed"):
        assert f"<div>{line}</div>" in listed


def test_text_from_outside_stays_text(admin: Client) -> None:
    write("<script>x</script>", reason="<b>", changes={"<i>": ["<u>", "<s>"]})
    for address in (LIST, f"{LIST}1/change/"):
        said = admin.get(address).content.decode()
        for tag in ("<script>x", "<b>", "<i>", "<u>", "<s>"):
            assert tag not in said, (address, tag)


@pytest.mark.usefixtures("four")
def test_everybody_with_a_role_reads_and_nobody_writes(admin: Client, operator: Client, viewer: Client) -> None:
    for client in (admin, operator, viewer):
        assert rows(client) == [4, 3, 2, 1]
        assert client.get(f"{LIST}1/change/").status_code == 200
        assert client.post(f"{LIST}1/delete/").status_code == 403
        assert client.post(f"{LIST}add/").status_code == 403
    assert person(None).get(LIST).status_code == 403
    assert person(None, "another").get(f"{LIST}1/change/").status_code == 403
    assert admin.get(f"{LIST}99/change/").status_code == 404
