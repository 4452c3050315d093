"""Requests for tests of facts and conditions: everything has a default, tests name what they are about."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from routes.engine.facts import Facts, KeyFacts, ScenarioSettings

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

ROUTE_ID = "01890a5d-ac96-774b-bcce-b302099a8057"
#: A Wednesday.
NOON = datetime(2026, 7, 15, 12, 0, tzinfo=UTC).timestamp()


def facts_of(
    document: Any = None,
    operation: str = "chat",
    *,
    model: str = "gpt-4o",
    body: bytes | None = None,
    stream: bool = False,
    session: str | None = None,
    region: str | None = None,
    tags: tuple[str, ...] = (),
    headers: Mapping[str, str] | None = None,
    key: KeyFacts | None = None,
    client_ip: str = "",
    wall: float = NOON,
    scenario: Mapping[str, Any] | None = None,
    last_input: Callable[[], int | None] | None = None,
    given: Mapping[str, Any] | None = None,
    route_id: str = ROUTE_ID,
) -> Facts:
    if body is None:
        body = b"" if document is None else json.dumps(document).encode()
    return Facts(
        operation=operation,
        model=model,
        route_id=route_id,
        wall=wall,
        body=body,
        stream=stream,
        session=session,
        region=region,
        tags=frozenset(tags),
        headers=None if headers is None else {name.encode(): value.encode() for name, value in headers.items()},
        key=key or KeyFacts("app"),
        client_ip=client_ip,
        scenario=ScenarioSettings.from_document(scenario or {}),
        last_input=last_input,
        given=given,
    )


def user(content: Any) -> dict[str, Any]:
    return {"role": "user", "content": content}


def said(*messages: Any, **members: Any) -> dict[str, Any]:
    """A chat or messages body; strings are the user's and the assistant's in turn."""
    roles = ("user", "assistant")
    return {
        **members,
        "messages": [
            {"role": roles[index % 2], "content": message} if isinstance(message, str) else message
            for index, message in enumerate(messages)
        ],
    }


PICTURE = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 4000}}
CLAUDE_PICTURE = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "A" * 4000}}
