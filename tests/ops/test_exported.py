"""What dashboards and alerts ask for is in the scrape of a product that runs, with the labels they go by."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.monitoring.files import everything
from tests.monitoring.promql import OF_PROMETHEUS, named
from tests.simulators import Simulator
from tests.stack import document

if TYPE_CHECKING:
    from tests.stack import Stack

#: Made by Prometheus itself.
ITS_OWN = {"up", "ALERTS"}


@pytest.fixture(scope="module")
def scraped(stack: Stack) -> dict[str, set[str]]:
    """Series -> its labels, of a product with a provider that is checked, after a request that was answered and one
    that found nobody."""
    with Simulator() as simulator:
        provider = {"models": {"gpt-4o": "gpt-4o"}, "probe": {"kind": "models", "interval": 1}}
        stack.import_config(document(simulator.add("exported"), provider=provider))
        assert stack.chat("gpt-4o").status == 200
        assert stack.chat("nobody-serves-this").status == 404

        return {
            sample.name: set(sample.labels)
            for family in text_string_to_metric_families(stack.metrics())
            for sample in family.samples
        }


def test_every_series_and_label_of_dashboards_and_alerts_is_exported(scraped: dict[str, set[str]]) -> None:
    asked = {place: named(expression) for place, expression in everything().items()}
    assert len(asked) > 100
    for place, found in asked.items():
        there = set[str]()
        for series, labels in found.series.items():
            if series in ITS_OWN:
                continue
            assert series in scraped, place
            assert labels - OF_PROMETHEUS <= scraped[series], f"{place}: {json.dumps(sorted(scraped[series]))}"
            there |= scraped[series]
        assert found.grouping <= there | OF_PROMETHEUS | found.made, place


def test_no_metric_of_ours_has_a_label_that_prometheus_sets(scraped: dict[str, set[str]]) -> None:
    assert not [series for series, labels in scraped.items() if labels & OF_PROMETHEUS]
