"""Whatever is asked of the history, and whoever asks: an answer that the OpenAPI document describes, and nothing that
the caller has no right to.

Schemathesis makes the requests from our own document and sends them to a real server; what it cannot know it is given:
ids and cursors that there are, and groups of filters.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from django.contrib.auth.models import Group, User
from django.test import Client
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.renderers import OpenApiJsonRenderer
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from history.filters import FIELDS
from history.ids import session_id
from history.search import search
from routes import actions
from routes.api.throttling import CallerThrottle
from tests.control.conftest import actor
from tests.history import rows, samples

if TYPE_CHECKING:
    from collections.abc import Mapping

pytestmark = [pytest.mark.thorough, pytest.mark.django_db(transaction=True)]
#: Requests to each address: of a reader, of who may read too, of who may not.
READING, MORE, REFUSED = 20, 5, 3
#: What each may do.
ROLES: dict[str, frozenset[str]] = {
    "nobody": frozenset(),
    "route": frozenset(),
    "read": frozenset({"read"}),
    "operate": frozenset({"read"}),
    "admin session": frozenset({"read", "admin"}),
}

words = st.sampled_from(["failed", "acme-eu", "default", "", "a,b", "\x00", "1", "true", "chat", "\ud800", "x" * 2001])
values = words | st.none() | st.booleans() | st.integers() | st.lists(words, max_size=3)
conditions = st.fixed_dictionaries(
    {"field": st.sampled_from([*FIELDS, "session", "colour"]), "value": values},
    optional={"op": st.sampled_from(["eq", "ne", "in", "contains", "startswith", "gt", "lt", "like"])},
)
kinds = st.sampled_from(["all", "any", "not"])
#: Groups as they are taken, and near misses.
trees = st.recursive(
    conditions | values,
    lambda inner: st.dictionaries(kinds, inner | st.lists(inner, max_size=3), max_size=2),
    max_leaves=8,
).map(json.dumps)


def headers_of(role: str) -> dict[str, str]:
    if role == "nobody":
        return {}
    if role == "admin session":
        user = User.objects.create_user("ada")
        user.groups.add(Group.objects.get(name="Admin"))
        client = Client()
        client.force_login(user)
        return {"cookie": f"sessionid={client.cookies['sessionid'].value}"}
    key = actions.create_access_key({"name": role, "scopes": [role]}, actor=actor("admin"))
    return {"authorization": f"Bearer {key.value}"}


@pytest.fixture
def known() -> Mapping[str, st.SearchStrategy[str]]:
    """Values for parameters: such as there are, and such as look like them."""
    routes = rows.store(
        *(samples.finished(session_key="chat", latency_us=n * 1000) for n in range(6)),
        *(samples.failed(key_name="=1+1", message='say ";=1"\n', rule="r") for _ in range(3)),
        samples.started(),
        samples.decided(),
    )
    cursors = [search(limit=2, order=order).next for order in ("-created_at", "created_at", "latency_ms")]
    return {
        "route": st.sampled_from([*(str(route) for route in routes), "f" * 32]),
        "session": st.just(str(session_id(samples.KEY, "chat"))),
        "access_key": st.just("app"),
        "session_key": st.sampled_from(["chat", "nobody's"]),
        "cursor": st.sampled_from([*(cursor for cursor in cursors if cursor), "W10", "x"]),
        "filter": trees,
    }


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    """Our OpenAPI document, as it is answered."""
    tree = SchemaGenerator().get_schema(public=True)
    whole: dict[str, Any] = json.loads(OpenApiJsonRenderer().render(tree))
    return whole


@pytest.mark.parametrize("role", ROLES)
def test_every_answer_is_one_that_is_described_and_within_the_callers_rights(
    role: str,
    live_server: Any,
    document: dict[str, Any],
    known: Mapping[str, st.SearchStrategy[str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import schemathesis
    from schemathesis.checks import not_a_server_error
    from schemathesis.specs.openapi import checks

    monkeypatch.setattr(CallerThrottle, "get_rate", lambda self: None)
    schema = schemathesis.openapi.from_dict(document)
    schema.config.update(base_url=live_server.url)
    headers = headers_of(role)
    described = [
        not_a_server_error,
        checks.status_code_conformance,
        checks.content_type_conformance,
        checks.response_headers_conformance,
        checks.response_schema_conformance,
    ]

    def ask(operation: Any, allowed: bool) -> set[int]:
        """Statuses that were answered."""
        seen: set[int] = set()
        names = sorted(known.keys() & {parameter.name for parameter in operation.query})

        @settings(
            max_examples=REFUSED if not allowed else READING if role == "read" else MORE,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
            derandomize=True,
        )
        @given(case=operation.as_strategy(), data=st.data())
        def call(case: Any, data: st.DataObject) -> None:
            for name in sorted(case.path_parameters):
                if data.draw(st.booleans()):
                    case.path_parameters[name] = data.draw(known[name])
            if operation.path.endswith("/sessions/") and not seen:
                case.query = {"session_key": "chat", "access_key": "app"}  # both known ones may never meet otherwise
            else:
                for name in names:
                    if data.draw(st.booleans()):
                        case.query[name] = data.draw(known[name])
            if role != "nobody":
                case.headers, case.cookies = {}, {}  # those that it made up belong to nobody
            response = case.call(headers=headers)
            seen.add(response.status_code)
            case.validate_response(response, checks=described)
            if not allowed:
                assert response.status_code == (401 if role == "nobody" else 403)
                assert set(response.json()) == {"error"}
            elif response.status_code == 400:
                assert response.json()["error"]["fields"].keys() <= case.query.keys() | {"session_key"}

        call()
        return seen

    answered = {}
    for result in schema.include(path_regex="^/api/v1/history").get_all_operations():
        operation: Any = result.ok()
        scope = "admin" if operation.path.endswith("/payload/") else "read"
        answered[operation.path] = ask(operation, scope in ROLES[role])
    assert len(answered) == 8
    if role == "read":
        unanswered = [path for path, statuses in answered.items() if 200 not in statuses]
        assert unanswered == ["/api/v1/history/{route}/payload/"], "of the others something was asked that there is"
