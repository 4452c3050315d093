"""``docs/strategies.md`` says what the registry says, and every example in it can be saved."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

import routes.engine
from routes.engine import strategies
from tests.documents import profile, provider, snapshot, target
from tests.engine.test_strategies_load import ROTATING

TEXT = (Path(routes.engine.__file__).parents[2] / "docs" / "strategies.md").read_text()
#: name -> (signs behind it, text)
SECTIONS = {
    name: (signs, text) for name, signs, text in re.findall(r"(?ms)^## ([a-z_]+)([^\n]*)\n(.*?)(?=^## |\Z)", TEXT)
}
EXAMPLES = [yaml.safe_load(block) for block in re.findall(r"(?ms)^```yaml\n(.*?)^```", TEXT)]


def test_every_strategy_has_its_section() -> None:
    assert set(SECTIONS) == set(strategies.NAMES)


@pytest.mark.parametrize("name", strategies.NAMES)
def test_a_section_agrees_with_its_strategy(name: str) -> None:
    strategy, (signs, text) = strategies.get(name), SECTIONS[name]
    assert ("⚖" in signs) == strategy.by_weight
    assert ("↻" in signs) == (name in (*ROTATING, "capacity"))
    assert re.findall(r"^Family (\w+)\.", text) == ([strategy.family] if strategy.family else [])
    # In the admin's words, perhaps with more behind them.
    assert strategy.description.rstrip(".") in " ".join(text.split())


@pytest.mark.parametrize("name", strategies.NAMES)
def test_a_table_of_params_has_them_all_with_their_defaults(name: str) -> None:
    rows = re.findall(r"(?m)^\| `(\w+)` \| (\S+) \| (.+) \|$", SECTIONS[name][1])
    fields = strategies.get(name).params_model.model_fields
    defaults: dict[str, Any] = {key: yaml.safe_load(default) for key, default, _ in rows}
    assert defaults == {key: [] if info.default == () else info.default for key, info in fields.items()}
    assert bool(rows) != ("No params" in " ".join(SECTIONS[name][1].split()))


@pytest.mark.parametrize("name", strategies.NAMES)
def test_every_strategy_has_an_example(name: str) -> None:
    assert name in [example["strategy"] for example in EXAMPLES if "strategy" in example]


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.get("strategy", "profile"))
def test_every_example_can_be_published(example: dict[str, Any]) -> None:
    (written,) = example.get("profiles", [example])
    assert set(written) <= {"slug", "name", "strategy", "params", "targets"}
    places = [
        target(place["provider"], **{k: v for k, v in place.items() if k != "provider"})
        for place in written.get("targets", [{"provider": "acme-eu"}])
    ]
    providers = [provider(slug) for slug in ("acme-eu", "acme-us", "spare")]
    entry = profile(targets=places, strategy=written["strategy"], params=written.get("params", {}))
    snapshot(providers, [entry])
