"""Saving from a form: the action, then publishing if that was the button, then where to go and what to say.

A stale version becomes the conflict page, any other refusal goes back to the fields it is about.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.contrib import messages
from django.http import HttpResponseRedirect

from routes.actions.errors import ActionError
from routes.actions.revisions import publish
from routes.admin.base import FOLLOWS

if TYPE_CHECKING:
    from django.http import HttpRequest, HttpResponse

    from routes.actions.actor import Actor


def saved(request: HttpRequest, actor: Actor, what: str, url: str, *, created: bool) -> HttpResponse:
    """After a successful save: publish if asked to, tell what happened, go to ``url``.

    The draft is kept when publishing is refused (something else in it may be wrong); the message says so.
    """
    verb = "added" if created else "saved"
    if "_publish" in request.POST:
        try:
            revision = publish(message=f"{'Added' if created else 'Edited'} {what}", actor=actor)
        except ActionError as error:
            messages.warning(request, f"{what.capitalize()} was {verb} as a draft, but not published: {error.message}")
        else:
            messages.success(
                request,
                f"{what.capitalize()} was {verb} and published as revision {revision.number}. {FOLLOWS}",
            )
    else:
        messages.success(request, f"{what.capitalize()} was {verb} as a draft. Traffic changes when you publish it.")
    return HttpResponseRedirect(url)
