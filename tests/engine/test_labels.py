"""What people call a target or provider by: one rule for the gateway and the console."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from routes.engine import labels

if TYPE_CHECKING:
    from routes.engine.live import Observed
    from routes.engine.types import CircuitState


@pytest.mark.parametrize(
    ("observed", "circuit", "rate", "failures", "heard", "label"),
    [
        ("unknown", "closed", 1.0, 0, False, "unknown"),
        ("unknown", "closed", 1.0, 0, True, "healthy"),
        ("healthy", "closed", 1.0, 0, False, "healthy"),
        ("degraded", "closed", 1.0, 0, True, "degraded"),
        ("unhealthy", "closed", 1.0, 0, True, "unhealthy"),
        ("healthy", "open", 1.0, 0, False, "unhealthy"),
        ("healthy", "half_open", 1.0, 0, True, "degraded"),
        ("healthy", "closed", 0.94, 0, True, "degraded"),
        ("healthy", "closed", 0.95, 2, True, "healthy"),
        ("healthy", "closed", 1.0, 3, True, "degraded"),
        ("healthy", "closed", 0.1, 9, False, "healthy"),  # figures of long ago say nothing
    ],
)
def test_a_target_is_called_by_what_checks_its_circuit_and_recent_traffic_say(
    observed: Observed, circuit: CircuitState, rate: float, failures: int, heard: bool, label: Observed
) -> None:
    assert labels.of_target(observed, circuit, rate, failures, heard=heard) == label


@pytest.mark.parametrize(
    ("targets", "label"),
    [
        ([], "unknown"),
        (["unknown", "unknown"], "unknown"),
        (["unknown", "healthy"], "healthy"),
        (["healthy", "degraded"], "degraded"),
        (["healthy", "unhealthy"], "degraded"),
        (["unknown", "unhealthy"], "degraded"),
        (["unhealthy", "unhealthy"], "unhealthy"),
    ],
)
def test_a_provider_is_unhealthy_when_all_its_targets_are(targets: list[Observed], label: Observed) -> None:
    assert labels.of_provider(targets) == label


def test_usable_and_listed_are_two_thresholds() -> None:
    assert [labels.listed_healthy(failures) for failures in (0, 2, 3)] == [True, True, False]
    assert labels.usable(0.8, 4)
    assert not labels.usable(0.79, 0)
    assert not labels.usable(1.0, 5)
