"""Cursors, times and filters that nobody gets from us are refused or mean nothing, on either database."""

from __future__ import annotations

from base64 import b64encode
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest
from django.test import Client

from health import events
from health.alerts import actions as alerts
from routes import actions
from tests.control import samples
from tests.control.api import Api
from tests.control.conftest import actor

if TYPE_CHECKING:
    from django.contrib.auth.models import User

pytestmark = pytest.mark.django_db(databases=["default", "pg"])

#: No text, no number, no time that a column of ours holds; and times that only we cannot keep.
POSITIONS = [
    *("\0", "a\0b", "abc", "", "٣", "9" * 5000, "0x1f", "-"),
    *("9999-12-31T23:59:59-14:00", "0001-01-01T00:00:00+14:00", "2026-11-30T08:00:00+23:59"),
]
LISTS = {  # and a cursor of theirs that is one
    "providers/": "alpha",
    "revisions/": "1",
    "heads/": "one",
    "rules/": "x",
    "alerts/channels/": "ops",
    "alerts/rules/": "all",
    "alerts/deliveries/": "2026-11-30 08:00:00+00:00",
    "health/events/": "2026-11-30 08:00:00+00:00",
}
TIMES = ["9999-12-31T23:59:59-14:00", "0001-01-01T00:00:00%2B14:00", "2026-11-30T08:00:00%2B99:00"]
PAGES = [
    *("health/?kind=", "health/?provider=", "health/?at=", "health/?part=1&at=", "health/?before="),
    *("health/alertdelivery/?channel=", "health/alertdelivery/?before=", "health/head/?provider="),
    *("routes/auditentry/?actor=", "routes/auditentry/?object=", "routes/auditentry/?before="),
    "routes/configrevision/?before=",
]


@pytest.fixture(autouse=True)
def something_to_list(both_databases: None) -> None:
    tree = {"providers": [samples.provider("alpha")], "profiles": [samples.profile("default", "alpha")]}
    actions.import_configuration(tree, actor=actor("admin"), publish_now=True)
    events.record("circuit", subject="alpha", before="closed", after="open", reason="consecutive", actor="gateway")
    mail = {"name": "ops", "kind": "email", "recipients": ["ops@router.example"]}
    alerts.send_test(alerts.create_channel(mail, actor=actor("admin")), actor=actor("admin"))


def cursor_of(position: str) -> str:
    return quote(b64encode(f"p={quote(position)}".encode()))


@pytest.mark.parametrize("path", LISTS)
def test_a_cursor_that_names_no_place_of_the_list_is_not_found(path: str) -> None:
    api = Api("read")
    for position in POSITIONS:
        if path in {"providers/", "heads/", "rules/", "alerts/channels/", "alerts/rules/"} and "\0" not in position:
            continue  # any text is a place between names
        answer = api.get(f"{path}?cursor={cursor_of(position)}")
        assert (answer.status, answer.error["code"]) == (404, "not_found"), position
    assert api.get(f"{path}?cursor={cursor_of(LISTS[path])}").status == 200


@pytest.mark.parametrize("path", ["health/events/", "history/"])
def test_a_time_that_no_database_takes_is_read_in_utc_or_refused(path: str) -> None:
    api = Api("read")
    for text in TIMES:
        answer = api.get(f"{path}?from={text}")
        assert (answer.status, list(answer.error["fields"])) == (400, ["from"]), text
    assert api.get(f"{path}?from=2026-11-30T08:00:00%2B23:59").status == 200


@pytest.mark.parametrize("page", PAGES)
def test_a_page_shows_itself_whatever_its_address_asks_for(page: str, admin_user: User) -> None:
    person = Client()
    person.force_login(admin_user)
    for value in ("%00", "a%00b", "9" * 5000, "%D9%A3", "2026-11-30T08:00:00%2B23:59", *TIMES):
        assert person.get(f"/admin/{page}{value}").status_code == 200, value


def test_until_a_time_that_cannot_be_kept_is_asked_for_again(admin_user: User) -> None:
    person = Client()
    person.force_login(admin_user)
    row: Any = actions.live_revision()
    provider = row.compiled["providers"][0]["id"]
    form = {"act": "drain", "provider": provider, "for": "at", "until": TIMES[0]}
    said = person.post("/admin/health/act/", form, follow=True)
    assert "Until when?" in said.content.decode()
    assert Api("read").get("health/alpha/").body["admin_state"] == "active"
