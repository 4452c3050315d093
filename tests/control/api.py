"""A small client of the control API for tests: bearer keys, JSON in, JSON out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.test import Client

from routes import actions
from tests.control.conftest import actor


@dataclass
class Answer:
    status: int
    body: Any
    headers: Any

    @property
    def error(self) -> dict[str, Any]:
        """The error, after checking that it has the contract's shape and nothing else around it."""
        assert set(self.body) == {"error"}, self.body
        error: dict[str, Any] = self.body["error"]
        assert {"code", "message", "fields"} <= set(error), error
        assert all(isinstance(texts, list) for texts in error["fields"].values())
        return error


class Api:
    """Calls with a key of ``scopes``; none = without a key. Server errors are raised, not answered."""

    def __init__(self, *scopes: str, client: Client | None = None) -> None:
        self.client = client or Client()
        self.headers: dict[str, str] = {}
        if scopes:
            name = "key with " + " ".join(scopes)
            created = actions.create_access_key({"name": name, "scopes": list(scopes)}, actor=actor("admin"))
            self.headers["authorization"] = f"Bearer {created.value}"

    def call(self, method: str, path: str, data: Any = None, **headers: str) -> Answer:
        body = {} if method == "get" else {"data": b"" if data is None else data, "content_type": "application/json"}
        response = getattr(self.client, method)(
            f"/api/v1/{path}",
            **body,
            headers={**self.headers, **{name.replace("_", "-"): value for name, value in headers.items()}},
        )
        content = response.json() if response.content else None
        return Answer(response.status_code, content, response.headers)

    def get(self, path: str, **headers: str) -> Answer:
        return self.call("get", path, **headers)

    def post(self, path: str, data: Any = None, **headers: str) -> Answer:
        return self.call("post", path, data, **headers)

    def patch(self, path: str, data: Any, **headers: str) -> Answer:
        return self.call("patch", path, data, **headers)

    def delete(self, path: str, **headers: str) -> Answer:
        return self.call("delete", path, **headers)
