"""The section "Probes" of docs/health.md is true."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, get_args

import pytest

from health import upkeep
from health.probes import claims, labels, plan, questions, runner, states
from routes import actions
from routes.document.provider import ProbeKind
from routes.document.text import load
from routes.models import Provider
from routing_project.env import get_env

if TYPE_CHECKING:
    from routes.actions import Actor

SECTION = (Path(__file__).parents[3] / "docs" / "health.md").read_text().split("\n## Probes\n")[1].split("\n## ")[0]


@pytest.mark.django_db
def test_the_document_of_the_section_can_be_imported(admin: Actor) -> None:
    tree = load(SECTION.split("```yaml\n")[1].split("```")[0].encode())
    actions.import_configuration(tree, actor=admin, publish_now=True)
    assert dict(Provider.objects.values_list("slug", "probe__kind")) == {"acme-eu": "models", "speech": "http"}


def test_every_kind_and_every_reason_is_named() -> None:
    rows = {line.split("|")[1].strip().strip("`") for line in SECTION.splitlines() if line.startswith("|")}
    assert set(get_args(ProbeKind)) <= rows
    for reason in (*get_args(states.Reason), "stale", "not_probed", "credential_changed"):
        assert f"`{reason}`" in SECTION


def test_its_figures_are_those_of_the_code() -> None:
    words = " ".join(SECTION.split())
    given, answered = questions.TOKENS
    assert f"{given} tokens of input and {answered} of output" in words
    assert f"Up to {runner.AT_ONCE} probes" in words
    assert f"within {claims.FIRST_SECONDS:.0f} seconds" in words
    assert f"kept for {upkeep.RESULT_HOURS} hours, sums by the hour for {upkeep.HOUR_DAYS} days" in words
    assert f"`SIGNALBOX_HISTORY_DAYS`, {get_env().history_days:.0f} days by default" in words
    assert f"less than {labels.SUCCESS_RATE:.0%}".replace("%", " %") in words
    assert (labels.SLOWER, labels.BASELINE_HOURS, labels.BASELINE_SAMPLES, plan.RESULTS_LAST) == (2, 24, 100, 3)
    assert sorted(questions.NO_SUCH_LIST) == [404, 405, 501]
