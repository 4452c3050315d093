"""The Live page as the server gives it: its filters, what its script is told, and what is there without one."""

from __future__ import annotations

import html
import json
import re
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from tests.admin.conftest import text

if TYPE_CHECKING:
    from django.test import Client

    from tests.admin.conftest import Site

pytestmark = pytest.mark.django_db
LIVE = "/admin/live/"


def told(page: str) -> dict[str, Any]:
    """What the page's script reads."""
    found = re.search(r'data-live="([^"]*)"', page)
    assert found
    tree: dict[str, Any] = json.loads(html.unescape(found[1]))
    return tree


def chips(page: str) -> dict[str, str]:
    """Words of what is filtered, with the address without it."""
    found = re.findall(r'<li class="chip">.*?>([^<]+)</span><a href="([^"]*)"', page)
    return {html.unescape(words): html.unescape(address) for words, address in found}


def test_its_filters_are_in_the_address_and_go_to_the_feed_and_to_the_history(viewer: Client, site: Site) -> None:
    given = {"status": "failures", "profile": "default", "model__in": "a,b", "recovered": "1", "session": "talk"}
    page = text(viewer.get(LIVE, given))
    assert told(page)["filter"] == given
    assert chips(page) == {
        "Any failure": "?profile=default&model__in=a%2Cb&recovered=1&session=talk",
        "Profile is default": "?status=failures&model__in=a%2Cb&recovered=1&session=talk",
        "Model sent is one of a, b": "?status=failures&profile=default&recovered=1&session=talk",
        "Recovered by failover": "?status=failures&profile=default&model__in=a%2Cb&session=talk",
        "Session is talk": "?status=failures&profile=default&model__in=a%2Cb&recovered=1",
    }
    (address,) = {html.unescape(each) for each in re.findall(r'href="(/admin/history/routehistory/\?[^"]*)"', page)}
    assert dict(parse_qsl(urlsplit(address).query)) == given
    assert 'role="alert"' not in text(viewer.get(address)), "the history understands all of it"
    assert '<option value="failures" selected>' in page
    assert '<input type="hidden" name="model__in" value="a,b">' in page, "what the form does not offer stays"


def test_what_is_no_filter_is_named_and_left_out(viewer: Client, site: Site) -> None:
    page = text(viewer.get(LIVE, {"status": "failed", "colour": "<b>", "latency_ms__gt": "5", "recovered": "x"}))
    assert told(page)["filter"] == {"status": "failed"}
    problems = page.partition('role="alert"')[2].partition("</div>")[0]
    assert "3 parts of this address are not understood" in problems
    for name in ("colour=&lt;b&gt;", "latency_ms__gt=5", "recovered=x"):
        assert f"<code>{name}</code>" in problems


def test_the_form_offers_what_the_feed_filters_by_and_nothing_else(viewer: Client, site: Site) -> None:
    with CaptureQueriesContext(connection) as captured:
        page = text(viewer.get(LIVE))
    form = page.partition('id="filters"')[2].partition("</form>")[0]
    assert set(re.findall(r' name="([^"]+)"', form)) == {
        *("status", "profile", "provider", "requested_model", "model", "access_key", "session", "error_code", "rule"),
        *("strategy", "recovered"),
    }
    assert '<option value="alpha">' in form
    assert len(captured) <= 15


def test_without_scripts_it_says_so_and_leads_to_the_history(viewer: Client, site: Site) -> None:
    page = text(viewer.get(LIVE, {"profile": "default"}))
    without = page.partition("<noscript>")[2].partition("</noscript>")[0]
    assert "needs JavaScript" in without
    assert 'href="/admin/history/routehistory/?profile=default"' in without
    assert re.search(r"<section[^>]* data-live=[^>]* hidden>", page), "the rest is shown by its script"
    assert 'href="/admin/live/" aria-current="page"' in page.replace("  ", " ")
