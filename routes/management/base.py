"""What our commands share: errors as lines on stderr and exit status 1, logs on stderr, never a
traceback. What one run of a command does has one request id, as what one request does."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, NoReturn

from django.core.management.base import BaseCommand
from django.db.utils import DatabaseError

from routes.actions.errors import ActionError, Invalid
from routes.document import DocumentError
from routing_project import request_ids
from routing_project.env import EnvError

if TYPE_CHECKING:
    from collections.abc import Callable

    from routes.actions.actor import Actor


class ControlCommand(BaseCommand):
    """Subclasses do their work in ``run`` and print results only to ``self.stdout``."""

    run: Callable[..., None]

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            with request_ids.bound(request_ids.current() or request_ids.new()):
                self.run(**options)
        except Invalid as error:
            self.refuse(*error.lines())
        except DocumentError as error:
            self.refuse(*Invalid.from_errors(error.errors).lines())
        except ActionError as error:
            self.refuse(error.message)
        except EnvError as error:
            self.refuse(str(error))
        except DatabaseError as error:
            self.refuse(f"database: {str(error).splitlines()[0] if str(error) else type(error).__name__}")

    def actor(self) -> Actor:
        from routes.actions.actor import Actor

        return Actor.command(type(self).__module__.rpartition(".")[2])

    def refuse(self, *lines: str) -> NoReturn:
        """End with status 1; nothing has been changed."""
        for line in lines:
            self.stderr.write(line)
        sys.exit(1)
