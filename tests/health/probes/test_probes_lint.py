"""What is told beside a configuration whose probes cost money or ask for what is not there."""

from __future__ import annotations

from typing import Any

from routes import lint
from routes.document import Configuration
from tests.health.probes.installation import entry


def found(*models: str | None, probe: dict[str, Any], **given: Any) -> list[tuple[str, str]]:
    targets = [{"provider": "acme", "model": model} for model in models]
    tree = {
        "version": 1,
        "providers": [entry(probe=probe, **given)],
        "profiles": [{"slug": "default", "name": "Default", "targets": targets}],
    }
    return [(each.code, each.message) for each in lint.findings(Configuration.parse(tree))]


def test_completions_without_a_limit_are_told_with_their_number() -> None:
    completion = {"kind": "completion", "interval": 60}
    ((code, message),) = found("a", "b", probe=completion)
    assert code == "probe_without_cap"
    assert "up to 2880 completions a day" in message
    ((code, message),) = found(None, probe=completion, models={"a": "a", "b*": "*"})
    assert "up to 1440 completions a day" in message
    assert found("a", probe={**completion, "daily_requests": 100}) == []
    assert found("a", probe={**completion, "daily_usd": 0.5}) == []
    assert found("a", probe={"kind": "models"}) == []


def test_completions_of_nothing_are_told() -> None:
    completion = {"kind": "completion"}
    assert [code for code, _ in found(None, probe=completion)] == ["probe_impossible"]
    assert [code for code, _ in found(None, probe=completion, models={"*": "*"})] == ["probe_impossible"]
    assert [code for code, _ in found(None, probe=completion, wire="generic")] == ["probe_impossible"]
