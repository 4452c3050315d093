"""Dashboards of Grafana: what they ask is PromQL, names what is exported, and can be provisioned as it stands."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import yaml

from routing_project.metrics.catalogue import DJANGO_FAMILIES, FAMILIES
from tests.monitoring.files import DASHBOARDS, ROOT, dashboard, everything, expressions
from tests.monitoring.promql import OF_PROMETHEUS, named

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

#: Series that Prometheus makes itself, with their labels.
PROMETHEUS_ITSELF = {"up": set(), "ALERTS": {"alertname", "alertstate"}}
#: Series of the catalogue -> its labels.
EXPORTED = {
    series: {*family.labels, *(("le",) if series.endswith("_bucket") else ())}
    for family in (*FAMILIES, *DJANGO_FAMILIES)
    for series in family.series
} | PROMETHEUS_ITSELF
#: Panels that each file is for.
ROUTING = {"Decisions by strategy", "Registered and active heads", "Head operations", "Answers by status", "Hit ratio"}
PANELS = {
    "routing-service.json": ROUTING,
    "routing-service-enhanced.json": {
        *ROUTING, "Data plane: time to the end of the answer", "HTTP error rates", "Routing errors", "CPU", "Memory",
        "Real-time connections", "Message queues", "By model type", "By region", "Errors by status or cause", "Success",
    },
    "signalbox.json": {
        "Circuits", "Attempts by outcome", "Routes and attempts", "Overhead by stage", "First byte", "Journal",
        "Tokens by direction", "Cost by provider", "Revision by process",
    },
}  # fmt: skip


def test_every_expression_is_one(promtool: Callable[..., str], tmp_path: Path) -> None:
    records = [{"record": f"e:{number}", "expr": expr} for number, expr in enumerate(everything().values())]
    assert len(records) > 80
    path = tmp_path / "expressions.yml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "all", "rules": records}]}))
    assert f"{len(records)} rules found" in promtool("check", "rules", path)
    records[7]["expr"] += ")"
    path.write_text(yaml.safe_dump({"groups": [{"name": "all", "rules": records}]}))
    promtool("check", "rules", path, fails=True)


def test_nothing_is_shown_as_0_that_is_not_known() -> None:
    """A constant is there while the host is dead, when only whether it is up, and what fires, is known."""
    shown = [expression for path in DASHBOARDS for expression in expressions(path).values()]
    made_up = {expression.partition("(")[2].partition("{")[0] for expression in shown if "vector(" in expression}
    assert made_up == set(PROMETHEUS_ITSELF)


@pytest.mark.parametrize("place", everything())
def test_it_names_only_series_and_labels_that_are_exported(place: str) -> None:
    found = named(everything()[place])
    assert found.series
    assert set(found.series) <= set(EXPORTED), place
    for series, labels in found.series.items():
        assert labels <= EXPORTED[series] | OF_PROMETHEUS, f"{place}: {series}"
    there = set[str]().union(*(EXPORTED[series] for series in found.series))
    assert found.grouping <= there | OF_PROMETHEUS | found.made, place


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.name)
class TestFiles:
    def test_it_has_the_panels_it_is_for(self, path: Path) -> None:
        assert {panel["title"] for panel in dashboard(path)["panels"]} >= PANELS[path.name]

    def test_every_panel_says_what_it_shows_in_which_unit(self, path: Path) -> None:
        for panel in dashboard(path)["panels"]:
            if panel["type"] == "row":
                continue
            assert len(panel["description"]) > 20, panel["title"]
            assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]
            assert panel["fieldConfig"]["defaults"]["thresholds"]["steps"][0]["value"] is None, panel["title"]
            assert panel["targets"], panel["title"]

    def test_several_lines_of_a_panel_can_be_told_apart(self, path: Path) -> None:
        for panel in dashboard(path)["panels"]:
            legends = [target["legendFormat"] for target in panel.get("targets", [])]
            assert len(set(legends)) == len(legends), panel["title"]
            if panel["type"] != "stat" and legends:
                assert "__auto" not in legends, panel["title"]
            for target in panel.get("targets", []):
                names = {part.partition("}}")[0] for part in target["legendFormat"].split("{{")[1:]}
                found = named(expressions(path)[f"{panel['title']} {target['refId']}"])
                there = set[str]().union(*(EXPORTED[series] for series in found.series))
                assert names <= there | OF_PROMETHEUS | found.made, panel["title"]

    def test_panels_do_not_overlap_and_have_ids_of_their_own(self, path: Path) -> None:
        panels = dashboard(path)["panels"]
        assert len({panel["id"] for panel in panels}) == len(panels)
        assert len({panel["title"] for panel in panels}) == len(panels)
        taken: dict[tuple[int, int], str] = {}
        for panel in panels:
            at = panel["gridPos"]
            assert at["x"] + at["w"] <= 24, panel["title"]
            for x in range(at["x"], at["x"] + at["w"]):
                for y in range(at["y"], at["y"] + at["h"]):
                    assert (x, y) not in taken, f"{panel['title']} over {taken.get((x, y))}"
                    taken[x, y] = panel["title"]

    def test_its_source_is_chosen_and_everything_asks_that_one(self, path: Path) -> None:
        board = dashboard(path)
        chosen = board["templating"]["list"][0]
        assert (chosen["type"], chosen["query"], chosen["name"]) == ("datasource", "prometheus", "datasource")
        asked = [
            *(panel["datasource"] for panel in board["panels"] if panel["type"] != "row"),
            *(target["datasource"] for panel in board["panels"] for target in panel.get("targets", [])),
            *(each["datasource"] for each in board["templating"]["list"][1:]),
            *(each["datasource"] for each in board["annotations"]["list"] if "expr" in each),
        ]
        assert {(each["type"], each["uid"]) for each in asked} == {("prometheus", "${datasource}")}

    def test_it_opens_on_the_last_hour_and_reads_itself_anew(self, path: Path) -> None:
        board = dashboard(path)
        assert board["time"] == {"from": "now-1h", "to": "now"}
        assert board["refresh"] in {"15s", "30s", "1m"}
        assert board["id"] is None
        assert board["schemaVersion"] >= 39


def test_lines_that_are_compared_count_the_same() -> None:
    """A request is two records of the journal and one row: records stand beside records."""
    (path,) = (each for each in DASHBOARDS if each.name == "signalbox.json")
    (panel,) = (each for each in dashboard(path)["panels"] if each["title"] == "Written, shipped, lost")
    written, shipped, lost = (target["expr"] for target in panel["targets"])
    assert shipped == written.replace('status="published"', 'status="consumed"') != written
    assert "journal_dropped_total" in lost
    units = {family.name: family.unit for family in FAMILIES}
    assert units["journal_dropped_total"] == "records"


def test_dashboards_have_addresses_and_titles_of_their_own() -> None:
    assert {path.name for path in DASHBOARDS} == set(PANELS)
    boards = [dashboard(path) for path in DASHBOARDS]
    assert len({board["uid"] for board in boards}) == len({board["title"] for board in boards}) == len(boards)
    assert all(len(board["uid"]) <= 40 for board in boards), "Grafana takes no longer ones"


def test_what_grafana_is_provisioned_with_is_what_is_here() -> None:
    folder = ROOT / "grafana" / "provisioning"
    (source,) = yaml.safe_load((folder / "datasources" / "signalbox.yml").read_text())["datasources"]
    assert (source["type"], source["url"], source["access"]) == ("prometheus", "http://127.0.0.1:9090", "proxy")
    scrape = yaml.safe_load((ROOT / "prometheus" / "prometheus.yml").read_text())["global"]["scrape_interval"]
    assert source["jsonData"]["timeInterval"] == scrape == "15s"
    (provider,) = yaml.safe_load((folder / "dashboards" / "signalbox.yml").read_text())["providers"]
    assert provider["type"] == "file"
    assert provider["options"]["path"] == "$GRAFANA_DASHBOARDS"
