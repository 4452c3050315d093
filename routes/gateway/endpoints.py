"""The data plane's addresses: which path is which operation, in which wire format. A table and its lookup. Pure."""

from __future__ import annotations

import re
from typing import Final, Literal, NamedTuple
from urllib.parse import unquote_to_bytes

#: What a request's body is: ``form`` is multipart or JSON, ``none`` = there is none to read, ``any`` = not looked into.
Body = Literal["json", "form", "none", "any"]
#: What a whole answer is: JSON, which is held and checked; JSON or a text of another kind, as it says itself; bytes
#: that are handed on as they come, unless they say that they are JSON; whatever it is, never looked into.
Answers = Literal["document", "text", "media", "anything"]


class Endpoint(NamedTuple):
    """One route template. ``operation`` "models" is the only one that is answered here and not sent upstream."""

    operation: str
    resource: str  # what follows a provider's base_url
    wire: str
    method: str  # "" = any
    template: str  # metric label
    profile_template: str  # the same under /p/{profile}
    session_template: str  # the same under /p/{profile}/s/{session}
    body: Body
    answers: Answers


def _endpoint(
    operation: str,
    resource: str,
    wire: str,
    method: str = "POST",
    suffix: str = "",
    body: Body = "json",
    answers: Answers = "document",
) -> Endpoint:
    template = f"/v1{resource}{suffix}"
    return Endpoint(
        operation,
        resource,
        wire,
        method,
        template,
        f"/p/{{profile}}{template}",
        f"/p/{{profile}}/s/{{session}}{template}",
        body,
        answers,
    )


_ROUTED: Final = (
    _endpoint("chat", "/chat/completions", "openai"),
    _endpoint("completion", "/completions", "openai"),
    _endpoint("responses", "/responses", "openai"),
    _endpoint("embedding", "/embeddings", "openai"),
    _endpoint("moderation", "/moderations", "openai"),
    _endpoint("rerank", "/rerank", "openai"),
    _endpoint("image", "/images/generations", "openai"),
    _endpoint("image_edit", "/images/edits", "openai", body="form"),
    _endpoint("image_variation", "/images/variations", "openai", body="form"),
    _endpoint("speech", "/audio/speech", "openai", answers="media"),
    _endpoint("transcription", "/audio/transcriptions", "openai", body="form", answers="text"),
    _endpoint("translation", "/audio/translations", "openai", body="form", answers="text"),
    _endpoint("messages", "/messages", "anthropic"),
    _endpoint("count_tokens", "/messages/count_tokens", "anthropic"),
    _endpoint("realtime", "/realtime", "openai", "GET", body="none"),
)
_MODELS: Final = _endpoint("models", "/models", "openai", "GET")
_MODEL: Final = _endpoint("models", "/models", "openai", "GET", "/{id}")
_SVC: Final = "/svc/{profile}/{path}"
_SERVICE: Final = Endpoint("service", "", "generic", "", _SVC, _SVC, _SVC, "any", "anything")
#: (method, template) of everything there is: the metric series that exist from the start
SERIES: Final = [
    *(
        (each.method, template)
        for each in (*_ROUTED, _MODELS, _MODEL)
        for template in (each.template, each.profile_template, each.session_template)
    ),
    ("GET", _SVC),
    ("POST", _SVC),
]

_EXACT: Final[dict[bytes, Endpoint]] = {each.template.encode(): each for each in (*_ROUTED, _MODELS)}
_MODEL_PREFIX: Final = b"/v1/models/"
#: A path goes on as it came, and must not lead out of what the provider's base URL names. Some servers take a
#: backslash for a slash, and an encoded slash for one.
_DOT_SEGMENT: Final = re.compile(rb"(?:/|\\|%2f|%5c)(?:\.|%2e){1,2}(?:/|\\|%2f|%5c|;|$)", re.IGNORECASE)


class Match(NamedTuple):
    """What a path means. ``endpoint`` None = data plane, but no such endpoint."""

    endpoint: Endpoint | None
    profile: str | None  # named in the path; None = the key's
    model: str | None  # of /v1/models/{id}, still percent-encoded
    session: bytes | None = None  # named in the path, decoded from its percent signs
    rest: str = ""  # of a service's address: what follows the profile, as it came

    @property
    def template(self) -> str:
        """The address without anything a client chose: the metric label."""
        endpoint = self.endpoint
        if endpoint is None:
            return "other"
        if self.session is not None:
            return endpoint.session_template
        return endpoint.template if self.profile is None else endpoint.profile_template


#: The paths almost every request has, ready to hand out.
_COMMON: Final[dict[bytes, Match]] = {path: Match(endpoint, None, None) for path, endpoint in _EXACT.items()}
_NOWHERE: Final = Match(None, None, None)


def find(raw_path: bytes) -> Match | None:
    """The data-plane meaning of a path as the client sent it; None = not ours to route."""
    common = _COMMON.get(raw_path)
    if common is not None:
        return common
    if raw_path.startswith(b"/v1/"):
        return _under_v1(raw_path, None)
    if raw_path.startswith(b"/p/"):
        slug, _, rest = raw_path[3:].partition(b"/")
        session: bytes | None = None
        if rest.startswith(b"s/"):
            name, _, rest = rest[2:].partition(b"/")
            if not name:
                return _NOWHERE
            session = unquote_to_bytes(name)
        if not slug or not rest.startswith(b"v1/"):
            return _NOWHERE
        return _under_v1(b"/" + rest, slug.decode("ascii"), session)
    if raw_path.startswith(b"/svc/"):
        slug, slash, rest = raw_path[5:].partition(b"/")
        if not slug or _DOT_SEGMENT.search(raw_path):
            return _NOWHERE
        return Match(_SERVICE, slug.decode("ascii"), None, None, (slash + rest).decode("ascii"))
    return _NOWHERE if raw_path in (b"/v1", b"/p", b"/svc") else None


def _under_v1(path: bytes, profile: str | None, session: bytes | None = None) -> Match:
    endpoint = _EXACT.get(path)
    if endpoint is not None:
        return Match(endpoint, profile, None, session)
    if path.startswith(_MODEL_PREFIX) and len(path) > len(_MODEL_PREFIX):
        return Match(_MODEL, profile, path[len(_MODEL_PREFIX) :].decode("ascii"), session)
    return Match(None, profile, None, session)
