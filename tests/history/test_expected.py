"""The share of requests that weights ask for, beside the share there was."""

from __future__ import annotations

import json
import zlib
from typing import Any

import pytest
from django.utils import timezone

from history.statistics import statistics
from history.timerange import TimeRange
from routes.models import ConfigRevision
from tests import documents
from tests.documents import profile, provider, rule, target
from tests.history import rows, samples

pytestmark = pytest.mark.django_db

ALWAYS = {"all": [{"fact": "tokens", "op": "gte", "value": 0}]}


def publish(profiles: list[dict[str, Any]], **models: dict[str, str]) -> None:
    """Make that the live configuration, over three providers; ``models``: what some of them serve."""
    slugs = ("alpha", "beta", "gamma")
    providers = [provider(slug, models=models.get(slug)) for slug in slugs]
    text = json.dumps(documents.document(providers, profiles)).encode()
    ConfigRevision.objects.create(
        number=1, author="test", created_at=timezone.now(), document_text="{}", compiled_zlib=zlib.compress(text)
    )


def store(count: int, **values: Any) -> None:
    rows.store(*(samples.finished(**values) for _ in range(count)))


def shares(group_by: str = "provider") -> dict[str, tuple[float, float | None]]:
    """(share, expected share) by group."""
    groups = statistics(TimeRange(), group_by)["groups"]
    return {group["key"]: (round(group["share"], 6), group["expected_share"]) for group in groups}


def test_a_provider_is_asked_for_its_part_of_the_weight() -> None:
    publish([profile("default", [target("alpha", weight=70), target("beta", weight=30)], strategy="weighted")])
    store(6, provider="alpha")
    store(4, provider="beta")
    assert shares() == {"alpha": (0.6, pytest.approx(0.7)), "beta": (0.4, pytest.approx(0.3))}


def test_both_shares_are_of_the_requests_that_reached_a_provider() -> None:
    publish([profile("default", [target("alpha", weight=1), target("beta", weight=3)], strategy="smooth_weighted")])
    store(4, provider="alpha", strategy="smooth_weighted")
    store(6, provider="", status="rejected", strategy="none")
    assert shares() == {"": (0, None), "alpha": (1, pytest.approx(0.25)), "beta": (0, pytest.approx(0.75))}


def test_what_goes_by_no_weight_counts_where_it_went() -> None:
    publish(
        [
            profile("default", [target("alpha", weight=1), target("beta", weight=1)], strategy="weighted"),
            profile("quick", [target("beta"), target("gamma")], strategy="peak_ewma"),
        ]
    )
    store(4, provider="alpha")
    store(3, profile="quick", provider="beta", strategy="peak_ewma")
    store(1, profile="quick", provider="gamma", strategy="peak_ewma")
    store(2, profile="gone", provider="beta")
    assert shares() == {
        "alpha": (0.4, pytest.approx(0.2)),
        "beta": (0.5, pytest.approx(0.2 + 0.5)),
        "gamma": (0.1, None),
    }


def test_another_strategy_by_override_goes_by_no_weight() -> None:
    publish([profile("default", [target("alpha", weight=1), target("beta", weight=1)], strategy="weighted")])
    store(2, provider="alpha", strategy="failover")
    assert shares() == {"alpha": (1, None)}


def test_a_rule_divides_its_own_requests_and_a_backup_is_asked_for_nothing() -> None:
    long = rule("long", ALWAYS, [target("beta", weight=1), target("gamma", weight=9, tier=1)])
    publish([profile("default", [target("alpha", weight=1)], strategy="weighted", rules=[long])])
    store(5, provider="alpha")
    store(4, provider="beta", rule="long")
    store(1, provider="gamma", rule="long")
    assert shares() == {"alpha": (0.5, 0.5), "beta": (0.4, pytest.approx(0.5)), "gamma": (0.1, 0)}


def test_a_model_that_only_one_provider_serves_is_asked_of_that_one() -> None:
    targets = [target("alpha", weight=1), target("beta", weight=1), target("gamma", weight=2)]
    both = {"gpt-4o": "up-4o", "claude": "claude"}
    publish([profile("default", targets, strategy="weighted")], alpha=both, beta={"claude": "claude"}, gamma=both)
    store(6, provider="gamma", model="up-4o")
    store(4, provider="beta", model="claude")
    assert shares() == {
        "alpha": (0, pytest.approx(6 / 3 / 10 + 4 / 4 / 10)),
        "beta": (0.4, pytest.approx(4 / 4 / 10)),
        "gamma": (0.6, pytest.approx(6 * 2 / 3 / 10 + 4 * 2 / 4 / 10)),
    }


def test_models_of_targets_have_expected_shares_too() -> None:
    targets = [target("alpha", "gpt-4o", weight=3), target("alpha", "gpt-4.1", weight=1)]
    publish([profile("default", targets, strategy="weighted")])
    store(2, provider="alpha", model="gpt-4o")
    store(2, provider="alpha", model="gpt-4.1")
    assert shares("model") == {"gpt-4.1": (0.5, pytest.approx(0.25)), "gpt-4o": (0.5, pytest.approx(0.75))}


def test_other_groups_have_shares_of_all_requests_and_nothing_expected() -> None:
    publish([profile("default", [target("alpha", weight=1)], strategy="weighted")])
    store(3, provider="alpha")
    store(1, provider="", status="rejected")
    assert shares("status") == {"rejected": (0.25, None), "routed": (0.75, None)}


def test_without_a_revision_nothing_is_expected() -> None:
    store(3, provider="alpha")
    assert shares() == {"alpha": (1, None)}
