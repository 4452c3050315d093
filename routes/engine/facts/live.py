"""The facts of one request, each worked out when it is first asked for, and once. Pure.

The body is parsed at most once, and only for a fact that needs it; texts are joined only for a clause that reads them.
A fact that is not there is None. Nothing in here raises, whatever the client sent.
"""

from __future__ import annotations

from copy import copy
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, Final, Generic, NamedTuple, TypeVar

from routes.engine.facts import agents
from routes.engine.facts import body as bodies
from routes.engine.facts.catalogue import BY_NAME
from routes.engine.facts.scenario import ScenarioSettings

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

T = TypeVar("T")

_NOTHING: Final[dict[Any, Any]] = {}
_HEADER: Final = "header."
_METADATA: Final = "metadata."
_PARTITION: Final = "partition."


class KeyFacts(NamedTuple):
    """What rules may know of the access key."""

    name: str
    tags: frozenset[str] = frozenset()


NO_KEY: Final = KeyFacts("")


class _Lazy(Generic[T]):
    """A value made on first use and kept in the instance, where the next look-up finds it without coming here."""

    def __init__(self, make: Callable[[Facts], T]) -> None:
        self._make = make
        self._name = make.__name__

    def __get__(self, facts: Facts, owner: type) -> T:
        value = facts.__dict__[self._name] = self._make(facts)
        return value


class Facts:
    """See the catalogue for what each fact means; its attribute is its name with ``_`` for the dot.

    ``wall``: seconds of the wall clock. ``last_input``: input tokens of the session's last request, asked only for the
    scenario. ``given``: facts that count instead of what the request says, as ``check_given`` returned them.
    Without a body (b"") the facts of a body are absent; a body that is no JSON object has nothing in it.
    """

    def __init__(
        self,
        *,
        operation: str,
        model: str,
        route_id: str,
        wall: float,
        body: bytes = b"",
        stream: bool = False,
        session: str | None = None,
        region: str | None = None,
        tags: frozenset[str] = frozenset(),
        headers: Mapping[bytes, bytes] | None = None,
        key: KeyFacts = NO_KEY,
        client_ip: str = "",
        scenario: ScenarioSettings | None = None,
        last_input: Callable[[], int | None] | None = None,
        given: Mapping[str, Any] | None = None,
    ) -> None:
        self.operation = operation
        self.model: str | None = model or None
        self.region: str | None = region or None
        self.stream: bool | None = stream
        self.tag = tags
        self.key_name: str | None = key.name or None
        self.key_tag = key.tags
        self.client_ip: str | None = client_ip or None
        self.time: float | None = wall
        self.body_bytes: int | None = len(body) if body else None
        self.route_id = route_id
        self.session = session
        self.last_input = last_input
        self.headers: Mapping[bytes, bytes] = _NOTHING if headers is None else headers
        #: Results of clauses whose facts may not be recorded, by digest of the clause. None: two rules disagreed.
        self.bits: dict[str, bool | None] = {}
        self._body = body
        self._settings = ScenarioSettings() if scenario is None else scenario
        if given:
            self._give(given)

    def _give(self, given: Mapping[str, Any]) -> None:
        for name, value in given.items():
            if name.startswith(_HEADER):
                key = name[len(_HEADER) :].encode()
                others = {other: kept for other, kept in self.headers.items() if other != key}
                self.headers = others if value is None else {**others, key: value.encode()}
            elif name.startswith(_METADATA):
                self.metadata = {**self.metadata, name[len(_METADATA) :]: value}
            else:
                # What is in the instance counts before anything that would be worked out.
                self.__dict__[BY_NAME[name].attribute] = value

    @property
    def carries_text(self) -> bool:
        """Whether the operation is one whose text rules may read."""
        return self.operation in bodies.TEXT_OPERATIONS

    @property
    def has_read_body(self) -> bool:
        return "document" in self.__dict__

    def get(self, name: str) -> Any:
        """The value of a fact by its full name, None when absent. Figures of a partition are not the request's."""
        if name.startswith(_HEADER):
            return self.header(name[len(_HEADER) :].encode())
        if name.startswith(_METADATA):
            return self.metadata_of(name[len(_METADATA) :])
        if name.startswith(_PARTITION):
            return ()
        return getattr(self, BY_NAME[name].attribute)

    def again(self, route_id: str) -> Facts:
        """The facts of another request that says the same, without reading its body again."""
        other = copy(self)
        other.route_id = route_id
        other.bits = {}
        other.__dict__.pop("percent", None)
        return other

    def bit(self, digest: str) -> bool | None:
        """Whether a clause that may not be recorded held, once it was evaluated."""
        return self.bits.get(digest)

    def header(self, name: bytes) -> str | None:
        """A header by its name in lower case."""
        value = self.headers.get(name)
        return None if value is None else value.decode("utf-8", "replace")

    def metadata_of(self, key: str) -> str | None:
        value = self.metadata.get(key)
        return value if type(value) is str else None

    # -- from the body ---------------------------------------------------------------------------------
    @_Lazy
    def document(self) -> dict[str, Any] | None:
        """The parsed body; None without one."""
        return bodies.load(self._body) if self._body else None

    @_Lazy
    def metadata(self) -> Mapping[str, Any]:
        value = None if self.document is None else self.document.get("metadata")
        return value if type(value) is dict else _NOTHING

    @_Lazy
    def messages(self) -> list[Any]:
        if self.document is None or not self.carries_text:
            return []
        return bodies.messages(self.document, self.operation)

    @_Lazy
    def tools(self) -> list[Any]:
        return [] if self.document is None else bodies.tools(self.document)

    @_Lazy
    def survey(self) -> bodies.Survey | None:
        return None if self.document is None else bodies.survey(self.document, self.tools)

    @_Lazy
    def tokens(self) -> int | None:
        return None if self.survey is None else self.survey.tokens

    @_Lazy
    def message_count(self) -> int | None:
        return None if self.document is None else len(self.messages)

    @_Lazy
    def thinking(self) -> bool | None:
        return None if self.document is None else bodies.thinking(self.document)

    @_Lazy
    def has_tools(self) -> bool | None:
        return None if self.document is None else bool(self.tools)

    @_Lazy
    def has_coding_tools(self) -> bool:
        return agents.has_coding_tools(bodies.tool_names(self.tools))

    @_Lazy
    def has_images(self) -> bool | None:
        return None if self.survey is None else self.survey.images

    @_Lazy
    def latest_user_has_image(self) -> bool | None:
        return None if self.document is None else bodies.latest_user_has_image(self.messages)

    @_Lazy
    def web_search(self) -> bool | None:
        return None if self.document is None else bodies.web_search(self.document, self.tools)

    @_Lazy
    def system(self) -> list[str]:
        """The pieces of the system prompt."""
        if self.document is None or not self.carries_text:
            return []
        return bodies.system_parts(self.document, self.messages)

    @_Lazy
    def agent(self) -> str | None:
        return agents.kind_of(self.system)

    @_Lazy
    def scenario(self) -> str | None:
        return self._settings.classify(self)

    @_Lazy
    def system_text(self) -> str | None:
        return "\n".join(self.system) or None

    @_Lazy
    def user_text(self) -> str | None:
        return bodies.user_text(self.messages)

    @_Lazy
    def latest_user_text(self) -> str | None:
        return bodies.latest_user_text(self.messages)

    # -- from elsewhere --------------------------------------------------------------------------------
    @_Lazy
    def percent(self) -> float | None:
        """Two decimals of a hash that is the same everywhere and for ever."""
        who = (self.session or self.route_id).encode("utf-8", "replace")
        return int.from_bytes(blake2b(who, digest_size=8, person=b"percent").digest()) % 10_000 / 100
