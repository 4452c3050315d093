"""What people change through the API while providers are out: a new credential acts at once, and nothing that is known
of providers is lost by publishing or by a restart of the whole installation."""

from __future__ import annotations

import json
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from tests.faults.circuits import Burst, Look, looking
from tests.gateways import wait_until
from tests.simulators import Simulator

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.gateways import Answer
    from tests.simulators import ProviderHandle
    from tests.stack import Stack

#: The whole installation is stopped and started again.
pytestmark = [pytest.mark.faults, pytest.mark.thorough]

OPENS = {"failure_threshold": 1, "recovery_timeout": 300, "slow_start": 0}
TRIED_SOON = {**OPENS, "recovery_timeout": 1, "recovery_timeout_max": 1, "half_open_max_calls": 2}
TURNS = ("one", "two", "three")


class Site:
    """A running installation, its providers, and what it knows of them."""

    def __init__(self, stack: Stack, simulator: Simulator) -> None:
        self.stack = stack
        self.providers = {
            name: simulator.add(name) for name in ("opened", "soon", "limited", "refused", "steady", *TURNS)
        }
        self.providers["refused"].behave(credential="sk-right")

    def __getitem__(self, name: str) -> ProviderHandle:
        return self.providers[name]

    def document(self) -> dict[str, Any]:
        more: dict[str, dict[str, Any]] = {
            "opened": {"circuit": OPENS},
            "soon": {"circuit": TRIED_SOON},
            "refused": {"credential": {"value": "sk-wrong"}},
        }
        providers = [
            {
                "slug": name,
                "name": name.title(),
                "wire": "openai",
                "base_url": handle.base_url,
                "network": "loopback",
                "probe": {"kind": "off"},  # what is counted are requests
                **more.get(name, {}),
            }
            for name, handle in self.providers.items()
        ]
        profiles = [
            profile("default", "opened", "limited", "refused", "steady"),
            profile("trials", "soon", "steady"),
            profile("turns", *TURNS, strategy="round_robin"),
        ]
        return {"version": 1, "providers": providers, "profiles": profiles}

    def ask(self, name: str = "default", **fields: Any) -> Answer:
        body = {"model": "gpt-4o", "messages": [{"role": "user", "content": "hello"}], **fields}
        return self.stack.request("POST", f"/p/{name}/v1/chat/completions", body)

    def answered_by(self, name: str = "default", **fields: Any) -> str:
        answer = self.ask(name, **fields)
        assert answer.status == 200, answer.body
        return answer.headers["x-route-provider"]

    def call(self, method: str, path: str, body: Any = None) -> Any:
        answer = self.stack.request(method, f"/api/v1/{path}", body)
        assert answer.status in (200, 201), answer.body
        return answer.json()

    def publish(self) -> int:
        """Until both gateways use it; its number."""
        number: int = self.call("POST", "revisions/", {})["number"]
        wait_until(lambda: self.stack.revision() == number, what=f"revision {number} is in use")
        return number

    @contextmanager
    def looking(self) -> Iterator[Look]:
        folder = self.stack.folder
        rows = self.stack.query("SELECT id, credential_generation FROM routes_provider")
        document = json.loads((folder / "revision.json").read_bytes())
        generations = {each["id"]: 0 for each in document["providers"]}
        generations |= {key: dict(rows).get(key.replace("-", ""), 0) for key in generations}
        with looking(folder, document, generations) as look:
            yield look


def profile(slug: str, *targets: str, strategy: str = "failover") -> dict[str, Any]:
    return {
        "slug": slug,
        "name": slug.title(),
        "strategy": strategy,
        "targets": [{"provider": target} for target in targets],
        "failover": {"same_target_retries": 0, "max_attempts": 5},
    }


@pytest.fixture(scope="module")
def site(stack: Stack) -> Iterator[Site]:
    """``opened`` is open for minutes, ``limited`` and ``refused`` are in quarantine, a session is pinned."""
    with Simulator(process=True) as simulator:
        made = Site(stack, simulator)
        stack.import_config(made.document())
        made["opened"].fail("status", status=500)
        made["limited"].fail("rate_limited", retry_after=250)
        assert [made.answered_by(), made.answered_by(user="ada")] == ["steady"] * 2
        assert [made[name].count() for name in ("opened", "limited", "refused")] == [1, 1, 2]
        yield made


def test_a_new_credential_lifts_its_quarantine_at_once_and_nothing_is_published(site: Site) -> None:
    before = site.stack.revision()
    with site.looking() as look:
        found = look.quarantine("refused")
        assert found is not None
        assert found.cause == "auth_failed"
    assert site.answered_by() == "steady"
    assert site["refused"].count() == 2

    site.call("PATCH", "providers/refused/", {"credential": {"value": "sk-right"}})

    wait_until(lambda: site.answered_by() == "refused", what="the new credential is in use")
    assert site["refused"].requests()[-1].header("authorization") == "Bearer sk-right"
    assert site.stack.revision() == before
    with site.looking() as look:  # nobody else's
        assert look.quarantine("limited") is not None
        assert look.circuit("opened").state == "open"


def test_changing_anything_else_and_publishing_keeps_circuits_quarantines_pins_and_counters(site: Site) -> None:
    with site.looking() as look:
        circuit, quarantine, pins = look.circuit("opened"), look.quarantine("limited"), look.pins()
    assert circuit.state == "open"
    assert quarantine is not None
    assert pins >= 1
    turn = TURNS.index(site.answered_by("turns")) + 1
    another = {"slug": "another", "name": "Another", "wire": "openai", "base_url": "https://another.example/v1"}
    changes: list[tuple[str, str, Any]] = [
        ("PATCH", "providers/opened/", {"name": "Renamed", "region": "eu-west", "weight": 3, "tags": ["new"]}),
        ("PATCH", "providers/opened/", {"circuit": {"window": 45, "failure_threshold": 7}}),
        ("PATCH", "providers/limited/", {"headers": {"x-team": "signals"}, "max_concurrency": 50}),
        ("PATCH", "providers/limited/", {"quarantine": {"rate_limit": 30}, "prices": {"gpt-4o": {"input": 1}}}),
        ("PATCH", "providers/refused/", {"credential": {"keep": True}}),
        ("PATCH", "providers/steady/", {"credential": {"value": "sk-steady"}}),
        ("PATCH", "profiles/default/", {"name": "Also renamed", "accounting": "always"}),
        ("PATCH", "profiles/turns/", {"affinity": {"ttl": 900}}),
        ("PATCH", "policy/", {"region_priority": ["eu-west"], "capacity_threshold": 70}),
        ("PATCH", "prices/", {"prices": {"gpt-4o": {"input": 2.5, "output": 10}}}),
        ("POST", "providers/", another),
        ("POST", "access-keys/", {"name": "another"}),
    ]

    for number, change in enumerate(changes):
        site.call(*change)
        if number % 3 == 2:
            site.publish()
            assert site.answered_by("turns") == TURNS[turn % 3]
            turn += 1

    with site.looking() as look:
        assert look.circuit("opened") == circuit
        assert look.quarantine("limited") == quarantine
        assert look.pins() >= pins
    answer = site.stack.request(
        "POST",
        "/v1/chat/completions",
        {"model": "gpt-4o", "messages": [], "user": "ada"},
        headers={"x-route-debug": "1"},
    )
    assert (answer.headers["x-route-provider"], answer.headers["x-route-source"]) == ("steady", "affinity")
    assert (site["opened"].count(), site["limited"].count()) == (1, 1)


def test_a_restart_of_the_installation_finds_circuits_open_and_tries_them_with_care(site: Site) -> None:
    site["soon"].fail("status", status=500, times=1)
    assert site.answered_by("trials") == "steady"
    with site.looking() as look:
        circuit, quarantine = look.circuit("opened"), look.quarantine("limited")
    asked = site["opened"].count()

    assert site.stack.stop() == 0
    site.stack.start()

    with site.looking() as look:
        assert look.circuit("opened") == circuit
        assert look.quarantine("limited") == quarantine
        assert circuit.until > time.monotonic()
        look.wait_for("soon", "half_open")
    burst = Burst(lambda _: site.ask("trials"), site["soon"], 50)
    assert burst.settled(2) == 2
    assert burst.end() == {200: 50}
    assert site.answered_by(user="ada") == "steady"
    assert (site["opened"].count(), site["limited"].count()) == (asked, 1)
