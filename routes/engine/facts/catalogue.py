"""The vocabulary of conditions: every fact with its kind, operators and words, and every operator. Data only.

The parser, the admin's editor, the JSON schema and the documentation read this table; nothing else says which fact
knows which operator. Imports nothing of the engine.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Literal

Kind = Literal["string", "set", "flag", "number", "text", "network", "time", "partition"]

#: What an operator is given: one string, several, a pattern, a number, two numbers, yes or no, networks, a window.
Operand = Literal["string", "strings", "glob", "regex", "number", "pair", "flag", "networks", "window"]


@dataclass(slots=True, frozen=True)
class Operator:
    """``words`` stand between the fact and the value in a sentence; ``label`` in a list of operators."""

    name: str
    operand: Operand
    label: str
    words: str


OPERATORS: Final[dict[str, Operator]] = {
    operator.name: operator
    for operator in (
        Operator("eq", "string", "is", "is"),
        Operator("ne", "string", "is not", "is not"),
        Operator("in", "strings", "is one of", "is one of"),
        Operator("not_in", "strings", "is none of", "is none of"),
        Operator("prefix", "string", "starts with", "starts with"),
        Operator("contains", "string", "contains", "contains"),
        Operator("glob", "glob", "matches the glob", "matches"),
        Operator("regex", "regex", "matches the expression", "matches the expression"),
        Operator("exists", "flag", "is present", "is present"),
        Operator("is", "flag", "is", "is"),
        Operator("lt", "number", "<", "<"),
        Operator("lte", "number", "≤", "≤"),
        Operator("gt", "number", ">", ">"),
        Operator("gte", "number", "≥", "≥"),
        Operator("between", "pair", "between, both included", "is between"),
        Operator("in_cidr", "networks", "is in the network", "is in"),
        Operator("within", "window", "is within", "is"),
    )
}

STRING_OPS: Final = ("eq", "ne", "in", "not_in", "prefix", "contains", "glob", "regex", "exists")
SET_OPS: Final = ("eq", "in", "exists")
FLAG_OPS: Final = ("is",)
NUMBER_OPS: Final = ("lt", "lte", "gt", "gte", "between")
TEXT_OPS: Final = ("contains", "glob", "regex")
PARTITION_OPS: Final = ("lte", "gte")

SCENARIOS: Final = ("web_search", "thinking", "image", "long_context", "code", "background", "default")
AGENTS: Final = ("main", "subagent", "compact")


@dataclass(slots=True, frozen=True)
class FactSpec:
    """One fact. ``parameter`` names what follows the dot of a family (``header.<name>``), else None."""

    name: str
    kind: Kind
    ops: tuple[str, ...]
    label: str
    description: str
    example: Any
    unit: str = ""
    choices: tuple[str, ...] = ()
    parameter: str | None = None
    maximum: float | None = None
    from_body: bool = False
    yes: str = ""  # flags: the sentence for true, and for false
    no: str = ""

    @property
    def attribute(self) -> str:
        """Where ``Facts`` keeps it; families have a mapping instead."""
        return self.name.partition(".<")[0].replace(".", "_")

    @property
    def prefix(self) -> str:
        """``header.`` of ``header.<name>``."""
        return self.name.partition("<")[0]

    @property
    def secretive(self) -> bool:
        """Its value may be the client's own words: of such a fact only the results of clauses are recorded."""
        return self.kind == "text" or self.parameter is not None

    def sample(self, op: str) -> Any:
        """A value that ``op`` accepts for this fact, for editors and documentation."""
        match OPERATORS[op].operand:
            case "strings":
                return [self.example]
            case "glob":
                return f"{self.example}*"
            case "flag":
                return True
            case "pair":
                return [0, self.example]
        return self.example


def _flag(name: str, description: str, yes: str, no: str, *, from_body: bool = True) -> FactSpec:
    return FactSpec(name, "flag", FLAG_OPS, yes, description, True, from_body=from_body, yes=yes, no=no)


CATALOGUE: Final[tuple[FactSpec, ...]] = (
    FactSpec("model", "string", STRING_OPS, "model", "The model the client asks for, as it wrote it.", "gpt-4o"),
    FactSpec(
        "agent",
        "string",
        STRING_OPS,
        "agent",
        "Which part of a well-known coding agent sent the request, told by how its system prompt begins.",
        "subagent",
        choices=AGENTS,
        from_body=True,
    ),
    FactSpec(
        "scenario",
        "string",
        STRING_OPS,
        "scenario",
        "What kind of request it is: the first in the profile's order of scenarios that fits.",
        "long_context",
        choices=SCENARIOS,
        from_body=True,
    ),
    FactSpec(
        "region",
        "string",
        STRING_OPS,
        "region",
        "The region of the request: from x-route-region, else the access key's, else the client's address.",
        "eu-west",
    ),
    FactSpec("key.name", "string", STRING_OPS, "access key", "The name of the access key.", "app"),
    FactSpec(
        "header.<name>",
        "string",
        STRING_OPS,
        "header",
        "A header of the request; headers that carry credentials cannot be asked for.",
        "beta",
        parameter="name",
    ),
    FactSpec(
        "metadata.<key>",
        "string",
        STRING_OPS,
        "metadata",
        "A member of the body's metadata; only strings count.",
        "batch",
        parameter="key",
        from_body=True,
    ),
    FactSpec("tag", "set", SET_OPS, "tags", "The tags the client set with x-route-tags.", "batch"),
    FactSpec("key.tag", "set", SET_OPS, "tags of the access key", "The tags of the access key.", "internal"),
    _flag("stream", "Whether the answer is to be streamed.", "it is streamed", "it is not streamed", from_body=False),
    _flag(
        "thinking",
        "Whether thinking or reasoning is asked for, in any dialect.",
        "it asks for thinking",
        "it does not ask for thinking",
    ),
    _flag("has_tools", "Whether it offers any tools.", "it has tools", "it has no tools"),
    _flag("has_images", "Whether there is an image anywhere in it.", "it has images", "it has no images"),
    _flag(
        "latest_user_has_image",
        "Whether the last message is the user's and carries an image.",
        "the user's latest message has an image",
        "the user's latest message has no image",
    ),
    _flag(
        "web_search",
        "Whether it offers the API's own web search.",
        "it may search the web",
        "it may not search the web",
    ),
    FactSpec(
        "tokens",
        "number",
        NUMBER_OPS,
        "tokens",
        "Estimated input tokens: UTF-8 bytes of all text ÷ 4; images count nothing.",
        32000,
        unit="tokens",
        from_body=True,
    ),
    FactSpec("body_bytes", "number", NUMBER_OPS, "body bytes", "The size of the request body.", 65536, unit="bytes"),
    FactSpec(
        "message_count",
        "number",
        NUMBER_OPS,
        "messages",
        "How many messages or input items there are.",
        20,
        unit="messages",
        from_body=True,
    ),
    FactSpec(
        "percent",
        "number",
        NUMBER_OPS,
        "percent",
        "A stable number from 0 to 99.99 for each session, or for each request without one: for gradual changes.",
        10,
        unit="%",
        maximum=100,
    ),
    FactSpec(
        "system_text",
        "text",
        TEXT_OPS,
        "the system prompt",
        "The text of the system prompt.",
        "translator",
        from_body=True,
    ),
    FactSpec(
        "user_text",
        "text",
        TEXT_OPS,
        "the user's text",
        "The text of all messages of the user.",
        "invoice",
        from_body=True,
    ),
    FactSpec(
        "latest_user_text",
        "text",
        TEXT_OPS,
        "the user's latest message",
        "The text of the last message, when it is the user's and carries text; never a tool's result.",
        "refactor",
        from_body=True,
    ),
    FactSpec("client_ip", "network", ("in_cidr",), "the client's address", "The address of the client.", "10.0.0.0/8"),
    FactSpec(
        "time",
        "time",
        ("within",),
        "the time",
        "The time of day and the day of the week, by the wall clock of a time zone.",
        {"start": "22:00", "end": "06:00", "timezone": "Europe/Berlin", "days": ["mon", "tue", "wed", "thu", "fri"]},
    ),
    FactSpec(
        "partition.ttft_ms_avg",
        "partition",
        PARTITION_OPS,
        "mean time to the first event",
        "Mean time to the first event of the rule's own targets.",
        800,
        unit="ms",
    ),
    FactSpec(
        "partition.ttft_ms_p99",
        "partition",
        PARTITION_OPS,
        "99th percentile of the time to the first event",
        "99th percentile of the time to the first event of the rule's own targets.",
        2000,
        unit="ms",
    ),
    FactSpec(
        "partition.utilisation",
        "partition",
        PARTITION_OPS,
        "utilisation",
        "How much of the capacity of the rule's own targets is in use.",
        80,
        unit="%",
    ),
)

#: Facts by name, families aside.
BY_NAME: Final[dict[str, FactSpec]] = {spec.name: spec for spec in CATALOGUE if spec.parameter is None}
#: ``header.`` and ``metadata.``
FAMILIES: Final[dict[str, FactSpec]] = {spec.prefix: spec for spec in CATALOGUE if spec.parameter is not None}


def find(name: str) -> FactSpec | None:
    """The fact of that name, or the family that ``header.x`` and ``metadata.x`` belong to."""
    spec = BY_NAME.get(name)
    if spec is None:
        head, dot, _ = name.partition(".")
        spec = FAMILIES.get(head + dot)
    return spec
