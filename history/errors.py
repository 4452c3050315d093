"""What can go wrong in history. ``code`` is stable: the same in API answers, logs and docs.

HistoryError
├── RouteNotFound      route_not_found      no such route, here or in the journal
├── PayloadNotKept     payload_not_kept     there is the route, and no copy of what was said
├── SessionNotFound    session_not_found    no such session
├── SessionAmbiguous   session_ambiguous    several access keys have a session of this name
├── StatusConflict     status_conflict      the route has another outcome already
├── JournalFull        journal_full         the record could not be kept
├── BadQuery           invalid              a filter, order, cursor or time the history does not understand
├── RangeTooLarge      range_too_large      the question takes longer than allowed; narrow the time range
└── Busy               busy                 others hold what this needs; nothing was changed, try again
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from collections.abc import Sequence

    from history.sessions import Sighting


class HistoryError(Exception):
    """Base of the tree."""

    code: ClassVar[str] = "history_error"


class RouteNotFound(HistoryError):
    code = "route_not_found"


class PayloadNotKept(HistoryError):
    code = "payload_not_kept"


class SessionNotFound(HistoryError):
    code = "session_not_found"


class SessionAmbiguous(HistoryError):
    """``sessions`` is what there is to choose from."""

    code = "session_ambiguous"

    def __init__(self, sessions: Sequence[Sighting]) -> None:
        super().__init__(f"{len(sessions)} access keys have a session of this name; say which with access_key")
        self.sessions = sessions


class StatusConflict(HistoryError):
    code = "status_conflict"


class JournalFull(HistoryError):
    code = "journal_full"


class BadQuery(HistoryError):
    """``field`` is the parameter at fault."""

    code = "invalid"

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field}: {message}")
        self.field = field
        self.message = message


class RangeTooLarge(HistoryError):
    code = "range_too_large"


class Busy(HistoryError):
    code = "busy"
