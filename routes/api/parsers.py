"""Reading a JSON body: bounded in size and depth, strict, and free of text a database cannot store.

Used by every view and socket of the control API. Wrong input is a 400 (413 when too large), never an exception
further in.
"""

from __future__ import annotations

import codecs
import json
from typing import IO, TYPE_CHECKING, Any

from django.conf import settings
from rest_framework import status
from rest_framework.exceptions import APIException, ParseError
from rest_framework.parsers import JSONParser

from routes.document.tree import TreeError, check_tree, unique_keys

if TYPE_CHECKING:
    from collections.abc import Mapping

#: Django's own limit, which strikes first where it has read the body already.
MAX_BYTES = settings.DATA_UPLOAD_MAX_MEMORY_SIZE or 2_621_440


class TooLarge(APIException):
    status_code = status.HTTP_413_REQUEST_ENTITY_TOO_LARGE
    default_code = "too_large"
    default_detail = f"the body is larger than {MAX_BYTES // 1024} KiB"


class LimitedJSONParser(JSONParser):
    def parse(
        self, stream: IO[Any], media_type: str | None = None, parser_context: Mapping[str, Any] | None = None
    ) -> Any:
        body = stream.read(MAX_BYTES + 1)
        if len(body) > MAX_BYTES:
            raise TooLarge
        return read_json(body)


def read_json(body: bytes) -> Any:
    """The tree of a JSON text, under the rules of the module. Raises ParseError."""
    try:
        tree = json.loads(codecs.decode(body, "utf-8"), object_pairs_hook=unique_keys, parse_constant=_refuse_constant)
        check_tree(tree)
    except RecursionError:
        raise ParseError("the JSON is nested too deeply") from None
    except TreeError as error:
        raise ParseError(str(error)) from None
    except ValueError as error:
        raise ParseError(f"the body is not valid JSON: {error}") from None
    return tree


def _refuse_constant(name: str) -> Any:
    raise TreeError(f"{name} is not JSON")
