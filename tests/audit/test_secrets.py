"""No credential is in an entry, in none of the three places: not the value, not a part, not in another spelling."""

from __future__ import annotations

from typing import Any

import pytest

from health.alerts import actions as alerts
from routes import actions
from routes.actions import Actor
from routes.audit import delivery
from routes.audit.veil import plain, sentence, veiled
from routes.diff import compare
from routes.models import AuditEntry, Provider
from routing_project.env import get_env
from tests.audit.conftest import ADA, lines, write
from tests.audit.test_channel import Listener, use
from tests.control.samples import document, profile, provider
from tests.control.test_secrets import forms

CANARY = "canary-7b1f-0c4e-e5a2-9d83"
KEY = "sbx_" + "canary7b1f0c4e" * 3


@pytest.mark.django_db
def test_no_secret_reaches_the_table_the_file_or_the_channel(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    use(redis_url, monkeypatch)
    listener = Listener(redis_url)
    entry = provider(
        "acme",
        credential={"value": CANARY},
        # Names that are known to be of secrets are refused; whatever else people put keys into is not.
        headers={"x-goog-key": CANARY, "x-auth": f"Basic {CANARY}", "x-team": CANARY, "x-title": "ours"},
        query={"key": CANARY, "sig": CANARY, "api-version": "2024-10-21"},
    )
    made = actions.create_provider(entry, actor=ADA)
    actions.publish(actor=ADA, message=f"with Bearer {CANARY}")
    changed = {
        "headers": {"x-goog-key": f"{CANARY}-2", "x-team": "b", "x-title": "theirs"},
        "query": {"key": f"{CANARY}-2", "api-version": "2025-01-01", "new": CANARY},
        "credential": {"value": f"{CANARY}-2"},
    }
    actions.update_provider(made, changed, actor=ADA)
    actions.publish(actor=ADA)
    actions.update_provider(Provider.objects.get(), {"headers": {}, "query": {}}, actor=ADA)
    actions.set_credential(Provider.objects.get(), f"{CANARY}-3", actor=ADA)
    actions.publish(actor=ADA)
    tree = {**document(), "providers": [entry], "profiles": [profile("default", "acme")]}
    tree["access_keys"] = [{"name": "app", "value": KEY}]
    actions.import_configuration(tree, actor=ADA, publish_now=True, message=f"key {KEY}")
    actions.rollback(1, actor=ADA)
    hook = {"value": f"https://hooks.example/{CANARY}?key={CANARY}"}
    channel = alerts.create_channel(
        {"name": "ops", "kind": "webhook", "url": hook, "secret": {"value": f"{CANARY}-{CANARY}"}}, actor=ADA
    )
    alerts.update_channel(channel, {"secret": {"value": f"{CANARY}-{CANARY}-2"}}, actor=ADA)
    alerts.delete_channel(alerts.AlertChannel.objects.get(), actor=ADA)
    actions.delete_provider(Provider.objects.get(), actor=ADA, remove_from_profiles=True)
    delivery.deliver()

    messages = listener.messages()
    listener.close()
    told = AuditEntry.objects.count()
    assert told == len(messages) == sum("head" not in line for line in lines()) >= 18
    places = {
        "table": str(list(AuditEntry.objects.values())),
        "file": get_env().audit_log_path.read_text(),
        "channel": str(messages),
    }
    for secret in (CANARY, KEY):
        for form in forms(secret):
            for place, content in places.items():
                assert form not in content.encode(), (place, form)
    updated = AuditEntry.objects.filter(action="provider.updated").earliest("id")
    assert updated.changes["credential"] == updated.changes["headers.x-goog-key"] == "changed"
    assert updated.changes["query.api-version"] == ["2024-10-21", "2025-01-01"], "what is known to be none is told"
    assert updated.changes["headers.x-title"] == ["ours", "theirs"]


@pytest.mark.django_db
def test_a_key_that_is_called_like_one_is_named_by_no_entry_whether_it_acts_or_is_acted_on() -> None:
    name = "sbx_ZZZabcdefghijklmnop0123"
    entry = write(name, "access_key.updated", Actor("key", name, "k-1"))
    assert (entry.actor_name, entry.object_name) == ("[redacted]", "[redacted]")
    # Names of people were checked when they were given, and stay.
    assert write(actor=Actor("user", name, "7")).actor_name == name


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"weight": [1, 3]}, {"weight": [1, 3]}),
        ({"headers.x-key": [None, "a"]}, {"headers.x-key": [None, "changed"]}),
        ({"headers.x-key": ["a", "b"]}, {"headers.x-key": "changed"}),
        ({"headers.x-key": ["a", None]}, {"headers.x-key": ["changed", None]}),
        (
            {"headers": [None, {"x-key": "a", "X-Title": "b"}]},
            {"headers": [None, {"x-key": "changed", "X-Title": "b"}]},
        ),
        ({"query": [{"key": "a"}, {"key": "b"}]}, {"query": "changed"}),
        ({"api_key": ["a", "b"]}, {"api_key": "changed"}),
        ({"password": "a"}, {"password": "changed"}),
        ({"password": ""}, {"password": ""}),
        ({"base_url": ["https://u:p@a/v1", "https://u:q@a/v1"]}, {"base_url": "changed"}),
        ({"base_url": ["https://u@a/v1", None]}, {"base_url": ["https://[redacted]@a/v1", None]}),
        ({"rules[a]": [None, {"x": ["https://u:p@a"]}]}, {"rules[a]": [None, {"x": ["https://[redacted]@a"]}]}),
        ({"changes": ["a", "b", "sk-abcdefghijkl1mnopqrst"]}, {"changes": ["a", "b", "[redacted]"]}),
        ({"models.tokenizer": ["a", "b"]}, {"models.tokenizer": ["a", "b"]}),
        ({"tokens": [1, 2]}, {"tokens": [1, 2]}),
    ],
)
def test_only_that_it_changed_is_told_of_what_may_be_a_secret(changes: dict[str, Any], told: dict[str, Any]) -> None:
    assert veiled(changes) == told


def test_sentences_of_a_revision_name_a_header_and_not_its_value() -> None:
    def tree(**fields: Any) -> dict[str, Any]:
        return {"providers": [{"slug": "acme", **fields}]}

    def told(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
        return [sentence(change) for change in compare(before, after)]

    key, other = {"headers": {"x-key": "a"}}, {"headers": {"x-key": "b"}}
    assert told(tree(), tree(**key)) == ["provider acme: headers changed"]
    assert told(tree(**key), tree(**other)) == ["provider acme: headers.x-key changed"]
    assert told(tree(**key), tree(headers={})) == ["provider acme: headers.x-key changed"]
    versions = (tree(query={"api-version": version}) for version in ("1", "2"))
    assert told(*versions) == ["provider acme: query.api-version 1 → 2"]
    proxies = (tree(proxy=f"http://u:{word}@p") for word in ("one", "two"))
    assert told(*proxies) == ["provider acme: proxy http://[redacted]@p → http://[redacted]@p"]


@pytest.mark.django_db
def test_a_key_in_a_reason_or_a_name_is_taken_out() -> None:
    entry = write(f"head {KEY}", reason=f"because of {KEY} at https://ada:secret@host/")
    assert (entry.object_name, entry.reason) == ("head [redacted]", "because of [redacted] at https://[redacted]@host/")


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("name", "object_type"),
    [
        ("sk-bratislava", "provider"),
        ("sk-bratislava-datacenter-2", "provider"),
        ("sk-bratislava-datacenter-2", "profile"),
        ("sk-bratislava-datacenter-2", "head"),
        ("sk-Jana.Nováková.1988-Bratislava", "user"),
        ("keys of sk-bratislava", "access_key"),
    ],
)
def test_a_name_stays_what_it_is_also_where_it_begins_as_a_key_does(name: str, object_type: str) -> None:
    entry = write(
        name, f"{object_type}.updated", changes={"slug": [None, "sk-bratislava"]}, reason="sk-bratislava is slow"
    )
    assert (entry.object_name, entry.changes["slug"][1]) == (name, "sk-bratislava")
    assert entry.reason == "sk-bratislava is slow"


@pytest.mark.parametrize("place", range(9))
def test_a_key_is_known_by_a_digit_or_a_capital_wherever_it_stands_or_by_its_length(place: int) -> None:
    for sign in "7Q":
        letters = list("abcd-ef_g")
        letters[place] = sign
        key = "sk-" + "".join(letters)
        assert plain(f"with {key}, and") == "with [redacted], and"
    assert plain("sk-" + "a" * 20) == "[redacted]"
    assert plain("sk-" + "a" * 19) == "sk-" + "a" * 19
