"""Recorded requests explained again, over REST and from a terminal; and what the command prints and ends with."""

from __future__ import annotations

import io
import json
import sys
from random import Random
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest
from django.core.management import call_command

from history.models import RouteHistory
from history.render import detail
from routes import actions, snapshots
from routes.engine.explain import pack_decision
from routes.engine.facts import Facts, KeyFacts
from routes.engine.local_live import LocalLiveState
from routes.engine.pipeline import decide
from routes.engine.types import Outcome, RouteRequest
from routes.models import Profile
from tests.control.api import Api
from tests.control.conftest import actor
from tests.control.samples import profile, provider
from tests.control.test_explain import LONG, chat, configuration, explained, names, rule
from tests.history import samples
from tests.history.rows import store

if TYPE_CHECKING:
    from pathlib import Path

    from routes.engine.types import Decision

pytestmark = pytest.mark.django_db

PLEASE = rule("please", {"fact": "user_text", "op": "contains", "value": "please"}, "beta", strategy="failover")


@pytest.fixture
def published(db: None) -> None:
    document = configuration()
    document["profiles"][0]["rules"].append(PLEASE)
    actions.import_configuration(document, actor=actor("admin"), publish_now=True)


class Gateway:
    """Decides and records as a gateway does, in this process."""

    def __init__(self, seed: int = 1) -> None:
        found = snapshots.live_snapshot()
        assert found is not None
        self.snapshot = found
        self.live = LocalLiveState(Random(seed))
        self.rng = Random(seed)
        self.now = 1000.0

    def decide(self, slug: str = "default", text: str = "Hello", session: str | None = None) -> tuple[UUID, Decision]:
        route = UUID(bytes=samples.route())
        profile = self.snapshot.profiles[slug]
        body = json.dumps(chat(text)["body"]).encode()
        known = Facts(
            operation="chat",
            model="gpt-4o",
            route_id=str(route),
            wall=1_800_000_000.0,
            body=body,
            session=session,
            key=KeyFacts("app"),
            scenario=profile.scenario,
        )
        request = RouteRequest(str(route), "chat", "gpt-4o", session=session, facts=known)
        decision = decide(self.snapshot, profile, request, self.live, self.now, self.rng)
        place = decision.place(0)
        record = samples.finished(
            route.bytes,
            profile=slug,
            session_key=session,
            revision=self.snapshot.number,
            strategy=decision.strategy,
            source=decision.source,
            rule=decision.matched_rule,
            provider=place.target.provider.slug if place else "",
            decision=pack_decision(decision),
        )
        store(record)
        return route, decision

    def send(self, decision: Decision, failing: bool = False) -> None:
        place = decision.place(0)
        assert place is not None
        claim = self.live.claim(place.target, self.now)
        if claim is not None:
            outcome = Outcome("failure" if failing else "success", None, 0.1, None, 10, False)
            self.live.settle(claim, place.target, outcome, self.now)
            self.live.release(claim, self.now, 10)


def again(route: UUID, **fields: Any) -> dict[str, Any]:
    return explained(request=None, id=str(route), **fields)


def test_twenty_recorded_requests_are_reproduced_and_every_other_target_is_accounted_for() -> None:
    """Mixed strategies, rules and failures, through the database and back."""
    strategies = ("weighted", "round-robin", "least-latency", "peak-ewma", "failover")
    profiles = [profile(name, "alpha", ("beta", 3), ("gamma", 2), strategy=name, rules=[PLEASE]) for name in strategies]
    document = {
        "version": 1,
        "providers": [provider(slug) for slug in ("alpha", "beta", "gamma")],
        "profiles": profiles,
    }
    actions.import_configuration(document, actor=actor("admin"), publish_now=True)
    gateway = Gateway()
    random = Random(5)
    for name in strategies:
        for number in range(4):
            route, decision = gateway.decide(name, "say please" if number == 3 else "Hello")
            told = again(route)
            assert told["recorded"]["same"], (name, told)
            assert told["provider"] == decision.ranked[0].target.provider.slug
            assert (told["undecidable"], told["matched_rule"]) == (0, decision.matched_rule)
            story = " ".join(told["sentences"])
            assert all(slug in story for slug in ("alpha", "beta", "gamma"))
            assert "please" not in json.dumps(RouteHistory.objects.get(id=route).routing_decision)
            for _ in range(4):
                gateway.send(decision, failing=random.random() < 0.6)


def test_a_recorded_request_is_explained_by_its_own_revision_unless_another_is_named(published: None) -> None:
    route, decision = Gateway().decide()
    other = "beta" if decision.ranked[0].target.provider.slug == "alpha" else "alpha"
    actions.update_profile(
        Profile.objects.get(slug="default"), {"targets": [{"provider": other}]}, actor=actor("admin")
    )
    actions.publish(actor=actor("admin"))
    told = again(route)
    assert (told["revision"], told["recorded"]["same"]) == (1, True)
    assert told["sentences"][0] == "Decided by revision 1, which decided it."
    for revision, number in (("live", 2), (2, 2), ("draft", "draft")):
        told = again(route, revision=revision)
        assert (told["revision"], told["provider"], told["recorded"]["same"]) == (number, other, False)
        assert told["recorded"]["provider"] == decision.ranked[0].target.provider.slug


def test_providers_time_profile_and_draws_may_be_imagined_for_a_recorded_request(published: None) -> None:
    route, decision = Gateway().decide()
    first, second = (entry.target.provider.slug for entry in decision.full_ranking())
    assert names(again(route, overrides={"providers": {first: "down"}})) == [second]
    assert again(route, profile="spare")["provider"] == "beta"
    assert len([share for share in again(route, draws=50)["shares"].values() if share]) == 2
    assert again(route, overrides={"at": "2026-11-20T22:30:00Z"})["status"] == "decided"


def test_what_the_record_does_not_tell_is_counted(published: None) -> None:
    route, _ = Gateway().decide()
    changed = [rule("thanks", {"fact": "user_text", "op": "contains", "value": "thanks"}, "gamma")]
    actions.update_profile(Profile.objects.get(slug="default"), {"rules": changed}, actor=actor("admin"))
    told = again(route, revision="draft")
    assert (told["undecidable"], told["rules"][0]["matched"]) == (1, None)
    assert told["sentences"][1].startswith("Whether rule “thanks” matched cannot be told: ")


def test_what_the_row_knows_decides_rules_where_no_facts_were_recorded(published: None) -> None:
    """Requests of a profile without rules carry no facts; its first rule can be tried on them all the same."""
    gateway = Gateway()
    route, decision = gateway.decide("spare")
    packed = {name: value for name, value in pack_decision(decision).items() if name != "f"}
    RouteHistory.objects.filter(id=route).update(routing_decision=packed)
    rules = [
        rule("long", LONG, "gamma"),
        rule("app", {"all": [{"fact": "key.name", "op": "eq", "value": "app"}]}, "alpha"),
    ]
    actions.update_profile(Profile.objects.get(slug="spare"), {"rules": rules[1:]}, actor=actor("admin"))
    told = again(route, revision="draft")
    assert (told["matched_rule"], told["provider"], told["undecidable"]) == ("app", "alpha", 0)
    assert "tokens" not in told["facts"]
    actions.update_profile(Profile.objects.get(slug="spare"), {"rules": rules}, actor=actor("admin"))
    assert again(route, revision="draft")["undecidable"] == 1


def test_recorded_requests_that_cannot_be_explained_say_why(published: None) -> None:
    api = Api("read")
    route, _ = Gateway().decide()
    (refused,) = store(samples.finished(decision=None, revision=1))
    (gone,) = store(samples.finished(decision={"v": 2}, revision=99))
    (odd,) = store(samples.finished(decision={"v": 2, "p": 0}, revision=1))
    cases: list[tuple[dict[str, Any], int, str]] = [
        ({"id": "01890a5d-ac96-774b-bcce-b302099a8057"}, 404, "id"),
        ({"id": str(refused)}, 400, "id"),
        ({"id": str(gone)}, 404, "id"),
        ({"id": str(odd)}, 400, "id"),
        ({"id": str(route), "profile": "nowhere"}, 400, "profile"),
        ({"id": str(route), "revision": 99}, 400, "revision"),
        ({"id": str(route), "overrides": {"providers": {"x": "down"}}}, 400, "overrides.providers.x"),
    ]
    for sent, status, field in cases:
        answer = api.post("explain/", sent)
        assert (answer.status, list(answer.error["fields"])) == (status, [field]), (sent, answer.body)


def test_the_history_tells_rules_facts_and_what_is_undecidable(published: None) -> None:
    route, _ = Gateway().decide(text="say please")
    told = detail(RouteHistory.objects.get(id=route))
    decision = told["routing_decision"]
    assert [(r["name"], r["matched"]) for r in decision["rules"]] == [("long", False), ("please", True)]
    assert (decision["facts"]["key.name"], decision["undecidable"], decision["pin"], decision["variant"]) == (
        *("app", 0, None),
        None,
    )
    assert "Rule “please” matched: the user's text contains please (as recorded)." in told["explanation"]


# -- the command -----------------------------------------------------------------------------------------
def run(*arguments: str) -> tuple[int, str, str]:
    """(exit status, stdout, stderr)."""
    out, err = io.StringIO(), io.StringIO()
    try:
        call_command("explain_route", *arguments, stdout=out, stderr=err)
    except SystemExit as stop:
        return int(stop.code or 0), out.getvalue(), err.getvalue()
    return 0, out.getvalue(), err.getvalue()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "request.json"
    path.write_text(json.dumps(chat()))
    return path


def test_the_command_prints_the_story_the_ranking_who_was_left_out_and_the_rules(published: None, file: Path) -> None:
    status, out, err = run("--file", str(file), "--draws", "100")
    assert (status, err) == (0, "")
    lines = out.splitlines()
    assert lines[0] == "Decided by revision 1, which is live."
    assert any(
        line.split() == ["1", "alpha", "/", "gpt-4o", "70.0", "%", "weighted", "70.0", "%"] for line in lines
    ) or any(line.split()[:4] == ["1", "beta", "/", "gpt-4o"] for line in lines)
    assert any(line.startswith("tools") and "admission" in line for line in lines)
    assert any(line.startswith("long") and "does not hold: tokens ≥ 1 000 (it is 1)" in line for line in lines)


def test_the_command_takes_a_body_a_request_or_a_whole_document(
    published: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    documents = [chat()["body"], chat(), {"request": chat(), "overrides": {"providers": {"alpha": "down"}}}]
    for document in documents:
        (tmp_path / "x.json").write_text(json.dumps(document))
        status, out, _ = run("--file", str(tmp_path / "x.json"), "--json", "--revision", "draft")
        told = json.loads(out)
        assert (status, told["revision"], told["profile"]) == (0, "draft", "default")
        assert (told["provider"] == "beta") >= ("overrides" in document)
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(json.dumps(document).encode())))
        assert run("-", "--profile", "spare")[0] == 0


def test_the_command_explains_a_recorded_request_and_says_whether_it_would_go_there_again(published: None) -> None:
    route, decision = Gateway().decide(text="say please")
    status, out, _ = run("--id", str(route))
    assert status == 0
    assert "Recorded: beta / gpt-4o; the same choice." in out
    status, out, _ = run("--id", str(route), "--profile", "spare", "--revision", "live")
    assert "the same choice" in out
    assert decision.matched_rule == "please"


def test_the_command_ends_with_2_when_nothing_is_left_and_1_when_the_question_is_wrong(
    published: None, tmp_path: Path
) -> None:
    path = tmp_path / "x.json"
    path.write_text(json.dumps({"path": "/p/spare/v1/messages/count_tokens", "body": {"model": "m", "messages": []}}))
    status, out, _ = run("--file", str(path))
    assert (status, "None of the" in out) == (2, True)
    for content, expected in (
        ('{"path": "/nowhere", "body": {"model": "m"}}', "request.path: "),
        ("[1]", "the file must hold a JSON object"),
        ("{", "the file is not valid JSON: "),
    ):
        path.write_text(content)
        status, out, err = run("--file", str(path))
        assert (status, out) == (1, "")
        assert err.startswith(expected)
    assert run("--file", str(tmp_path / "missing"))[0] == 1
    assert run("--id", "01890a5d-ac96-774b-bcce-b302099a8057")[0] == 1


def test_the_command_runs_the_last_requests_again_and_counts_which_would_go_the_same_way(published: None) -> None:
    gateway = Gateway()
    for number in range(20):
        gateway.send(gateway.decide(text="say please" if number % 3 else "Hello")[1])
    status, out, err = run("--last", "20")
    assert (status, err) == (0, "")
    assert out.splitlines()[-1] == "20 of 20 would be tried at the same target first."
    assert out.count("chose ") == out.count("(the same)") == 20
    assert all(
        line.startswith("    not ") for line in out.splitlines() if " chose " not in line[:60] and "20 of" not in line
    )
    assert out.count("    not tools: admission, serves service requests (/svc) only") == 20
    document = configuration(profiles=[profile("default", "gamma"), profile("spare", "beta")])
    actions.import_configuration(document, actor=actor("admin"), publish_now=True)
    status, out, _ = run("--last", "20", "--revision", "live")
    assert (status, "20 of 20" in out) == (2, False)
    assert run("--last", "0")[0] == 1
