"""Users and roles in the console: Django's own pages, with what this product does not use left out.

A role is one of Django's groups; what each may do is granted in ``routes.roles``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib import admin
from django.contrib.auth.admin import GroupAdmin, UserAdmin
from django.contrib.auth.models import Group, User

from routing_project.console.templatetags.console import utc

if TYPE_CHECKING:
    from django.db.models import ManyToManyField, QuerySet
    from django.http import HttpRequest

    BaseUserAdmin = UserAdmin[User]
else:
    BaseUserAdmin = UserAdmin  # generic for the type checker only

admin.site.unregister(User)
admin.site.unregister(Group)


@admin.register(User)
class ConsoleUserAdmin(BaseUserAdmin):
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
class ConsoleGroupAdmin(GroupAdmin):
    search_fields = ()
    filter_horizontal = ()
    actions = None
