"""The page on which an admin takes the demo out again; what that does is in ``demo``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.contrib import messages
from django.http import Http404
from django.shortcuts import redirect
from django.template.response import TemplateResponse

from routes.actions.errors import ActionError
from routes.admin.base import ADMIN, FOLLOWS, demand, tell_refusal
from routing_project import announce
from routing_project.console import demo
from routing_project.env import get_env

if TYPE_CHECKING:
    from django.contrib.admin import AdminSite
    from django.http import HttpRequest, HttpResponse


def remove_page(request: HttpRequest, site: AdminSite) -> HttpResponse:
    """GET asks, POST does it. 404 once there is no demo."""
    actor = demand(request, ADMIN)
    env = get_env()
    loaded = announce.demo(env)
    if not loaded:
        raise Http404("There is no demo.")
    if request.method == "POST":
        try:
            published = demo.remove(env, actor)
        except ActionError as error:
            tell_refusal(request, error)
        else:
            rest = FOLLOWS if published else "Your other changes wait with it in the draft: review and publish them."
            messages.success(request, f"The demo is gone. {rest}")
            return redirect("admin:index")
    names = [each["name"] for each in loaded["providers"]]
    context = {**site.each_context(request), "title": "Remove the demo", "names": names, "key_name": demo.KEY_NAME}
    return TemplateResponse(request, "console/demo_remove.html", context)
