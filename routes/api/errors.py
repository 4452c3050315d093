"""One shape for every error of the control API: ``{"error": {"code", "message", "fields"}}``.

Whatever a view raises becomes it here: refusals of actions, DRF's own exceptions, Django's 404 and 403, a database that
does not answer (503). Unknown exceptions are not caught: they are bugs, and the console logs them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.core.exceptions import PermissionDenied, RequestDataTooBig
from django.db import InterfaceError, OperationalError
from django.http import Http404, HttpRequest, JsonResponse
from django.views.decorators.csrf import csrf_exempt
from rest_framework import exceptions, status
from rest_framework.response import Response
from rest_framework.views import set_rollback

from routes.actions import errors
from routes.api.parsers import TooLarge
from routing_project.logs import get_logger

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

STATUS_OF: dict[type[errors.ActionError], int] = {
    errors.Invalid: status.HTTP_400_BAD_REQUEST,
    errors.Forbidden: status.HTTP_403_FORBIDDEN,
    errors.Missing: status.HTTP_404_NOT_FOUND,
    errors.StaleVersion: status.HTTP_412_PRECONDITION_FAILED,
    errors.Conflict: status.HTTP_409_CONFLICT,
}
CODES: dict[type[exceptions.APIException], str] = {
    exceptions.ValidationError: "invalid",
    exceptions.ParseError: "parse_error",
    exceptions.AuthenticationFailed: "unauthenticated",
    exceptions.NotAuthenticated: "unauthenticated",
    exceptions.PermissionDenied: "permission_denied",
    exceptions.NotFound: "not_found",
    exceptions.MethodNotAllowed: "method_not_allowed",
    exceptions.NotAcceptable: "not_acceptable",
    exceptions.UnsupportedMediaType: "unsupported_media_type",
    exceptions.Throttled: "throttled",
    TooLarge: "too_large",
}
#: After how many seconds somebody may ask again whom the database kept from an answer.
AWAY_SECONDS = 2

log = get_logger(__name__)


def document(
    code: str, message: str, fields: Mapping[str, Sequence[str]] | None = None, **more: Any
) -> dict[str, dict[str, Any]]:
    """The body of an error answer."""
    return {"error": {"code": code, "message": message, "fields": dict(fields or {}), **more}}


def handler(exception: Exception, context: dict[str, Any]) -> Response | None:
    """DRF's ``EXCEPTION_HANDLER``."""
    if isinstance(exception, Http404):
        exception = exceptions.NotFound("there is nothing at this address")
    elif isinstance(exception, PermissionDenied):
        exception = exceptions.PermissionDenied()
    elif isinstance(exception, RequestDataTooBig):
        exception = TooLarge()
    if isinstance(exception, (OperationalError, InterfaceError)):
        # What it says may name the host and its user, which is for the log.
        log.error("the database does not answer", error=str(exception))
        told = document("database_unavailable", "the database does not answer; try again in a moment")
        headers = {"Retry-After": str(AWAY_SECONDS)}
        return Response(told, status=status.HTTP_503_SERVICE_UNAVAILABLE, headers=headers)
    if isinstance(exception, errors.ActionError):
        set_rollback()
        code = next(code for kind, code in STATUS_OF.items() if isinstance(exception, kind))
        more: dict[str, Any] = {"used_by": exception.used_by} if isinstance(exception, errors.InUse) else {}
        return Response(document(exception.code, exception.message, exception.fields, **more), status=code)
    if isinstance(exception, exceptions.APIException):
        set_rollback()
        headers = {}
        if challenge := getattr(exception, "auth_header", None):
            headers["WWW-Authenticate"] = challenge
        if wait := getattr(exception, "wait", None):
            headers["Retry-After"] = str(int(wait) + 1)
        code_name = next((name for kind, name in CODES.items() if isinstance(exception, kind)), "error")
        fields = flatten(exception.detail)
        message = _message(exception, fields)
        return Response(document(code_name, message, fields), status=exception.status_code, headers=headers)
    return None


def flatten(detail: Any, path: str = "") -> dict[str, list[str]]:
    """DRF's nested details as ``{"targets[0].weight": ["…"]}``; a plain message gives nothing."""
    if isinstance(detail, dict):
        found: dict[str, list[str]] = {}
        for name, inner in detail.items():
            found.update(flatten(inner, f"{path}.{name}" if path else str(name)))
        return found
    if isinstance(detail, list) and any(isinstance(inner, (dict, list)) for inner in detail):
        found = {}
        for index, inner in enumerate(detail):
            found.update(flatten(inner, f"{path}[{index}]"))
        return found
    if not path:
        return {}
    return {path: [str(text) for text in detail] if isinstance(detail, list) else [str(detail)]}


def _message(exception: exceptions.APIException, fields: Mapping[str, Sequence[str]]) -> str:
    if fields:
        path, messages = next(iter(fields.items()))
        return f"{path}: {messages[0]}"
    detail = exception.detail
    return str(detail[0] if isinstance(detail, list) else detail)


@csrf_exempt  # the answer is the same whoever asks, and Django's own refusal is a page
def not_found(request: HttpRequest, **_: Any) -> JsonResponse:
    """Answers every address for programs that nothing else answers."""
    return JsonResponse(document("not_found", "there is nothing at this address"), status=status.HTTP_404_NOT_FOUND)
