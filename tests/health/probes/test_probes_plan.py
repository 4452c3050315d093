"""What there is to ask about: one check an endpoint, or one a model where asking costs money."""

from __future__ import annotations

from typing import Any

import pytest

from health.probes.plan import plan_of
from routes.engine.snapshot import target_id
from tests.documents import an_id, document, head, profile, provider, snapshot, target

PRICES = {
    "cheap": {"input": 1, "output": 2, "cached": None},
    "dear": {"input": 10, "output": 20, "cached": None},
    "vectors": {"input": 0.01, "output": 0, "cached": None},
}


def checks(*targets: dict[str, Any], kind: str = "completion", **given: Any) -> list[tuple[str, str | None, list[str]]]:
    """(kind, model, models of the targets it speaks for) of a provider that one profile uses like that."""
    entry = provider("acme", probe={"kind": kind}, **{"prices": PRICES, **given})
    plan = plan_of(snapshot([entry], [profile("default", list(targets))]))
    for ident, subject in plan.items():
        assert ident == subject.id == target_id(an_id("provider", "acme"), subject.model, subject.head_id)
    return sorted((each.kind, each.model, sorted(t.model or "*" for t in each.targets)) for each in plan.values())


@pytest.mark.parametrize("kind", ["models", "tcp", "http"])
def test_an_endpoint_is_one_check_for_all_its_targets(kind: str) -> None:
    assert checks(target("acme", "cheap"), target("acme", "dear"), target("acme"), kind=kind) == [
        (kind, None, ["*", "cheap", "dear"])
    ]


def test_who_is_not_probed_has_no_check() -> None:
    assert checks(target("acme"), kind="off") == []


def test_completions_are_asked_of_every_upstream_model_that_targets_name() -> None:
    models = {"cheap": "one", "dear": "one", "other": "two"}
    targets = [target("acme", model) for model in models]
    assert checks(*targets, models=models) == [
        ("completion", "one", ["cheap", "dear"]),
        ("completion", "two", ["other"]),
    ]


def test_a_target_of_a_model_that_is_not_served_is_not_asked_for_it() -> None:
    assert checks(target("acme", "cheap"), target("acme", "gone"), models={"cheap": "cheap"}) == [
        ("completion", "cheap", ["cheap"])
    ]


def test_a_target_of_any_model_goes_by_the_cheapest_that_is_asked_for_anyway() -> None:
    assert checks(target("acme", "dear"), target("acme"), models={"*": "*", "cheap": "cheap"}) == [
        ("completion", "dear", ["*", "dear"])
    ]


def test_alone_it_goes_by_the_cheapest_listed_model_that_answers_prompts() -> None:
    listed = {name: name for name in ("dear", "cheap", "vectors", "unknown")} | {"*": "*"}
    assert checks(target("acme"), models=listed) == [("completion", "cheap", ["*"])]


@pytest.mark.parametrize("models", [None, {"*": "*"}, {"vectors": "vectors"}])
def test_without_a_model_to_ask_for_the_list_is_asked_for(models: dict[str, str] | None) -> None:
    assert checks(target("acme"), models=models) == [("models", None, ["*"])]


def test_a_generic_service_knows_no_completions() -> None:
    assert checks(target("acme"), wire="generic") == [("tcp", None, ["*"])]


def test_every_head_is_an_endpoint_of_its_own() -> None:
    entry = provider("acme", probe={"kind": "models"}, heads=[head("one"), head("two")])
    plan = plan_of(snapshot([entry], [profile("default", [target("acme", "cheap"), target("acme", "dear")])]))
    assert sorted((each.head_id, each.endpoint.endpoint, len(each.targets)) for each in plan.values()) == [
        ("one", "http://127.0.0.1:9/one/v1", 2),
        ("two", "http://127.0.0.1:9/two/v1", 2),
    ]


def test_targets_that_only_rules_and_decisions_without_a_profile_use_are_asked_too() -> None:
    entries = [provider(slug, probe={"kind": "models"}) for slug in ("one", "two")]
    tree = document(entries, [profile("default", [target("one")])])
    tree["unnamed"] = profile("", [target("one", weight=1), target("two", weight=1)])
    from routes.engine.snapshot import Snapshot

    assert sorted(each.provider.slug for each in plan_of(Snapshot.from_document(tree)).values()) == ["one", "two"]


def test_a_result_lasts_three_intervals_and_longer_than_any_probe_takes() -> None:
    def lasts(**probe: Any) -> float:
        entry = provider("acme", probe={"kind": "models", **probe})
        (subject,) = plan_of(snapshot([entry])).values()
        return subject.lasts

    assert lasts(interval=30, timeout=10) == 90
    assert lasts(interval=1, timeout=10) == 45
