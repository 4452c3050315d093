"""What a channel is told: one message, in the form that each kind of receiver reads.

A message is a small JSON tree that is stored with its delivery (``Message``); the forms are made of it when it is
sent. Names of targets, heads and keys are text from outside and are escaped for Slack and Discord. Must not import
models beyond types; no I/O.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final, TypedDict

from health.alerts.kinds import WORDS

if TYPE_CHECKING:
    from datetime import datetime

    from health.models import Alert, AlertChannel

TEST: Final = "test"
PRODUCT: Final = "Signalbox"
#: Discord's colour of the bar beside a message, and the word in front of a title.
COLOURS: Final = {"info": 0x3B82F6, "warning": 0xD97706, "critical": 0xDC2626}
#: What Slack and Discord take; they refuse a whole message for one text that is longer.
SLACK_TITLE, SLACK_TEXT, SLACK_FIELD, SLACK_FIELDS = 150, 3000, 2000, 10
DISCORD_TITLE, DISCORD_TEXT, DISCORD_FIELD, DISCORD_FIELDS = 256, 4000, 1024, 20
_MARKDOWN = re.compile(r"([\\`*_~|>\[\]()#-])")


class Field(TypedDict):
    name: str
    value: str


class Message(TypedDict):
    """``event`` is the kind, or ``test``; times are ISO 8601; ``path`` is the page in the console; ``count`` how often
    it has happened so far, ``held_back`` how many messages the channel's limit has kept from it before this one."""

    event: str
    severity: str
    title: str
    text: str
    subject: str
    provider: str | None
    rule: str | None
    at: str
    first_at: str
    count: int
    fields: list[Field]
    path: str
    held_back: int
    test: bool


def message_of(alert: Alert) -> Message:
    """What is told of an alert now: the first time of the event itself, later also how often it came again."""
    again = alert.count - alert.told_count if alert.told_count else 0
    title, text = alert.title, alert.text
    if again:
        title = f"{title} (again: {again} more)"
        times = "once more" if again == 1 else f"{again} more times"
        text = f"{text} It happened {times} since {clock(alert.told_at)}, last at {clock(alert.last_at)}."
        if alert.over_at is not None:
            text += f" It is over since {clock(alert.over_at)}."
    return {
        "event": alert.kind,
        "severity": alert.severity,
        "title": title,
        "text": text,
        "subject": alert.subject,
        "provider": alert.provider or None,
        "rule": alert.rule_name,
        "at": alert.last_at.isoformat(),
        "first_at": alert.first_at.isoformat(),
        "count": alert.count,
        "fields": [{"name": name, "value": value} for name, value in alert.fields],
        "path": alert.path,
        "held_back": 0,
        "test": False,
    }


def test_message(channel: AlertChannel, asked_by: str, now: datetime) -> Message:
    return {
        "event": TEST,
        "severity": "info",
        "title": "Test message",
        "text": f"{asked_by} asked for a test of the alert channel {channel.name}. Nothing has happened.",
        "subject": channel.name,
        "provider": None,
        "rule": None,
        "at": now.isoformat(),
        "first_at": now.isoformat(),
        "count": 1,
        "fields": [],
        "path": f"/admin/health/alertchannel/{channel.pk}/change/",
        "held_back": 0,
        "test": True,
    }


def clock(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC"


def event_name(kind: str) -> str:
    """An event as people call it; what is not known is shown as it is."""
    return WORDS[kind].name if kind in WORDS else kind.replace("_", " ").capitalize()


# -- one function per kind of channel ------------------------------------------------------------------
def webhook(message: Message, delivery_id: str, address: str) -> dict[str, Any]:
    """The message itself, with the delivery's id and a link. ``address``: the public one of the console."""
    told: dict[str, Any] = {"id": delivery_id, **message, "link": address + message["path"]}
    del told["path"]
    return told


def slack(message: Message, _delivery_id: str, address: str) -> dict[str, Any]:
    """Slack's incoming webhooks; Mattermost and Rocket.Chat read ``text``."""
    title = f"{message['severity'].upper()}: {message['title']}"
    severity: Field = {"name": "Severity", "value": message["severity"]}
    fields = [severity, *message["fields"]][:SLACK_FIELDS]
    blocks: list[dict[str, Any]] = [
        {"type": "header", "text": {"type": "plain_text", "text": cut(title, SLACK_TITLE)}},
        {"type": "section", "text": {"type": "mrkdwn", "text": cut(_mrkdwn(body(message)), SLACK_TEXT)}},
        {
            "type": "section",
            "fields": [
                {"type": "mrkdwn", "text": cut(f"*{_mrkdwn(each['name'])}*\n{_mrkdwn(each['value'])}", SLACK_FIELD)}
                for each in fields
            ],
        },
        {
            "type": "context",
            "elements": [
                {"type": "mrkdwn", "text": f"<{address}{message['path']}|Open in {PRODUCT}> · {_when(message)}"}
            ],
        },
    ]
    return {"text": cut(_mrkdwn(f"{title}. {body(message)}"), SLACK_TEXT), "blocks": blocks}


def discord(message: Message, _delivery_id: str, address: str) -> dict[str, Any]:
    """Discord's incoming webhooks. Nobody is mentioned, whatever the text says."""
    embed = {
        "title": cut(_discord(message["title"]), DISCORD_TITLE),
        "description": cut(_discord(body(message)), DISCORD_TEXT),
        "url": address + message["path"],
        "color": COLOURS[message["severity"]],
        "timestamp": message["at"],
        "fields": [
            {
                "name": cut(_discord(each["name"]), DISCORD_TITLE),
                "value": cut(_discord(each["value"]), DISCORD_FIELD),
                "inline": True,
            }
            for each in message["fields"][:DISCORD_FIELDS]
            if each["value"]
        ],
        "footer": {"text": f"{PRODUCT} · {message['severity']}"},
    }
    return {"username": PRODUCT, "embeds": [embed], "allowed_mentions": {"parse": []}}


def email(message: Message, delivery_id: str, address: str) -> tuple[str, str]:
    """(subject, plain text)."""
    subject = " ".join(f"[{PRODUCT}] {message['severity'].upper()}: {message['title']}".split())
    lines = [body(message), ""]
    lines += [f"{each['name']}: {each['value']}" for each in message["fields"]]
    lines += [f"Event: {message['event']}", f"At: {_when(message)}"]
    if message["rule"]:
        lines.append(f"Rule: {message['rule']}")
    lines += ["", address + message["path"], "", f"Delivery {delivery_id}"]
    return cut(subject, 200), "\n".join(lines) + "\n"


def body(message: Message) -> str:
    """The text, and that some messages before it were held back."""
    held = message["held_back"]
    if not held:
        return message["text"]
    were = "message was" if held == 1 else "messages were"
    return f"{message['text']} {held} {were} held back before this one by the channel’s limit."


def cut(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[: length - 1]}…"


def _when(message: Message) -> str:
    return f"{message['at'][:19].replace('T', ' ')} UTC"


def _mrkdwn(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _discord(text: str) -> str:
    return _MARKDOWN.sub(r"\\\1", text)
