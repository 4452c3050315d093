"""Whatever arrives over REST is answered with a status of the contract and never with a 5xx.

Schemathesis makes the requests from our own OpenAPI document and sends them to a real server.
"""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from routes import actions, draft
from routes.api.throttling import CallerThrottle
from tests.control.api import Api
from tests.control.conftest import actor
from tests.control.samples import document, rule, whole_document
from tests.control.test_document import json_values

pytestmark = [pytest.mark.thorough, pytest.mark.django_db(transaction=True)]
EXAMPLES = 6

words = st.sampled_from(
    ["all", "any", "not", "fact", "op", "value", "tokens", "time", "model", "gte", "within", "regex", "(", "start", "x"]
)
#: Trees made of the words of the document, which come further in than any JSON does.
near_misses = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 40_000) | st.floats(allow_nan=False, allow_infinity=False) | words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=4),
    max_leaves=10,
)


def test_no_request_that_the_schema_allows_or_nearly_allows_is_a_server_error(
    live_server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    import schemathesis

    monkeypatch.setattr(CallerThrottle, "get_rate", lambda self: None)
    actions.import_configuration(document(), actor=actor("admin"), publish_now=True)
    key = actions.create_access_key({"name": "fuzz", "scopes": ["admin"]}, actor=actor("admin"))
    headers = {"authorization": f"Bearer {key.value}"}
    schema = schemathesis.openapi.from_url(f"{live_server.url}/api/schema/?format=json", headers=headers)
    failures: list[str] = []
    tried = 0
    for result in schema.get_all_operations():
        operation: Any = result.ok()

        @settings(
            max_examples=EXAMPLES,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
            derandomize=True,
        )
        @given(case=operation.as_strategy())
        def call(case: Any) -> None:
            response = case.call(headers=headers)
            if response.status_code >= 500:
                failures.append(case.as_curl_command())

        call()
        tried += 1
    assert failures == []
    assert tried >= 20


def test_any_json_in_rules_policy_and_affinity_is_taken_or_a_400_that_names_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(CallerThrottle, "get_rate", lambda self: None)
    actions.import_configuration(whole_document(), actor=actor("admin"))
    api = Api("admin")
    policy = sorted(draft.configuration().policy.model_dump())
    statuses: set[int] = set()

    @settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
    @given(tree=near_misses | json_values, field=st.sampled_from(policy))
    def send(tree: Any, field: str) -> None:
        bodies: list[dict[str, Any]] = [
            {"rules": tree},
            {"rules": [tree]},
            {"rules": [rule("r", when=tree)]},
            {"affinity": tree},
            {"scenario": tree},
            {"failover": {"mode": tree}},
        ]
        calls: list[tuple[str, str, Any]] = [
            *(("patch", "profiles/fast/", body) for body in bodies),
            ("patch", "policy/", {field: tree}),
            ("post", "rules/", {"profile": "fast", **rule("r", "alpha", when=tree)}),
            ("patch", "rules/long/?profile=default", {"when": {"all": [tree]}}),
            ("patch", "rules/long/?profile=default", {"targets": tree, "params": tree, "position": tree}),
        ]
        for method, path, data in calls:
            answer = api.call(method, path, data)
            statuses.add(answer.status)
            if answer.status == 400:
                assert answer.error["fields"] or answer.error["code"] == "parse_error", (path, data)
            else:
                assert answer.status in (200, 201, 409), (path, data)
        draft.configuration()

    send()
    assert {200, 400} <= statuses
