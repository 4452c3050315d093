"""Explaining over REST: a request as the gateway would decide it now, or a recorded one again; nothing is changed."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import pytest
from jsonschema import Draft202012Validator

from routes import actions, live, snapshots
from routes.actions.errors import Invalid
from routes.document import DocumentError
from routes.engine.types import Outcome
from routes.explain import explain, parse
from routes.models import AccessKey, Profile, Provider
from tests.control.api import Api
from tests.control.conftest import actor
from tests.control.samples import access_key, profile, provider

if TYPE_CHECKING:
    from routing_project.env import Env

pytestmark = pytest.mark.django_db

LONG = {"fact": "tokens", "op": "gte", "value": 1_000}


def rule(name: str, when: dict[str, Any], *targets: str, **fields: Any) -> dict[str, Any]:
    return {"name": name, "when": when, "targets": [{"provider": slug} for slug in targets], **fields}


LONG_RULE = rule("long", LONG, "gamma")


def configuration(**fields: Any) -> dict[str, Any]:
    return {
        "version": 1,
        "providers": [
            provider("alpha", region="eu-west"),
            provider("beta"),
            provider("gamma"),
            provider("tools", wire="generic"),
            provider("claude", wire="anthropic"),
        ],
        "profiles": [
            profile("default", ("alpha", 70), ("beta", 30), "tools", strategy="weighted", rules=[LONG_RULE]),
            profile("talks", "claude"),
            profile("spare", "beta"),
        ],
        "access_keys": [access_key("app", tags=["internal"], region="eu-west")],
        **fields,
    }


@pytest.fixture
def published(db: None) -> None:
    actions.import_configuration(configuration(), actor=actor("admin"), publish_now=True)


def chat(text: str = "Hello", model: str = "gpt-4o", **fields: Any) -> dict[str, Any]:
    return {
        "path": "/v1/chat/completions",
        "body": {"model": model, "messages": [{"role": "user", "content": text}]},
        **fields,
    }


def explained(**fields: Any) -> dict[str, Any]:
    """What the API answers, without its way there."""
    told: dict[str, Any] = json.loads(json.dumps(explain(parse({"request": chat(), **fields}))))
    return told


def names(told: dict[str, Any], field: str = "ranking") -> list[str]:
    return [line["provider"] for line in told[field]]


def shares(told: dict[str, Any]) -> dict[str, float]:
    provider_of = {line["target"]: line["provider"] for line in (*told["ranking"], *told["excluded"])}
    return {provider_of[target]: share for target, share in told["shares"].items()}


# -- what is answered ------------------------------------------------------------------------------------
def test_a_request_is_told_with_ranking_trace_rules_shares_and_sentences(published: None) -> None:
    told = explained(draws=1000)
    assert (told["status"], told["revision"], told["profile"], told["strategy_used"]) == (
        *("decided", 1, "default"),
        "weighted",
    )
    assert sorted(names(told)) == ["alpha", "beta"]
    assert {line["provider"]: line["code"] for line in told["excluded"]} == {
        "tools": "wire_unsupported",
        "gamma": "rule_only",
    }
    assert [stage["stage"] for stage in told["trace"]] == told["evaluated_stages"]
    assert [(s["in"], s["out"], len(s["dropped"])) for s in told["trace"]] == [
        *((4, 3, 1), (3, 3, 0), (3, 2, 1)),
        *((2, 2, 0), (2, 2, 0)),
    ]
    (first,) = told["rules"]
    assert (first["name"], first["matched"], first["clauses"][0]["expected"]) == ("long", False, 1000)
    assert shares(told) == {"alpha": 0.7, "beta": 0.3, "tools": 0.0, "gamma": 0.0}
    assert told["undecidable"] == 0
    assert told["sentences"][:2] == [
        "Decided by revision 1, which is live.",
        "Rule “long” did not match: tokens ≥ 1 000 (it is 1).",
    ]


def test_a_rule_that_matches_decides_and_says_why(published: None) -> None:
    told = explained(request=chat("word " * 1000))
    assert (told["source"], told["matched_rule"], names(told)[0]) == ("smart_routing", "long", "gamma")
    assert "Rule “long” matched: tokens ≥ 1 000 (it is 1 250)." in told["sentences"]


def test_rules_behind_the_first_match_are_asked_too() -> None:
    rules = [rule("one", {"all": []}, "beta"), rule("two", LONG, "gamma"), rule("three", {"all": []}, "gamma")]
    profiles = [profile("default", "alpha", rules=rules)]
    actions.import_configuration(
        {**configuration(), "profiles": profiles, "access_keys": []}, actor=actor("admin"), publish_now=True
    )
    told = explained()
    assert [(r["name"], r["matched"], r["chosen"]) for r in told["rules"]] == [
        ("one", True, True),
        ("two", False, False),
        ("three", True, False),
    ]


ADDRESSES: list[tuple[str, dict[str, Any], str]] = [
    ("/p/talks/v1/messages", {"model": "claude-9", "messages": []}, "claude"),
    ("/p/talks/v1/messages/count_tokens", {"model": "claude-9", "messages": []}, "claude"),
    ("/p/talks/v1/chat/completions", {"model": "claude-9", "messages": []}, "claude"),
    ("/p/spare/v1/messages", {"model": "m", "messages": []}, "beta"),
    ("/p/spare/v1/embeddings", {"model": "m", "input": "x"}, "beta"),
    ("/p/spare/v1/completions?x=1", {"model": "m", "prompt": "x"}, "beta"),
    ("/p/spare/v1/responses", {"model": "m", "input": "x"}, "beta"),
    ("/p/spare/s/one%20two/v1/chat/completions", {"model": "m", "messages": []}, "beta"),
    ("/p/spare/v1/images/generations", {"prompt": "x"}, "beta"),
    ("/p/spare/v1/images/edits", {"prompt": "x", "image": "data:,x"}, "beta"),
    ("/p/spare/v1/audio/speech", {"model": "m", "input": "x"}, "beta"),
    ("/p/spare/v1/audio/transcriptions", {"model": "m", "file": "x"}, "beta"),
    ("/p/spare/v1/moderations", {"input": "x"}, "beta"),
    ("/p/spare/v1/rerank", {"model": "m", "query": "x", "documents": []}, "beta"),
    ("/svc/default/any/thing%2F?x=1", {"anything": 1}, "tools"),
]


def test_every_address_of_the_data_plane_in_both_formats_is_understood(published: None) -> None:
    for path, body, expected in ADDRESSES:
        told = explained(request={"path": path, "body": body})
        assert told["provider"] == expected, path
        assert told["request"]["session"] == ("one two" if "/s/" in path else None)
        assert explained(request={"path": path, "body": json.dumps(body)})["provider"] == expected


def test_requests_that_need_no_body_are_explained_without_one(published: None) -> None:
    assert explained(request={"path": "/svc/default"})["provider"] == "tools"
    told = explained(request={"path": "/p/spare/s/one/v1/realtime?model=m"})
    assert (told["provider"], told["request"]["session"], told["request"]["model"]) == ("beta", "one", "m")
    assert explained(request={"path": "/svc/spare/x"})["status"] == "rejected"


def test_an_upload_is_read_as_the_gateway_reads_it(published: None) -> None:
    body = '--B\r\nContent-Disposition: form-data; name="model"\r\n\r\nm-1\r\n--B--\r\n'
    headers = {"Content-Type": "multipart/form-data; boundary=B"}
    request = {"path": "/p/spare/v1/audio/transcriptions", "headers": headers, "body": body}
    told = explained(request=request)
    assert (told["provider"], told["request"]["model"]) == ("beta", "m-1")
    with pytest.raises(Invalid, match=r"request\.body: .* not a valid form"):
        explained(request={**request, "body": body[:-6]})


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/v1/realtime", r"request\.path: .*this field is required"),
        ("/v1/realtime?model=a&model=b", r"request\.path: .*is given twice"),
        ("/svc/default/../x", r"request\.path: .*no address"),
        ("/svc/nobody/x", r"request\.path: .*no profile"),
        ("/v1/audio/speech", r"request\.body: .*required"),
    ],
)
def test_what_is_wrong_with_an_address_is_said_of_the_address(published: None, path: str, words: str) -> None:
    with pytest.raises(Invalid, match=words):
        explained(request={"path": path})


def test_the_profile_is_the_paths_the_one_asked_for_the_keys_or_default(published: None) -> None:
    actions.create_access_key({"name": "mobile", "profile": "spare"}, actor=actor("admin"))
    assert explained()["profile"] == "default"
    assert explained(key="mobile")["profile"] == "spare"
    assert explained(key="mobile", profile="default")["profile"] == "default"
    assert explained(request=chat(path="/p/spare/v1/chat/completions"))["profile"] == "spare"


def test_what_rules_know_of_the_access_key_is_the_keys(published: None) -> None:
    rules = [rule("internal", {"fact": "key.tag", "op": "eq", "value": "internal"}, "gamma")]
    actions.update_profile(_profile(), {"rules": rules}, actor=actor("admin"))
    assert explained(revision="draft")["matched_rule"] is None
    told = explained(revision="draft", key="app")
    assert (told["matched_rule"], told["facts"]["region"], told["revision"]) == ("internal", "eu-west", "draft")


def test_headers_count_as_they_do_at_the_gateway(published: None) -> None:
    headers = {"X-Route-Provider": "!alpha", "x-route-strategy": "failover", "X-Route-Session": "s1"}
    told = explained(request=chat(headers=headers))
    assert (told["provider"], told["strategy"], told["request"]["session"]) == ("beta", "failover", "s1")
    assert explained(request=chat(headers={"x-route-region": "us-east"}))["facts"]["region"] == "us-east"
    assert (
        explained(request=chat(headers={"x-forwarded-for": "10.1.2.3, 10.0.0.1"}))["facts"]["client_ip"] == "10.1.2.3"
    )


# -- which configuration ---------------------------------------------------------------------------------
def test_live_draft_and_any_revision_answer_each_for_itself(published: None) -> None:
    admin = actor("admin")
    actions.update_profile(_profile(), {"strategy": "failover", "rules": []}, actor=admin)
    actions.publish(actor=admin)
    actions.update_profile(_profile(), {"targets": [{"provider": "beta"}]}, actor=admin)
    for revision, number, strategy, count in ((None, 2, "failover", 2), ("live", 2, "failover", 2)):
        told = explained(**({} if revision is None else {"revision": revision}))
        assert (told["revision"], told["strategy"], len(told["ranking"])) == (number, strategy, count)
    assert explained(revision=1)["strategy"] == "weighted"
    assert explained(revision="1")["strategy"] == "weighted"
    told = explained(revision="draft")
    assert (told["revision"], names(told)) == ("draft", ["beta"])


def test_a_draft_that_cannot_be_published_is_refused_with_its_errors(
    published: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken() -> None:
        raise DocumentError([("profiles[0].targets", "at least one")])

    monkeypatch.setattr(snapshots, "draft_snapshot", broken)
    answer = Api("read").post("explain/", {"request": chat(), "revision": "draft"})
    assert (answer.status, answer.error["fields"]) == (
        400,
        {"revision: draft: profiles[0].targets": ["at least one"]},
    )


# -- what is imagined ------------------------------------------------------------------------------------
def test_providers_may_be_imagined_down_or_limited_or_slow(published: None) -> None:
    told = explained(overrides={"providers": {"alpha": "down"}}, draws=50)
    assert (shares(told)["beta"], told["excluded"][-1]["code"]) == (1.0, "rule_only")
    assert "alpha was left out for its health: its circuit is open for another 1 min." in told["sentences"]
    assert "As if alpha were down." in told["sentences"]
    told = explained(overrides={"providers": {"alpha": 429}})
    assert {line["code"] for line in told["excluded"]} >= {"quarantined_rate_limited"}
    told = explained(overrides={"providers": {"alpha": "429", "beta": "429"}}, request=chat())
    assert (told["status"], told["degraded"]) == ("decided", True)
    told = explained(overrides={"providers": {"alpha": "slow"}})
    assert (told["status"], told["sentences"][1]) == ("decided", "As if alpha were ten times as slow.")


def test_nothing_left_is_an_answer_with_the_code_the_client_would_get(published: None) -> None:
    told = explained(request={"path": "/p/spare/v1/messages/count_tokens", "body": {"model": "m", "messages": []}})
    assert (told["status"], told["error_code"], told["provider"], told["ranking"]) == (
        *("rejected", "model_not_found", ""),
        [],
    )
    failover = {"when_all_unhealthy": "reject"}
    actions.update_profile(_profile("spare"), {"failover": failover}, actor=actor("admin"))
    path = "/p/spare/v1/chat/completions"
    for trouble, code in (("down", "no_target_available"), ("429", "rate_limited")):
        told = explained(request=chat(path=path), revision="draft", overrides={"providers": {"beta": trouble}})
        assert (told["status"], told["error_code"]) == ("rejected", code)


def test_the_time_of_day_may_be_imagined(published: None) -> None:
    night = {"fact": "time", "op": "within", "value": {"start": "22:00", "end": "06:00", "timezone": "Europe/Berlin"}}
    actions.update_profile(_profile(), {"rules": [rule("night", night, "gamma")]}, actor=actor("admin"))
    asked = {"revision": "draft"}
    assert explained(**asked, overrides={"at": "2026-11-20T22:30:00Z"})["matched_rule"] == "night"
    assert explained(**asked, overrides={"at": "2026-11-20T22:30:00+05:00"})["matched_rule"] is None


def test_draws_are_what_so_many_requests_would_do(published: None) -> None:
    actions.update_profile(_profile(), {"strategy": "round-robin", "rules": []}, actor=actor("admin"))
    assert shares(explained(revision="draft", draws=10))["alpha"] == 0.5
    session = chat(headers={"x-route-session": "s"})
    actions.update_profile(_profile(), {"strategy": "consistent-hash"}, actor=actor("admin"))
    assert max(shares(explained(request=session, revision="draft", draws=10)).values()) == 1.0


# -- nothing changes -------------------------------------------------------------------------------------
def test_the_live_state_is_the_same_before_and_after_byte_for_byte(
    published: None, env: Env, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Counters, half-open slots, pins, quarantines and samples of the file that all processes of the host share."""
    state = live.open_host_state(env.live_path, "tests")
    monkeypatch.setattr(live, "current", lambda: state)
    snapshot = snapshots.live_snapshot()
    assert snapshot is not None
    alpha, beta = (
        target for target in snapshot.profiles["default"].targets if target.provider.slug in ("alpha", "beta")
    )
    now = time.monotonic()
    state.rotate(snapshot.profiles["default"].id)
    state.set_pin(b"0" * 16, alpha.id, now, 600, profile_id=snapshot.profiles["default"].id, session="s")
    for _ in range(5):
        claim = state.claim(beta, now)
        assert claim is not None
        state.settle(claim, beta, Outcome("failure", "connect_refused", 0.1), now)
        state.release(claim, now)
    before = env.live_path.read_bytes()
    for fields in (
        {"draws": 200},
        {"overrides": {"providers": {"alpha": "down"}}, "draws": 20},
        {"request": chat(headers={"x-route-session": "s", "x-route-strategy": "round_robin"}), "draws": 50},
        {"revision": "draft", "draws": 20},
    ):
        told = explained(**fields)
        assert told["status"] == "decided"
    assert env.live_path.read_bytes() == before
    assert [(pin.target_id, pin.session) for pin in state.pins(now)] == [(alpha.id, "s")]
    assert state.circuit(beta, now).state == "open"
    told = explained()
    assert {line["provider"]: line["code"] for line in told["excluded"]}["beta"] == "circuit_open"


def test_where_no_gateway_ever_ran_no_live_state_is_made(published: None, env: Env) -> None:
    explained(draws=5)
    assert not env.live_path.exists()


def test_admin_states_count(published: None) -> None:
    actions.set_admin_state(Provider.objects.get(slug="alpha"), "draining", actor=actor("admin"))
    told = explained()
    assert {line["provider"]: line["code"] for line in told["excluded"]}["alpha"] == "draining"


# -- refusals --------------------------------------------------------------------------------------------
REFUSED: list[tuple[dict[str, Any], str]] = [
    ({}, "request"),
    ({"request": chat(), "id": "01890a5d-ac96-774b-bcce-b302099a8057"}, "request"),
    ({"request": chat(), "colour": "red"}, "colour"),
    ({"request": {"path": "/v1/chat/completions"}}, "request.body"),
    ({"request": {"body": "{nonsense"}}, "request.body"),
    ({"request": {"body": ["list"]}}, "request.body"),
    ({"request": {"body": {"messages": []}}}, "request.body.model"),
    ({"request": {"body": {"model": 3}}}, "request.body.model"),
    ({"request": {"body": {"model": "m", "stream": "yes"}}}, "request.body.stream"),
    ({"request": chat(path="/v1/models")}, "request.path"),
    ({"request": chat(path="/v1/nothing")}, "request.path"),
    ({"request": chat(path="/admin/")}, "request.path"),
    ({"request": chat(path="/v1/chät")}, "request.path"),
    ({"request": chat(path="/p/nowhere/v1/chat/completions")}, "request.path"),
    ({"request": chat(path="/p/default/s/%ff/v1/chat/completions")}, "request.path"),
    ({"request": chat(headers={"bad name": "x"})}, "request.headers"),
    ({"request": chat(headers={"x": "a\nb"})}, "request.headers"),
    ({"request": chat(headers={"transfer-encoding": "gzip"})}, "request.headers"),
    ({"request": chat(headers={"x-route-strategy": "magic"})}, "request.headers.x-route-strategy"),
    ({"request": chat(headers={"x-route-tags": "t" * 100})}, "request.headers.x-route-tags"),
    ({"request": chat(headers={"x-route-strategy": "failover"}), "key": "app"}, "key"),
    ({"request": chat(), "key": "nobody"}, "key"),
    ({"request": chat(), "key": "app", "profile": "spare"}, "key"),
    ({"request": chat(model="other"), "key": "narrow"}, "key"),
    ({"request": chat(), "profile": "nowhere"}, "profile"),
    ({"request": chat(path="/p/default/v1/chat/completions"), "profile": "spare"}, "profile"),
    ({"request": chat(), "revision": 99}, "revision"),
    ({"request": chat(), "revision": "old"}, "revision"),
    ({"request": chat(), "revision": 0}, "revision"),
    ({"request": chat(), "revision": True}, "revision"),
    ({"request": chat(), "draws": 0}, "draws"),
    ({"request": chat(), "draws": 10_001}, "draws"),
    ({"request": chat(), "overrides": {"providers": {"alpha": "gone"}}}, "overrides.providers.alpha"),
    ({"request": chat(), "overrides": {"providers": {"nobody": "down"}}}, "overrides.providers.nobody"),
    ({"request": chat(), "overrides": {"at": "tomorrow"}}, "overrides.at"),
    ({"request": chat(), "overrides": {"at": "2026-11-20T22:30:00"}}, "overrides.at"),
    ({"id": "7"}, "id"),
    ({"id": "01890a5d-ac96-774b-bcce-b302099a8057", "key": "app"}, "key"),
]


def test_what_is_wrong_is_named(published: None) -> None:
    narrow = {"profiles": ["default"], "allow": []}
    actions.update_access_key(AccessKey.objects.get(name="app"), narrow, actor=actor("admin"))
    actions.create_access_key({"name": "narrow", "models": ["gpt-*"]}, actor=actor("admin"))
    api = Api("read")
    for sent, field in REFUSED:
        answer = api.post("explain/", sent)
        assert answer.status == 400, (sent, answer.body)
        assert field in answer.error["fields"], (sent, answer.error)


def test_before_the_first_publish_there_is_nothing_live() -> None:
    answer = Api("read").post("explain/", {"request": chat()})
    assert (answer.status, list(answer.error["fields"])) == (400, ["revision"])


@pytest.mark.parametrize(("scope", "status"), [("route", 403), ("read", 200), ("operate", 200), ("admin", 200)])
def test_reading_is_enough(published: None, scope: str, status: int) -> None:
    api = Api(scope)
    assert api.post("explain/", {"request": chat()}).status == status
    assert Api().post("explain", {"request": chat()}).status == 401
    assert api.get("explain/").status == (405 if status == 200 else 403)


def test_real_answers_are_what_the_schema_says(published: None) -> None:
    from routes.api.explain_schema import components

    told = explained(request=chat("word " * 1000))
    problems = Draft202012Validator(components()["Explanation"]).iter_errors(told)
    assert [problem.message for problem in problems] == []


def _profile(slug: str = "default") -> Profile:
    return Profile.objects.get(slug=slug)
