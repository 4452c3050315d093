"""The files that Prometheus, Grafana and people read, as the tests need them."""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from tests.monitoring.promql import filled

ROOT = Path(__file__).parents[2]
PROMETHEUS = ROOT / "prometheus"
RUNBOOKS = ROOT / "docs" / "runbooks"
MONITORING = ROOT / "docs" / "monitoring.md"
DASHBOARDS = sorted((ROOT / "grafana" / "dashboards").glob("*.json"))

_LABEL_VALUES = re.compile(r"label_values\((?P<of>.+), (?P<label>\w+)\)")


@cache
def rules() -> list[dict[str, Any]]:
    """Every rule of alerts.yml, in order."""
    document = yaml.safe_load((PROMETHEUS / "alerts.yml").read_text())
    return [rule for group in document["groups"] for rule in group["rules"]]


def dashboard(path: Path) -> dict[str, Any]:
    return dict(json.loads(path.read_text()))


def variables(board: dict[str, Any]) -> dict[str, str]:
    """What each variable becomes before anybody has chosen: of several values, all of them."""
    return {
        f"${each['name']}": each.get("allValue") or "signalbox"
        for each in board["templating"]["list"]
        if each["type"] == "query"
    }


@cache
def expressions(path: Path) -> dict[str, str]:
    """Every expression that Grafana will ask Prometheus, by where it stands: panels, variables, annotations."""
    board = dashboard(path)
    known = variables(board)
    found = {
        f"{panel['title']} {target['refId']}": filled(target["expr"], known)
        for panel in board["panels"]
        for target in panel.get("targets", [])
    }
    for each in board["templating"]["list"]:
        if each["type"] == "query":
            parts = _LABEL_VALUES.fullmatch(each["query"]["query"])
            assert parts, f"${each['name']} is no label_values(series, label): its label cannot be checked"
            found[f"${each['name']}"] = f"count by ({parts['label']}) ({filled(parts['of'], known)})"
    for each in board["annotations"]["list"]:
        if "expr" in each:
            found[f"annotation {each['name']}"] = filled(each["expr"], known)
    return found


@cache
def everything() -> dict[str, str]:
    """Every expression there is: of alerts and of all dashboards."""
    found = {f"alert {number} {rule['alert']}": rule["expr"] for number, rule in enumerate(rules())}
    for path in DASHBOARDS:
        found.update({f"{path.name}: {place}": expression for place, expression in expressions(path).items()})
    return found
