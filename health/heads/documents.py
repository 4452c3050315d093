"""What heads say: a registration, a status update, a farewell. Free of Django and of the database."""

from __future__ import annotations

import json
import re
from datetime import datetime
from typing import Annotated, Any, Literal

import orjson
from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, WithJsonSchema

from routes.document.access_key import parse_time
from routes.document.address import check_base_url
from routes.document.base import Label, Labels, Number, Slug, Strict

HEAD_ID_PATTERN = r"^[A-Za-z0-9](?:[A-Za-z0-9._:-]{0,198}[A-Za-z0-9])?$"
#: Of ``metadata`` as JSON: it is kept with the head and told with it.
METADATA_BYTES = 8192
MAX_CAPABILITIES = 32

_HEAD_ID = re.compile(HEAD_ID_PATTERN)
#: region = the end of a head's id: two letters, with a direction behind them, with a number behind that.
_REGION = re.compile(
    r"-([a-z]{2}(?:-(?:north|south|east|west|central)(?:east|west)?(?:-?[0-9]{1,2})?)?)", re.IGNORECASE
)


def _head_id(value: str) -> str:
    if not _HEAD_ID.fullmatch(value):
        raise ValueError("must be letters, digits and . _ : - between them, at most 200")
    return value


def _moment(value: Any) -> Any:
    """Unix time, however it was written."""
    if isinstance(value, str):
        value = parse_time(value)
    return value.timestamp() if isinstance(value, datetime) else value


HeadId = Annotated[str, AfterValidator(_head_id), Field(json_schema_extra={"pattern": HEAD_ID_PATTERN})]
Generation = Annotated[int, Field(ge=1, le=2**53)]
Moment = Annotated[
    float,
    BeforeValidator(_moment),
    Field(ge=0, le=1e11, allow_inf_nan=False),
    WithJsonSchema({"anyOf": [{"type": "number", "minimum": 0}, {"type": "string", "format": "date-time"}]}),
]


def suggested_region(head_id: str) -> str | None:
    """The region that the end of a head's id names: ``-eu``, ``-eu-west``, ``-us-east-1``; None when it names none."""
    # From the left, so that the longest ending wins.
    for found in re.finditer("-", head_id):
        if match := _REGION.fullmatch(head_id, found.start()):
            return match[1].lower()
    return None


class HeadMetadata(Strict):
    """What the head can do. Anything else in it is kept and told as it is."""

    model_config = ConfigDict(extra="allow")

    max_model_size: Label | None = None
    capabilities: Labels = Field(default_factory=list, max_length=MAX_CAPABILITIES)


def _small(value: HeadMetadata) -> HeadMetadata:
    tree = value.model_dump()
    try:
        json.dumps(tree, allow_nan=False)  # orjson would write 1e400 as null
        size = len(orjson.dumps(tree))
    except (TypeError, ValueError):  # or it is a whole number that no JSON reader takes
        raise ValueError("holds what JSON cannot") from None
    if size > METADATA_BYTES:
        raise ValueError(f"is larger than {METADATA_BYTES // 1024} KiB")
    return value


class HeadRegistration(Strict):
    """``endpoint`` is a base URL like the provider's. ``region`` null = as the end of ``head_id`` suggests, else the
    provider's. ``capacity`` in requests at once, as is every load; null = not known, 100 = loads are percent."""

    head_id: HeadId
    provider: Slug
    endpoint: Annotated[str, Field(max_length=2000), AfterValidator(check_base_url)]
    region: Label | None = None
    model_type: Annotated[str, Field(max_length=200)] = ""
    version: Annotated[str, Field(max_length=64)] = ""
    capacity: Number | None = None
    metadata: Annotated[HeadMetadata, AfterValidator(_small)] = Field(default_factory=HeadMetadata)


class HeadStatus(Strict):
    """A heartbeat. ``load`` in the unit of the capacity. ``generation``: the one that registration answered; null =
    the current one. ``timestamp`` (Unix or ISO 8601): when it was so; an update older than one that was taken is
    refused."""

    status: Literal["active", "draining"]
    load: Number
    generation: Generation | None = None
    timestamp: Moment | None = None


class NamedHead(Strict):
    """``generation`` given: only if it is still the current one."""

    head_id: HeadId
    generation: Generation | None = None


class HeadsWanted(Strict):
    """Which heads somebody wants to see."""

    provider: Slug | None = None
    approved: bool | None = None


class NamedHeadStatus(HeadStatus):
    """A heartbeat where no address names the head."""

    head_id: HeadId
