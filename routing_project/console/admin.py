"""Users and roles in the console: Django's own pages, with what this product does not use left out.

A role is one of Django's groups; what each may do is granted in ``routes.roles``. Every change writes its audit
entry; of a password only that it changed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib import admin
from django.contrib.auth.admin import GroupAdmin, UserAdmin
from django.contrib.auth.models import Group, User

from routes.actions.actor import Actor
from routes.actions.audit import record
from routing_project.console.templatetags.console import utc

if TYPE_CHECKING:
    from django.contrib.admin.models import LogEntry
    from django.db.models import ManyToManyField, QuerySet
    from django.http import HttpRequest

    BaseUserAdmin = UserAdmin[User]
    ModelAdmin = admin.ModelAdmin[Any]
else:
    BaseUserAdmin = UserAdmin  # generic for the type checker only
    ModelAdmin = admin.ModelAdmin

admin.site.unregister(User)
admin.site.unregister(Group)


def _plain(value: Any) -> Any:
    """A form's value as an audit entry keeps it: names instead of rows."""
    if isinstance(value, str | bool | int | None):
        return value
    return sorted(str(each) for each in value) if hasattr(value, "__iter__") else str(value)


class Audited(ModelAdmin):
    """Django's own log of the admin, told again to the audit trail: it is called for every way to change a row."""

    def construct_change_message(self, request: HttpRequest, form: Any, formsets: Any, add: bool = False) -> Any:
        changes: dict[str, Any] = {}
        for name in form.changed_data:
            if "password" in name:
                changes["password"] = "changed"  # noqa: S105 - that it changed, never what it is
            else:
                changes[name] = [None if add else _plain(form.initial.get(name)), _plain(form.cleaned_data.get(name))]
        request.META["signalbox.audit"] = changes
        return super().construct_change_message(request, form, formsets, add)

    def log_addition(self, request: HttpRequest, obj: Any, message: Any) -> LogEntry:
        self._tell(request, obj, "created")
        return super().log_addition(request, obj, message)

    def log_change(self, request: HttpRequest, obj: Any, message: Any) -> LogEntry:
        self._tell(request, obj, "updated")
        return super().log_change(request, obj, message)

    def log_deletions(self, request: HttpRequest, queryset: Any) -> Any:
        for obj in queryset:
            self._tell(request, obj, "deleted")
        return super().log_deletions(request, queryset)

    def _tell(self, request: HttpRequest, obj: Any, verb: str) -> None:
        kind = "role" if isinstance(obj, Group) else "user"
        record(
            Actor.user(request.user, request),
            f"{kind}.{verb}",
            category="admin",
            object_type=kind,
            object_id=obj.pk,
            object_name=str(obj),
            changes=request.META.get("signalbox.audit"),
        )


@admin.register(User)
class ConsoleUserAdmin(Audited, BaseUserAdmin):
    list_display = ("username", "roles", "is_active", "last_seen")
    list_filter = ()
    search_fields = ()
    actions = None
    fieldsets = (
        (None, {"fields": ("username", "password")}),
        ("Role", {"fields": ("groups", "is_superuser", "is_active")}),
        ("About", {"fields": ("first_name", "last_name", "email")}),
    )
    add_fieldsets = ((None, {"fields": ("username", "usable_password", "password1", "password2", "groups")}),)

    @admin.display(description="Role")
    def roles(self, user: User) -> str:
        names = [group.name for group in user.groups.all()]
        return "Admin (superuser)" if user.is_superuser else ", ".join(names) or "none"

    @admin.display(description="Last login", ordering="last_login", empty_value="never")
    def last_seen(self, user: User) -> str | None:
        return utc(user.last_login) if user.last_login else None

    def get_queryset(self, request: HttpRequest) -> QuerySet[User]:
        return super().get_queryset(request).prefetch_related("groups")

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        """Only a superuser sees and gives superuser status."""
        found = super().get_fieldsets(request, obj)
        if getattr(request.user, "is_superuser", False):
            return found
        return [
            (title, {**options, "fields": tuple(name for name in options["fields"] if name != "is_superuser")})
            for title, options in found
        ]

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """An admin who is no superuser does not edit one: that would be a way to become one."""
        if obj is not None and obj.is_superuser and not getattr(request.user, "is_superuser", False):
            return False
        return super().has_change_permission(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        if obj is not None and obj.is_superuser and not getattr(request.user, "is_superuser", False):
            return False
        return super().has_delete_permission(request, obj)

    def formfield_for_manytomany(self, db_field: ManyToManyField[Any, Any], request: Any, **kwargs: Any) -> Any:
        if db_field.name == "groups":
            return forms.ModelMultipleChoiceField(
                queryset=Group.objects.order_by("name"),
                widget=forms.CheckboxSelectMultiple,
                required=False,
                label="Role",
                help_text="Viewers see everything but credentials; operators also act on health; admins change it all.",
            )
        return super().formfield_for_manytomany(db_field, request, **kwargs)

    def formfield_for_dbfield(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        field = super().formfield_for_dbfield(db_field, request, **kwargs)
        if db_field.name == "groups" and field is not None:
            field.widget.can_add_related = False
        return field

    def save_model(self, request: HttpRequest, obj: User, form: Any, change: bool) -> None:
        """Whoever has an account here may log in here; what they may do is the role's matter."""
        if not change:
            obj.is_staff = True
        super().save_model(request, obj, form, change)


@admin.register(Group)
class ConsoleGroupAdmin(Audited, GroupAdmin):
    search_fields = ()
    filter_horizontal = ()
    actions = None
