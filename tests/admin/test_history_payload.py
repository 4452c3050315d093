"""What was said, on the page of a request: shown to admins, when they ask for it, as text."""

from __future__ import annotations

from datetime import timedelta
from html import unescape
from typing import TYPE_CHECKING, Any

import pytest
from django.utils import timezone

from history.admin.copies import SHOW
from history.models import RouteHistory, RoutePayload
from history.records import Excerpt
from routes.models import AuditEntry
from routing_project.env import get_env
from tests.admin.conftest import list_of, text
from tests.history import rows, samples

if TYPE_CHECKING:
    from uuid import UUID

    from django.test import Client

pytestmark = pytest.mark.django_db

LIST = list_of(RouteHistory)
PROMPT = "</pre><script>alert(1)</script>{% the prompt %} of an engine driver"
BUTTON = f'name="{SHOW}"'


def kept(**values: Any) -> str:
    """The page of a request with copies."""
    route = rows.at(timezone.now() - timedelta(minutes=1))
    identifier: UUID = rows.store(samples.finished(route), samples.payload(route, **values))[0]
    return f"{LIST}{identifier}/change/"


def words_of(response: Any) -> str:
    """The page as it is read."""
    return unescape(text(response))


def test_an_admin_is_shown_it_on_demand_and_the_audit_log_says_to_whom(admin: Client) -> None:
    page = kept(request=Excerpt("text/plain", 4096, PROMPT))
    before = admin.get(page).content.decode()
    assert BUTTON in before
    assert "A copy is kept until" in before
    assert "engine driver" not in before
    assert not AuditEntry.objects.exists()
    shown = admin.post(page, {SHOW: "1"})
    assert shown.status_code == 200
    words = words_of(shown)
    assert PROMPT in words
    assert "<script>alert" not in shown.content.decode()
    for said in (
        *("What the client sent", "4 096 bytes of", "What it was answered", "70 000 bytes"),
        *("of which the beginning and the end are kept", "what is in between is not kept", "data: [DONE]"),
        *("2 secrets were taken out before it was stored", "Kept until", "UTC"),
    ):
        assert said in words, said
    entry = AuditEntry.objects.get()
    assert (entry.action, entry.actor_name) == ("payload.read", "admin")
    assert entry.object_id in page
    log = words_of(admin.get(f"{list_of(AuditEntry)}?object_type=payload"))
    assert f"Read the payload {entry.object_id}" in log


def test_json_is_laid_out_for_reading_and_anything_else_is_left_alone(admin: Client) -> None:
    page = kept(response=Excerpt("application/json", 20, '{"a":[1,{"b":"grün"}]}'))
    shown = admin.post(page, {SHOW: "1"})
    assert '{\n  "a": [\n    1,\n    {\n      "b": "grün"\n    }\n  ]\n}' in words_of(shown)
    assert "indented for reading" in words_of(shown)
    page = kept(response=Excerpt("application/json", 9, '{"broken"'))
    assert '{"broken"' in words_of(admin.post(page, {SHOW: "1"}))


@pytest.mark.parametrize(
    ("first", "last"),
    [
        (
            '{"choices":[{"index":0,"delta":{"content":"so "}},{"index":1,"delta":{"content":"other"}}]}',
            '{"choices":[{"index":0,"delta":{"content":"ends"}}]}',
        ),
        ('{"choices":[{"index":0,"text":"so "}]}', '{"choices":[{"index":0,"text":"ends"}]}'),
        (
            '{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"so "}}',
            '{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"ends"}}',
        ),
        (
            '{"type":"response.output_text.delta","delta":"so "}',
            '{"type":"response.output_text.delta","delta":"ends"}',
        ),
    ],
    ids=["chat", "completion", "messages", "responses"],
)
def test_the_words_of_a_stream_are_put_together(admin: Client, first: str, last: str) -> None:
    head = f"data: {first}\n\ndata: {first}\n\ndata: [1]\n\ndata: {first[:20]}"
    tail = f'{last[9:]}\n\ndata: {last}\n\nevent: end\ndata: {{"type":"other"}}\n\ndata: [DONE]\n\n'
    page = kept(response=Excerpt("text/event-stream; charset=utf-8", 90_000, head, tail, True))
    assert ">so so  … ends</pre>" in words_of(admin.post(page, {SHOW: "1"}))


@pytest.mark.parametrize("role", ["viewer", "operator"])
def test_others_are_not_told_that_there_is_one(role: str, request: pytest.FixtureRequest) -> None:
    somebody: Client = request.getfixturevalue(role)
    page = kept(prompt=PROMPT)
    for answer in (somebody.get(page), somebody.post(page, {SHOW: "1"})):
        content = answer.content.decode()
        assert BUTTON not in content
        assert "engine driver" not in content
        assert "What was said" not in content
    assert not AuditEntry.objects.exists()


def test_without_a_copy_the_page_says_why(admin: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    (route,) = rows.store(samples.finished())
    page = f"{LIST}{route}/change/"
    for policy, word in (
        ("off", "Prompts and answers are not stored unless SIGNALBOX_HISTORY_PAYLOADS asks for it"),
        ("failures", "Copies are made of requests that fail or are saved by failover"),
        ("all", "left out while the journal is half full"),
    ):
        monkeypatch.setenv("SIGNALBOX_HISTORY_PAYLOADS", policy)
        get_env.cache_clear()
        answer = admin.get(page)
        assert word in words_of(answer)
        assert BUTTON not in answer.content.decode()
    # It was deleted since the page with the button was drawn.
    assert RoutePayload.objects.count() == 0
    assert "No copy of this request is kept" in words_of(admin.post(page, {SHOW: "1"}))
