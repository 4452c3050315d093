"""Sessions over HTTP: by id, or by the client's own name. Needs the scope ``read``."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

from drf_spectacular.utils import extend_schema

from history import reports, sessions
from history.api import parameters, schema
from history.api.base import PageView
from history.errors import BadQuery, SessionNotFound

if TYPE_CHECKING:
    from rest_framework.request import Request
    from rest_framework.response import Response


class SessionPage(PageView):
    def session(self, identifier: UUID, limit: int) -> Response:
        told = sessions.read(identifier, limit=limit, cursor=self.request.query_params.get("cursor"))
        return self.page(told.page, session=None if told.session is None else reports.session(told.session))


class SessionView(SessionPage):
    @extend_schema(
        operation_id="history_session",
        tags=["history"],
        parameters=[*parameters.SESSION_BY_ID, *schema.HEADERS],
        responses=schema.page("HistorySession", missing="session_not_found"),
        description="A session in figures (`session`, of all its requests; null if they take too long), and its "
        "requests, oldest first.",
    )
    def get(self, request: Request, session: str) -> Response:
        try:
            identifier = UUID(session)
        except ValueError:
            raise SessionNotFound("there is no session with this id") from None
        return self.session(identifier, self.limit())


class SessionByNameView(SessionPage):
    reserved = PageView.reserved | {"session_key", "access_key"}

    @extend_schema(
        operation_id="history_session_by_key",
        tags=["history"],
        parameters=[*parameters.SESSION_BY_KEY, *schema.HEADERS],
        responses=schema.page("HistorySession", missing="session_not_found", ambiguous=True),
        description="The same of the session that the client calls by this name. Sessions belong to an access key: if "
        "several keys have one of this name, the answer is 409 and lists them; ask again with `access_key`, or by "
        "`session_id`. Sessions of keys that have been deleted are found with `access_key`.",
    )
    def get(self, request: Request) -> Response:
        limit, name = self.limit(), request.query_params.get("session_key")
        if name is None:
            raise BadQuery("session_key", "is needed: the client's name of the session")
        return self.session(sessions.find(name, request.query_params.get("access_key")), limit)
