"""The realtime resource of the OpenAI wire: a text conversation over a WebSocket, as much of it as a relay can tell.

Session, items and responses; no audio, no voice detection. Answers are the usual words, all at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

from simulator import content
from simulator.wire.base import Voice, text_of

if TYPE_CHECKING:
    from simulator.websocket import Message, Session


class Realtime:
    """One conversation."""

    def __init__(self, voice: Voice, model: str) -> None:
        self._voice = voice
        self._events = 0
        self._items: list[dict[str, Any]] = []
        self._responses = 0
        self._session: dict[str, Any] = {
            "type": "realtime",
            "object": "realtime.session",
            "id": voice.ident("sess_"),
            "model": model,
            "output_modalities": ["text"],
            "instructions": "",
            "tools": [],
            "tool_choice": "auto",
            "max_output_tokens": "inf",
        }

    def begin(self, session: Session) -> None:
        self._say(session, "session.created", session=self._session)

    def hear_pong(self, session: Session, payload: bytes) -> None:
        pass

    def hear(self, session: Session, message: Message) -> None:
        try:
            event = orjson.loads(message)
        except orjson.JSONDecodeError:
            event = None
        if not isinstance(event, dict):
            self._refuse(session, {}, "Could not parse your event as a JSON object.")
            return
        match event.get("type"):
            case "session.update":
                self._update(session, event)
            case "conversation.item.create":
                self._create_item(session, event)
            case "response.create":
                self._respond(session, event)
            case kind:
                self._refuse(session, event, f"Invalid value: '{kind}'.", param="type")

    def _update(self, session: Session, event: dict[str, Any]) -> None:
        changes = event.get("session")
        if not isinstance(changes, dict):
            self._refuse(session, event, "Missing required parameter: 'session'.", param="session")
            return
        self._session = {**self._session, **changes}
        self._say(session, "session.updated", session=self._session)

    def _create_item(self, session: Session, event: dict[str, Any]) -> None:
        item = event.get("item")
        if not isinstance(item, dict):
            self._refuse(session, event, "Missing required parameter: 'item'.", param="item")
            return
        previous = self._items[-1]["id"] if self._items else None
        ident = item.get("id") or f"{self._voice.ident('item_')}_{len(self._items)}"
        item = {**item, "id": ident, "object": "realtime.item", "status": "completed"}
        self._items.append(item)
        self._say(session, "conversation.item.created", previous_item_id=previous, item=item)

    def _respond(self, session: Session, event: dict[str, Any]) -> None:
        self._responses += 1
        ident = f"{self._voice.ident('resp_')}_{self._responses}"
        response: dict[str, Any] = {
            "id": ident,
            "object": "realtime.response",
            "status": "in_progress",
            "output_modalities": ["text"],
            "output": [],
            "usage": None,
        }
        self._say(session, "response.created", response=response)
        texts = [text_of(item.get("content")) for item in self._items]
        limit = (event.get("response") or {}).get("max_output_tokens", self._session["max_output_tokens"])
        said, short = self._voice.tokens(texts[-1] if texts else "", limit if isinstance(limit, int) else None)
        item_ident = f"{self._voice.ident('item_')}_{len(self._items)}"
        place = {"response_id": ident, "item_id": item_ident, "output_index": 0, "content_index": 0}
        for part in said:
            self._say(session, "response.output_text.delta", **place, delta=part)
        text = "".join(said)
        self._say(session, "response.output_text.done", **place, text=text)
        item = {
            "id": item_ident,
            "object": "realtime.item",
            "type": "message",
            "role": "assistant",
            "status": "incomplete" if short else "completed",
            "content": [{"type": "output_text", "text": text}],
        }
        self._items.append(item)
        prompt = content.tokens_of(text_of(self._session.get("instructions")), *texts)
        usage = {"total_tokens": prompt + len(said), "input_tokens": prompt, "output_tokens": len(said)}
        done = {
            **response,
            "status": item["status"],
            "output": [item],
            "usage": usage if self._voice.behaviour.usage else None,
        }
        if short:
            done["status_details"] = {"type": "incomplete", "reason": "max_output_tokens"}
        self._say(session, "response.done", response=done)

    def _refuse(self, session: Session, event: dict[str, Any], message: str, *, param: str | None = None) -> None:
        error = {
            "type": "invalid_request_error",
            "code": "invalid_value",
            "message": message,
            "param": param,
            "event_id": event.get("event_id"),
        }
        self._say(session, "error", error=error)

    def _say(self, session: Session, kind: str, /, **fields: Any) -> None:
        self._events += 1
        document = {"type": kind, "event_id": f"{self._voice.ident('event_')}_{self._events}", **fields}
        session.say(orjson.dumps(document).decode())
