"""Whatever arrives over REST is answered with a status of the contract and never with a 5xx.

Schemathesis makes the requests from our own OpenAPI document and sends them to a real server.
"""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

from routes import actions
from routes.api.throttling import CallerThrottle
from tests.control.conftest import actor
from tests.control.samples import document

pytestmark = [pytest.mark.slow, pytest.mark.django_db(transaction=True)]
EXAMPLES = 15


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
