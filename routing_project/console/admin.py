"""Users and roles in the console. Every write goes through ``routes.actions.users``, as over REST.

The models are Django's, the pages the console's own. Roles are the three of ``routes.roles``: what they may do is part
of the product, so their page only tells it, and who has them. Groups that an installation made itself once still give
what they gave, and can be removed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from django.contrib import admin, messages
from django.contrib.admin.utils import unquote
from django.contrib.auth import update_session_auth_hash
from django.contrib.auth.admin import GroupAdmin, UserAdmin
from django.contrib.auth.models import Group, User
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpResponseRedirect
from django.urls import path
from django.utils.decorators import method_decorator
from django.views.decorators.debug import sensitive_post_parameters

from routes import actions
from routes.actions import users
from routes.actions.errors import ActionError, Forbidden, InUse, StaleVersion
from routes.admin.base import ADMIN, ConsoleModelAdmin, demand, posted_version, tell_refusal
from routes.admin.conflict import conflict_page
from routes.roles import ROLES, scopes_of_groups
from routing_project.console.user_forms import AccountForm, NewAccountForm, PasswordForm

if TYPE_CHECKING:
    from collections.abc import Sequence

    from django.db.models import Model
    from django.http import HttpRequest, HttpResponse
    from django.urls import URLPattern

    from routing_project.console.user_forms import OwnPasswordForm

# Importing Django's pages registers them, which must have happened before they are taken out.
assert issubclass(UserAdmin, admin.ModelAdmin)
assert issubclass(GroupAdmin, admin.ModelAdmin)
admin.site.unregister(User)
admin.site.unregister(Group)


class PeopleAdmin(ConsoleModelAdmin):
    """People's details are for admins, to look at too."""

    def has_view_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return request.user.has_perm(ADMIN)


@admin.register(User)
class ConsoleUserAdmin(PeopleAdmin):
    word = "user"

    def get_urls(self) -> list[URLPattern]:
        # Passwords are in no report of an error.
        password = self.admin_site.admin_view(sensitive_post_parameters()(self.password_view))
        return [path("<id>/password/", password, name="auth_user_password_change"), *super().get_urls()]

    def rows(self) -> Any:
        return User.objects.prefetch_related("groups")

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """An admin who is no superuser does not edit one: that would be a way to become one."""
        allowed = super().has_change_permission(request, obj)
        return allowed and not (isinstance(obj, User) and obj.is_superuser and not is_superuser(request))

    has_delete_permission = has_change_permission

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        if not self.has_view_permission(request):
            raise PermissionDenied
        people = [(user, roles_of(user)) for user in self.rows().order_by("username")]
        return self.page(request, "console/users/list.html", "Users", people=people)

    @method_decorator(sensitive_post_parameters())
    def add_view(
        self, request: HttpRequest, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        actor = demand(request, ADMIN)
        form = NewAccountForm(request.POST or None, superuser=is_superuser(request))
        if form.is_valid():
            try:
                user = actions.create_user(form.document(), actor=actor)
            except ActionError as error:
                refuse(form, error)
            else:
                messages.success(request, f"User {user.username} was added and can log in now.")
                return HttpResponseRedirect(self.url("changelist"))
        return self.page(request, "console/users/form.html", "Add user", form=form, person=None)

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        actor = demand(request, ADMIN)
        user: User = self.find(unquote(object_id))
        editable = self.has_change_permission(request, user)
        initial = {**users.tree(user), "version": users.version_of(user)}
        superuser = is_superuser(request) or user.is_superuser
        if request.method != "POST":
            form = AccountForm(initial=initial, superuser=superuser, read_only=not editable)
            return self._form_page(request, form, user, editable)
        if not editable:
            raise PermissionDenied
        form = AccountForm(request.POST, initial=initial, superuser=superuser)
        if not form.is_valid() or "_edit" in request.POST:
            return self._form_page(request, form, user, editable)
        changes = form.document()
        try:
            actions.update_user(user, changes, actor=actor, version=form.cleaned_data["version"])
        except StaleVersion:
            user = self.find(str(user.pk))
            return conflict_page(self, request, user, users.tree(user), changes, version=users.version_of(user))
        except ActionError as error:
            refuse(form, error)
            return self._form_page(request, form, user, editable)
        messages.success(request, f"User {changes['username']} was saved. In force now.")
        return HttpResponseRedirect(self.url("changelist"))

    def _form_page(self, request: HttpRequest, form: AccountForm, user: User, editable: bool) -> HttpResponse:
        context: dict[str, Any] = {
            "form": form,
            "person": user,
            "editable": editable,
            "own": user.pk == request.user.pk,
        }
        return self.page(request, "console/users/form.html", user.username, **context)

    def password_view(self, request: HttpRequest, id: str) -> HttpResponse:  # noqa: A002 - the name in the address
        """Somebody else's new password, set by an admin."""
        actor = demand(request, ADMIN)
        user: User = self.find(unquote(id))
        if not self.has_change_permission(request, user):
            raise PermissionDenied
        form = PasswordForm(request.POST or None)
        if form.is_valid():
            try:
                user = actions.update_user(user, {"password": form.cleaned_data["password"]}, actor=actor)
            except ActionError as error:
                refuse(form, error)
            else:
                stay_logged_in(request, user)
                messages.success(request, f"{user.username} has a new password, and is logged out everywhere.")
                return HttpResponseRedirect(self.url("change", user.pk))
        return self.page(
            request,
            "console/users/password.html",
            f"Set the password of {user.username}",
            form=form,
            whose=user.username,
            lede="Tell it over a way that you trust. All sessions of the user end within 2 seconds.",
            back_url=self.url("change", user.pk),
        )

    def delete_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        actor = demand(request, ADMIN)
        user: User = self.find(unquote(object_id))
        if not self.has_delete_permission(request, user):
            raise PermissionDenied
        if request.method == "POST":
            try:
                actions.delete_user(user, actor=actor, version=posted_version(request))
            except ActionError as error:
                tell_refusal(request, error)
                return HttpResponseRedirect(self.url("change", user.pk))
            messages.success(request, f"User {user.username} was deleted.")
            return HttpResponseRedirect(self.url("changelist"))
        return self.page(
            request,
            "routes/delete.html",
            f"Delete user {user.username}",
            name=user.username,
            version=users.version_of(user),
            consequence="The user is logged out everywhere within 2 seconds. What the user did stays in the audit log. "
            "This cannot be undone; to keep somebody out for a while, take “May log in” away instead.",
            back_url=self.url("change", user.pk),
            list_url=self.url("changelist"),
            list_word="Users",
        )


class Role(NamedTuple):
    group: Group
    description: str
    scopes: Sequence[str]
    people: Sequence[User]
    own: bool  # made by the installation itself


@admin.register(Group)
class ConsoleGroupAdmin(PeopleAdmin):
    word = "role"

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def add_view(
        self, request: HttpRequest, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        raise PermissionDenied

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        if not self.has_view_permission(request):
            raise PermissionDenied
        groups = list(Group.objects.prefetch_related("user_set", "permissions__content_type"))
        places = {name: place for place, name in enumerate(ROLES)}
        groups.sort(key=lambda group: (places.get(group.name, len(places)), group.name))
        roles = [
            Role(
                group,
                ROLES.get(group.name, ""),
                scopes_of_groups([group]),
                sorted(group.user_set.all(), key=lambda user: user.username),
                group.name not in ROLES,
            )
            for group in groups
        ]
        superusers = User.objects.filter(is_superuser=True).order_by("username")
        return self.page(request, "console/users/roles.html", "Roles", roles=roles, superusers=superusers)

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        if not self.has_view_permission(request):
            raise PermissionDenied
        return HttpResponseRedirect(self.url("changelist"))

    def delete_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        actor = demand(request, ADMIN)
        group: Group = self.find(unquote(object_id))
        if group.name in ROLES:
            raise Http404("The three roles stay.")
        context: dict[str, Any] = {
            "name": group.name,
            "consequence": "Nobody has it. This cannot be undone.",
            "back_url": self.url("changelist"),
            "list_url": self.url("changelist"),
            "list_word": "Roles",
        }
        if request.method == "POST":
            try:
                actions.delete_role(group, actor=actor)
            except InUse as error:
                context |= {"refusal": "It is still given to somebody", "used_by": [{"word": w} for w in error.used_by]}
            except ActionError as error:
                tell_refusal(request, error)
                return HttpResponseRedirect(self.url("changelist"))
            else:
                messages.success(request, f"Role {group.name} was deleted.")
                return HttpResponseRedirect(self.url("changelist"))
        return self.page(request, "routes/delete.html", f"Delete role {group.name}", **context)


def is_superuser(request: HttpRequest) -> bool:
    return bool(getattr(request.user, "is_superuser", False))


def roles_of(user: User) -> list[str]:
    """The roles in their order, as the list says them."""
    names = sorted((group.name for group in user.groups.all()), key=lambda name: (name not in ROLES, name))
    names.sort(key=[*ROLES, *names].index)
    return ["Superuser", *names] if user.is_superuser else names


def refuse(form: AccountForm | PasswordForm | OwnPasswordForm, error: ActionError) -> None:
    """What an action says, at the fields that it is about."""
    if isinstance(error, Forbidden):
        raise PermissionDenied from error
    form.add_document_errors(error.fields, f"{error.message[:1].upper()}{error.message[1:]}.")


def stay_logged_in(request: HttpRequest, user: User) -> None:
    """Whoever changes his own password keeps the session in which he does, and loses every other."""
    if user.pk == request.user.pk:
        update_session_auth_hash(request, user)
