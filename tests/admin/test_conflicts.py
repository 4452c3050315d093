"""Two people edit the same object: the second is shown both versions and loses nothing."""

from __future__ import annotations

import re
from html import unescape
from typing import TYPE_CHECKING, Any

from routes import actions, draft
from routes.actions import Actor
from tests.admin.conftest import ADA, filled, page_of, text

if TYPE_CHECKING:
    from django.test import Client

    from tests.admin.conftest import Site


def hidden(response: Any) -> dict[str, list[str]]:
    """What the conflict page would send back."""
    fields: dict[str, list[str]] = {}
    page = text(response).partition('<form method="post" class="save-bar">')[2]
    for name, value in re.findall(r'<input type="hidden" name="([^"]*)" value="([^"]*)"', page):
        if name != "csrfmiddlewaretoken":
            fields.setdefault(unescape(name), []).append(unescape(value))
    return fields


def test_a_stale_save_of_a_provider_shows_both_and_changes_nothing(admin: Client, site: Site) -> None:
    page = page_of(site.alpha)
    mine = filled(admin.get(page), name="Mine", weight="3")
    actions.update_provider(site.alpha, {"name": "Theirs"}, actor=ADA)
    actions.set_admin_state(site.alpha, "draining", actor=Actor.command("cron"))
    response = admin.post(page, mine)
    assert response.status_code == 409
    shown = {item.label: (item.theirs, item.mine) for item in response.context["differences"]}
    assert shown == {"name": ("Theirs", "Mine"), "weight": ("1", "3")}
    assert "ada saved it" in text(response)
    site.alpha.refresh_from_db()
    assert site.alpha.name == "Theirs"


def test_what_was_typed_can_be_saved_over_theirs(admin: Client, site: Site) -> None:
    page = page_of(site.alpha)
    mine = filled(admin.get(page), name="Mine", **{"models-asked": ["a", "b"], "models-upstream": ["x", "y"]})
    actions.update_provider(site.alpha, {"name": "Theirs"}, actor=ADA)
    again = hidden(admin.post(page, mine))
    assert admin.post(page, {**again, "_save": ""}).status_code == 302
    site.alpha.refresh_from_db()
    assert site.alpha.name == "Mine"
    assert site.alpha.model_map == {"a": "x", "b": "y"}


def test_what_was_typed_can_be_edited_further(admin: Client, site: Site) -> None:
    page = page_of(site.default)
    mine = filled(admin.get(page), **{"targets-0-weight": "77"})
    actions.update_profile(site.default, {"name": "Theirs"}, actor=ADA)
    response = admin.post(page, {**hidden(admin.post(page, mine)), "_edit": ""})
    assert response.status_code == 200
    assert response.context["target_rows"][0].form["weight"].value() == "77"
    site.default.refresh_from_db()
    assert response.context["form"]["version"].value() == str(site.default.version)
    assert draft.profile_tree(site.default)["targets"][0]["weight"] == 50


def test_a_typed_credential_is_not_written_into_the_conflict_page(admin: Client, site: Site) -> None:
    page = page_of(site.alpha)
    mine = filled(admin.get(page), name="Mine", credential="sk-typed-just-now-1234")
    actions.update_provider(site.alpha, {"name": "Theirs"}, actor=ADA)
    response = admin.post(page, mine)
    assert "sk-typed-just-now" not in text(response)
    assert "type it again" in text(response)


def test_a_stale_save_of_a_key_is_a_conflict_too(admin: Client, site: Site) -> None:
    page = page_of(site.key)
    mine = filled(admin.get(page), name="mine")
    actions.update_access_key(site.key, {"region": "eu"}, actor=ADA)
    response = admin.post(page, mine)
    assert response.status_code == 409
    assert "ada saved it" in text(response)
    site.key.refresh_from_db()
    assert site.key.name == "app"
