"""Request ids through Celery: into the headers of a message where a task is sent, onto the lines of the worker while it
runs, and so on to the tasks that it sends itself.

A tick of the schedule is nobody's request: its lines have the task's name and id alone. ``connect`` is called once,
where the application is made. Must not import Django.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Final

from celery import signals

from routing_project import logs, request_ids

if TYPE_CHECKING:
    from celery import Task

HEADER: Final = "signalbox_request_id"
#: Where a running task keeps what is to be undone at its end.
_BOUND: Final = "signalbox_bound"


def connect() -> None:
    signals.before_task_publish.connect(_send_along)
    signals.task_prerun.connect(_take_over)
    signals.task_postrun.connect(_let_go)


def _send_along(headers: dict[str, Any] | None = None, **_named: Any) -> None:
    if headers is not None and (request_id := request_ids.current()):
        headers[HEADER] = request_id


def _take_over(task_id: str, task: Task, **_named: Any) -> None:
    given = task.request.get(HEADER)
    fields = {"task": task.name, "task_id": task_id}
    if isinstance(given, str) and request_ids.is_plain(given):
        fields[request_ids.FIELD] = given
    undo = ExitStack()
    undo.enter_context(logs.bound(**fields))
    setattr(task.request, _BOUND, undo)


def _let_go(task: Task, **_named: Any) -> None:
    undo = getattr(task.request, _BOUND, None)
    if isinstance(undo, ExitStack):
        undo.close()
