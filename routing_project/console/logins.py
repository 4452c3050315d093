"""Logging in and out: the form behind the login page, and one audit entry for each login, logout and failed login.

What is typed as a user name is only kept when there is a user of that name: people type their password there. Attempts
are throttled (``login_throttle``), those on **Change password** too; the ones that are refused for that leave one entry
together, and so do those at names that are nobody's when there are very many of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib.admin.forms import AdminAuthenticationForm
from django.contrib.auth.models import User
from django.core.exceptions import ValidationError

from routes.actions import audit
from routes.actions.actor import Actor
from routing_project.console import login_throttle

if TYPE_CHECKING:
    from django.http import HttpRequest
    from django.template.response import TemplateResponse

#: No user name has parentheses.
UNKNOWN = "(unknown)"
TOO_MANY_OF_NOBODY = "very many attempts at names that are nobody's: no more of them are recorded for {} s"
WRONG = "This user name and password do not go together, or the account is switched off."


class LoginForm(AdminAuthenticationForm):
    """``wait``: for how many seconds nobody may try again."""

    error_messages = {"invalid_login": WRONG, "inactive": WRONG}
    wait = 0

    def clean(self) -> dict[str, Any]:
        name, actor = self.cleaned_data.get("username"), Actor.stranger(self.request)
        if not name or not self.cleaned_data.get("password"):
            return super().clean()
        wait = login_throttle.take(actor.client_ip, name)
        if wait.seconds:
            self.wait = wait.seconds
            record_throttled(actor, name, wait)
            raise ValidationError(too_many(wait.seconds), code="throttled")
        try:
            cleaned = super().clean()
        except ValidationError:
            _record("user.login_failed", actor, name, "wrong password, or the account is switched off")
            raise
        login_throttle.succeeded(actor.client_ip, name)
        return cleaned


def too_many(seconds: int) -> str:
    """What somebody is told who has to wait."""
    minutes = -(-seconds // 60)
    wait = f"{seconds} seconds" if seconds < 60 else f"{minutes} minute{'s' if minutes > 1 else ''}"
    return f"Too many failed attempts. Try again in {wait}."


def told(response: TemplateResponse) -> TemplateResponse:
    """The login page as it goes out: 429 with the time to wait where the form was throttled."""
    form = (response.context_data or {}).get("form")
    if isinstance(form, LoginForm) and form.wait:
        response.status_code = 429
        response["Retry-After"] = str(form.wait)
    return response


def record_login(sender: Any, request: HttpRequest, user: User, **_: Any) -> None:
    """Receiver of ``user_logged_in``."""
    _record("user.login", Actor.user(user, request), user.username)


def record_logout(sender: Any, request: HttpRequest, user: User | None, **_: Any) -> None:
    """Receiver of ``user_logged_out``; whoever was not logged in leaves no entry."""
    if user is not None:
        _record("user.logout", Actor.user(user, request), user.username)


def record_throttled(actor: Actor, name: str, wait: login_throttle.Wait, where: str = "") -> None:
    """One entry for all attempts that are refused until the wait is over. ``where`` they were: "" = the login page."""
    if wait.first:
        said = f"no more attempts for {wait.seconds} s"
        _record("user.login_throttled", actor, name, f"{where}: {said}" if where else said)


def record_wrong_password(actor: Actor, name: str) -> None:
    """Somebody at an open session did not know its password. As many entries as there may be attempts."""
    _record("user.password_failed", actor, name, "wrong present password")


def _record(action: str, actor: Actor, name: str, reason: str = "") -> None:
    user = User.objects.filter(username=name).first() if "\x00" not in name else None
    if user is None and (wait := login_throttle.take_entry_of_nobody()).seconds:
        if not wait.first:
            return
        action, reason = "user.login_throttled", TOO_MANY_OF_NOBODY.format(wait.seconds)
    audit.record(
        actor,
        action,
        category="auth",
        object_type="user",
        object_id=user.pk if user else "",
        object_name=user.username if user else UNKNOWN,
        reason=reason,
    )
