"""The page on which people change their own password. Whoever sits at somebody else's open session does not know the
old one, and may guess it as rarely as on the login page, on record as there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.contrib import messages
from django.contrib.auth.models import User
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.views.decorators.debug import sensitive_post_parameters

from routes import actions
from routes.actions.actor import Actor
from routes.actions.errors import ActionError
from routing_project.console import login_throttle
from routing_project.console.admin import refuse, stay_logged_in
from routing_project.console.logins import record_throttled, record_wrong_password, too_many
from routing_project.console.user_forms import OwnPasswordForm

if TYPE_CHECKING:
    from django.contrib.admin import AdminSite
    from django.http import HttpRequest, HttpResponse


@sensitive_post_parameters()
def password_page(request: HttpRequest, site: AdminSite) -> HttpResponse:
    assert isinstance(request.user, User)
    form = OwnPasswordForm(request.POST or None)
    wait = 0
    if form.is_valid():
        actor, user = Actor.user(request.user, request), request.user
        throttled = login_throttle.take(actor.client_ip, user.username)
        wait = throttled.seconds
        if wait:
            record_throttled(actor, user.username, throttled, "on Change password")
            form.add_error("old", too_many(wait))
        elif not user.check_password(form.cleaned_data["old"]):
            record_wrong_password(actor, user.username)
            form.add_error("old", "This is not your password.")
        else:
            login_throttle.succeeded(actor.client_ip, user.username)
            try:
                user = actions.change_own_password(user, form.cleaned_data["password"], actor=actor)
            except ActionError as error:
                refuse(form, error)
            else:
                stay_logged_in(request, user)
                messages.success(request, "Your password is changed. You are logged out everywhere else.")
                return redirect("admin:index")
    context = {
        **site.each_context(request),
        "title": "Change your password",
        "lede": "All your other sessions end with it.",
        "whose": request.user.get_username(),
        "form": form,
        "back_url": reverse("admin:index"),
    }
    headers = {"Retry-After": str(wait)} if wait else None
    return TemplateResponse(
        request, "console/users/password.html", context, status=429 if wait else 200, headers=headers
    )
