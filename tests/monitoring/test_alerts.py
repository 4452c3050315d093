"""Alerts of Prometheus: they load, fire and stay silent as promised, and lead to a page that exists."""

from __future__ import annotations

import re
from collections import defaultdict
from typing import TYPE_CHECKING

import pytest
import yaml

from tests.monitoring.files import PROMETHEUS, RUNBOOKS, rules

if TYPE_CHECKING:
    from collections.abc import Callable

#: Expression and duration that the mission fixes.
FIXED = {
    "HighRoutingErrors": ('sum(rate(routing_decisions_total{strategy="none"}[5m])) > 0.1', "5m", "warning"),
    "LowActiveHeads": ("active_heads < 2 and on() heads_registered > 0", "5m", "critical"),
    "HighHTTPErrors": (
        'sum(rate(http_requests_total{status=~"5.."}[5m])) / sum(rate(http_requests_total[5m])) > 0.05',
        "5m",
        "critical",
    ),
    "HighMemoryUsage": ("process_resident_memory_bytes > 1e9", "5m", "warning"),
    "HighCPUUsage": ("rate(process_cpu_seconds_total[5m]) > 0.9", "10m", "warning"),
}
LINK = re.compile(r"\{\{ or \$externalLabels\.runbooks \"docs/runbooks\" \}\}/(?P<page>\w+\.md)")


def test_prometheus_takes_the_configuration_with_the_rules_beside_it(promtool: Callable[..., str]) -> None:
    assert "1 rule files found" in promtool("check", "config", PROMETHEUS / "prometheus.yml")
    assert f"{len(rules())} rules found" in promtool("check", "rules", PROMETHEUS / "alerts.yml")


@pytest.mark.slow
def test_every_alert_fires_and_stays_silent_as_its_cases_say(promtool: Callable[..., str]) -> None:
    assert "SUCCESS" in promtool("test", "rules", PROMETHEUS / "alerts_test.yml")


def test_of_every_alert_there_are_cases_of_both() -> None:
    fires, silent = defaultdict(set), set()
    for case in yaml.safe_load((PROMETHEUS / "alerts_test.yml").read_text())["tests"]:
        for check in case.get("alert_rule_test", []):
            if check["exp_alerts"]:
                fires[check["alertname"]].add(check["exp_alerts"][0]["exp_labels"]["severity"])
            else:
                silent.add(check["alertname"])
        for check in case.get("promql_expr_test", []):
            firing = re.search(r'alertname="(\w+)",alertstate="firing"(?:,severity="(\w+)")?', check["expr"])
            if firing and firing[2]:
                fires[firing[1]].add(firing[2])
    severities = defaultdict(set)
    for rule in rules():
        severities[rule["alert"]].add(rule["labels"]["severity"])
    assert fires == severities
    assert silent == set(severities)


def test_the_expressions_that_are_fixed_are_these() -> None:
    found = {rule["alert"]: (rule["expr"], rule.get("for"), rule["labels"]["severity"]) for rule in rules()}
    assert {name: found[name] for name in FIXED} == FIXED


def test_every_alert_says_how_bad_it_is_what_to_do_and_where_to_read_on() -> None:
    for rule in rules():
        assert rule["labels"]["severity"] in {"warning", "critical"}, rule["alert"]
        assert set(rule["annotations"]) == {"summary", "description", "runbook_url"}, rule["alert"]
        link = LINK.fullmatch(rule["annotations"]["runbook_url"])
        assert link, rule["annotations"]["runbook_url"]
        assert link["page"] == f"{rule['alert']}.md"


def test_every_alert_has_a_runbook_and_every_runbook_an_alert() -> None:
    pages = {path.stem: path.read_text() for path in RUNBOOKS.glob("*.md") if path.stem != "README"}
    severities: dict[str, set[str]] = defaultdict(set)
    for rule in rules():
        severities[rule["alert"]].add(rule["labels"]["severity"])
    assert set(pages) == set(severities)
    for name, text in pages.items():
        assert text.startswith(f"# {name}\n"), name
        headings = re.findall(r"^## (.+)$", text, re.M)
        assert headings == ["What it means", "What is harmed", "First look", "What to do", "When to worry"], name
        assert set(re.findall(r"\b(warning|critical)\b", text.splitlines()[2])) == severities[name], name
    index = (RUNBOOKS / "README.md").read_text()
    assert set(re.findall(r"\]\((\w+)\.md\)", index)) == set(pages)
