"""What the pages on monitoring name is there: metrics, settings, commands, addresses; and every metric is explained."""

from __future__ import annotations

import re
from collections import defaultdict
from typing import TYPE_CHECKING
from uuid import UUID

import pytest
from django.core.management import get_commands
from django.urls import Resolver404, resolve

from routes.gateway.health import HealthAnswers
from routing_project.env import SECRET_NAMES, Env
from routing_project.metrics.catalogue import DJANGO_FAMILIES, FAMILIES
from tests.monitoring.files import DASHBOARDS, MONITORING, PROMETHEUS, ROOT, RUNBOOKS, dashboard, rules
from tests.monitoring.promql import named

if TYPE_CHECKING:
    from pathlib import Path

PAGES = [MONITORING, *sorted(RUNBOOKS.glob("*.md"))]
#: Whatever tells people where to look, as text.
TEXTS = {
    **{path.name: path.read_text() for path in PAGES},
    "alerts.yml": (PROMETHEUS / "alerts.yml").read_text().replace("{{ $labels.target }}", "{target}"),
    **{path.name: path.read_text() for path in DASHBOARDS},
}
#: What stands in an address for something, and something it may stand for.
PLACEHOLDERS = {
    "target": str(UUID(int=7)), "provider": "acme-eu", "head_id": "vllm-7", "number": "3", "profile": "default",
}  # fmt: skip
RELAYED = re.compile(r"(?<![\w.{/-])(/(?:admin|api)/[^\s`'\"|),:;]*)")


def rows(text: str) -> dict[str, list[str]]:
    """First cell of each table row that is code -> the cells behind it."""
    found = re.findall(r"^\| `(\w+)` \|(.*)\|$", text, re.M)
    return {name: [cell.strip() for cell in rest.split("|")] for name, rest in found}


def test_every_metric_is_explained_with_its_unit_labels_and_alerts_and_no_other() -> None:
    section = MONITORING.read_text().partition("## What there is")[2].partition("## Alerts")[0]
    told = rows(section)
    families = {family.name: family for family in (*FAMILIES, *DJANGO_FAMILIES)}
    assert list(told) == list(families)
    used = defaultdict(set)
    for rule in rules():
        for series in named(rule["expr"]).series:
            used[series].add(rule["alert"])
    for name, (meaning, unit, labels, alerts) in told.items():
        family = families[name]
        assert len(meaning) > 5, name
        assert unit == family.unit, name
        assert re.findall(r"`(\w+)`", labels) == list(family.labels), name
        by = set[str]().union(*(used[series] for series in family.series))
        assert set(re.findall(r"\[(\w+)\]\(runbooks/\1\.md\)", alerts)) == by, name


def test_every_alert_is_in_the_table_with_how_bad_it_is() -> None:
    section = MONITORING.read_text().partition("## Alerts")[2]
    told = dict(re.findall(r"^\| \[(\w+)\]\(runbooks/\1\.md\) \| (\w+) \|", section, re.M))
    worst: dict[str, str] = {}
    for rule in rules():
        if worst.get(rule["alert"]) != "critical":
            worst[rule["alert"]] = rule["labels"]["severity"]
    assert told == worst


def test_every_dashboard_is_in_the_table_by_its_title() -> None:
    told = set(re.findall(r"^\| (Signalbox[^|]*?) \|", MONITORING.read_text(), re.M))
    assert told == {dashboard(path)["title"] for path in DASHBOARDS}


@pytest.mark.parametrize("page", TEXTS)
class TestWhatIsNamed:
    def test_settings_exist(self, page: str) -> None:
        known = {field.alias or f"SIGNALBOX_{name.upper()}" for name, field in Env.model_fields.items()}
        known |= {f"{name}_FILE" for name in SECRET_NAMES}
        assert set(re.findall(r"\bSIGNALBOX_[A-Z_]+\b", TEXTS[page])) <= known

    def test_commands_exist(self, page: str) -> None:
        assert set(re.findall(r"manage\.py\s+([a-z_]+)", TEXTS[page])) <= {*get_commands(), "serve"}

    def test_addresses_exist(self, page: str) -> None:
        for address in RELAYED.findall(TEXTS[page]):
            path = address.partition("?")[0]
            for name, value in PLACEHOLDERS.items():
                path = path.replace(f"{{{name}}}", value)
            try:
                found = resolve(path)
            except Resolver404:
                pytest.fail(f"{page} leads to {address}, which does not exist")
            assert found.func.__name__ not in {"not_found", "catch_all_view"}, f"{page} leads to {address}"

    def test_metrics_exist(self, page: str) -> None:
        series = {name for family in (*FAMILIES, *DJANGO_FAMILIES) for name in (family.name, *family.series)}
        ends = "total|seconds|bytes|up|depth|state|info|connections|revision|registered|heads"
        for name in re.findall(rf"`([a-z]\w*_(?:{ends}))(?:`|{{)", TEXTS[page]):
            assert name in series | {"admin_state"}, name


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_links_to_other_pages_lead_somewhere(path: Path) -> None:
    for link in re.findall(r"\]\(([^)#]+)(?:#[\w-]+)?\)", path.read_text()):
        assert (path.parent / link).exists(), link


@pytest.mark.parametrize("page", [path.name for path in PAGES])
def test_panels_that_pages_name_are_on_a_dashboard(page: str) -> None:
    boards = [dashboard(path) for path in DASHBOARDS]
    titles = {panel["title"] for board in boards for panel in board["panels"]} | {board["title"] for board in boards}
    said = set(re.findall(r"(?<!\*)\*([A-Z][^*\n]+)\*(?!\*)", TEXTS[page]))
    elsewhere = {"Reset circuit", "Probe now", "Publish", "No probes are sent", "Dashboards", "New", "Import"}
    assert said - elsewhere <= titles


def test_addresses_of_the_gateway_itself_exist() -> None:
    said = set(re.findall(r"127\.0\.0\.1:8000(/(?:healthz|readyz|health)\b)", "".join(TEXTS.values())))
    answers = HealthAnswers(None)  # type: ignore[arg-type]
    assert said == {"/healthz", "/readyz", "/health"}
    assert all(answers.find(path.encode()) for path in said)


def test_the_files_that_pages_name_are_in_the_repository() -> None:
    for path in re.findall(r"\b((?:prometheus|grafana)/[\w./-]+\.(?:yml|json))\b", "".join(TEXTS.values())):
        assert (ROOT / path).exists(), path
