"""What people decided is read in one query, on both databases, as the tables have it and as gateways are told it."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from django.db import connections
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from routes import actions, decided, overlay
from routes.actions import Actor
from routes.engine.live import Forced
from routes.engine.provider import target_id
from routes.models import TargetOverride
from tests.admin.conftest import ADA
from tests.control import samples
from tests.control.conftest import both_databases

if TYPE_CHECKING:
    from routes.models import Provider

__all__ = ["both_databases"]


def decide(until: object = None) -> tuple[Provider, Provider, str]:
    """Two providers in one profile, of which people set aside one, and hold the circuit of the other's target."""
    alpha, beta = (
        actions.create_provider(samples.provider(slug, credential={"value": samples.CREDENTIAL}), actor=ADA)
        for slug in ("alpha", "beta")
    )
    actions.create_profile(samples.profile("default", "alpha", "beta"), actor=ADA)
    actions.publish(actor=ADA)
    target = target_id(str(beta.pk), None)
    actions.set_admin_state(alpha, "draining", reason="new disks", actor=ADA)
    actions.set_admin_state(beta, "disabled", target=target, actor=ADA)
    actions.force_circuit(target, "open", reason="wrong answers", actor=ADA)
    actions.clear_quarantine(alpha, actor=ADA)
    return alpha, beta, target


@pytest.mark.django_db(databases=["default", "pg"])
@pytest.mark.usefixtures("both_databases")
def test_everything_decided_is_read_in_one_query() -> None:
    alpha, beta, target = decide()
    with CaptureQueriesContext(connections["default"]) as captured:
        found = decided.decisions()
    assert len(captured) == 1
    assert set(found) == {str(alpha.pk), str(beta.pk), target}
    assert found[str(alpha.pk)][1:5] == ("draining", None, "new disks", "ada")
    assert found[target][1:3] == ("disabled", None)
    assert found[target][5:9] == ("open", None, "wrong answers", "ada")


@pytest.mark.django_db
def test_a_live_state_of_the_console_is_told_what_gateways_are_told() -> None:
    alpha, beta, target = decide()
    actions.update_provider(beta, {"credential": None}, actor=ADA)
    found = decided.decisions()
    told = overlay.build("installation", 1)
    states = {key: (each["state"], each["until"]) for key, each in told["admin_states"].items()}
    assert decided.admin_states(found) == states == {str(alpha.pk): ("draining", None), target: ("disabled", None)}
    circuits = {key: (each["act"], each["until"], each["at"]) for key, each in told["circuits"].items()}
    assert decided.circuits(found) == circuits
    assert decided.generations(found) == told["generations"]
    assert told["generations"][str(beta.pk)] == 2, "a credential that is gone does not bring back what it lifted"


@pytest.mark.django_db
def test_what_was_last_done_to_a_circuit_is_told_for_good_to_hosts_that_were_away() -> None:
    _, _, target = decide()
    until = timezone.now() + timedelta(minutes=5)
    actions.force_circuit(target, "closed", until=until, actor=ADA)
    held = decided.circuits(decided.decisions())[target]
    assert (held.act, held.until) == ("closed", until.timestamp())
    assert actions.release_circuits(actor=Actor.system("reconcile"), now=until) == 1
    assert decided.circuits(decided.decisions())[target] == Forced("reset", None, held.at)
    actions.reset_circuit(target, actor=ADA)
    reset = decided.circuits(decided.decisions())[target]
    assert reset.act == "reset"
    assert reset.at > held.at


@pytest.mark.django_db
def test_an_act_is_later_than_the_one_before_it_although_the_clock_was_set_back() -> None:
    _, _, target = decide()
    TargetOverride.objects.filter(pk=target).update(circuit_acted_at=timezone.now() + timedelta(hours=1))
    before = decided.circuits(decided.decisions())[target].at
    actions.reset_circuit(target, actor=ADA)
    assert decided.circuits(decided.decisions())[target].at > before
