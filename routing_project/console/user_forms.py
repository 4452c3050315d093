"""The forms of people's accounts. What is allowed is decided by ``routes.actions.users``; here is how it is asked."""

from __future__ import annotations

from typing import Any, ClassVar

from django import forms
from django.contrib.auth.models import Group
from django.utils.html import format_html

from routes.admin.forms.base import ConsoleForm
from routes.roles import ROLES

NEW = forms.PasswordInput(attrs={"autocomplete": "new-password"})
RULES = "At least 10 characters, and none of the passwords that everybody uses."


class AccountForm(ConsoleForm):
    """``superuser``: whether the person who edits may give and take that status."""

    username = forms.CharField(
        label="User name",
        max_length=150,
        help_text="Letters, digits and <code>. @ + - _</code>; shown in the audit log.",
        widget=forms.TextInput(attrs={"autocomplete": "off", "autocapitalize": "none", "spellcheck": "false"}),
    )
    roles = forms.MultipleChoiceField(
        label="Role",
        required=False,
        widget=forms.CheckboxSelectMultiple,
        help_text="Each role includes those above it. Without any, somebody can log in and see nothing.",
    )
    is_active = forms.BooleanField(
        label="May log in",
        required=False,
        help_text="Switched off, the person is logged out everywhere within 2 seconds and cannot log in again.",
    )
    is_superuser = forms.BooleanField(
        label="Superuser",
        required=False,
        help_text="May do everything whatever the roles say, and change other superusers.",
    )
    first_name = forms.CharField(label="First name", max_length=150, required=False)
    last_name = forms.CharField(label="Last name", max_length=150, required=False)
    email = forms.CharField(label="E-mail", max_length=254, required=False, widget=forms.EmailInput)

    def __init__(self, *args: Any, superuser: bool, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        roles = self.fields["roles"]
        assert isinstance(roles, forms.MultipleChoiceField)
        roles.choices = role_choices()
        if not superuser:
            del self.fields["is_superuser"]

    def document(self) -> dict[str, Any]:
        """The account as the action takes it; what the form did not ask is left out."""
        return {name: value for name, value in self.cleaned_data.items() if name in self.asked}

    asked: ClassVar[frozenset[str]] = frozenset(
        {"username", "roles", "is_active", "is_superuser", "first_name", "last_name", "email"}
    )


class PasswordForm(ConsoleForm):
    password = forms.CharField(label="New password", strip=False, widget=NEW, help_text=RULES)
    again = forms.CharField(label="The same again", strip=False, widget=NEW)

    def clean(self) -> dict[str, Any]:
        values: dict[str, Any] = super().clean() or self.cleaned_data
        if values.get("password") and values.get("again") and values["password"] != values["again"]:
            self.add_error("again", "This is not the same password.")
        return values


class OwnPasswordForm(PasswordForm):
    old = forms.CharField(
        label="Your password now",
        strip=False,
        widget=forms.PasswordInput(attrs={"autocomplete": "current-password", "autofocus": True}),
    )
    field_order = ("old", "password", "again")


class NewAccountForm(AccountForm, PasswordForm):
    asked = AccountForm.asked - {"is_active"} | {"password"}
    field_order = ("username", "password", "again")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        del self.fields["is_active"]
        self.fields["password"].label = "Password"


def role_choices() -> list[tuple[str, Any]]:
    """The three roles with what each may do, then what groups an installation made itself. One query."""
    own = Group.objects.exclude(name__in=ROLES).order_by("name").values_list("name", flat=True)
    known = [(name, format_html("{} <small>{}</small>", name, description)) for name, description in ROLES.items()]
    return [*known, *((name, name) for name in own)]
