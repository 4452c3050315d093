"""The routing policy: what holds for every profile. One form; draft until published."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import HttpResponseRedirect

from routes import draft
from routes.actions.errors import ActionError, StaleVersion
from routes.actions.sections import update_policy
from routes.admin.base import ADMIN, ConsoleModelAdmin, demand
from routes.admin.conflict import conflict_page
from routes.admin.forms.policy import PolicyForm
from routes.admin.forms.strategies import word
from routes.admin.saving import saved
from routes.engine import strategies
from routes.engine.settings import Policy as EnginePolicy
from routes.models import Policy

if TYPE_CHECKING:
    from collections.abc import Callable

    from django.http import HttpRequest, HttpResponse


@admin.register(Policy)
class PolicyAdmin(ConsoleModelAdmin):
    word = "policy"

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        if not self.has_view_permission(request):
            raise PermissionDenied
        row = Policy.get()
        initial = {**draft.policy_tree(row), "version": row.version}
        if request.method != "POST":
            read_only = not request.user.has_perm(ADMIN)
            return self._form_page(request, PolicyForm(initial=initial, read_only=read_only))
        actor = demand(request, ADMIN)
        form = PolicyForm(request.POST, initial=initial)
        if not form.is_valid() or "_edit" in request.POST:
            return self._form_page(request, form)
        changes = form.document()
        try:
            update_policy(changes, actor=actor, version=form.cleaned_data["version"])
        except StaleVersion:
            row.refresh_from_db()
            return conflict_page(self, request, row, draft.policy_tree(row), changes)
        except ActionError as error:
            form.add_document_errors(error.fields, error.message)
            return self._form_page(request, form)
        return saved(request, actor, "routing policy", request.path, created=False)

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """There is one policy, and its page is the list's."""
        return HttpResponseRedirect(self.url("changelist"))

    def _form_page(self, request: HttpRequest, form: PolicyForm) -> HttpResponse:
        return self.page(request, "routes/policy_form.html", "Routing policy", form=form)


def note_of_strategies(tree: dict[str, Any]) -> Callable[[str], str]:
    """Says of a strategy's name what ranks instead of it by this policy, or ""."""
    policy = EnginePolicy(**tree)
    default = strategies.get(policy.default_strategy)
    instead = default if strategies.allowed(default, policy) else strategies.get(strategies.DEFAULT)

    def note(name: str) -> str:
        strategy = strategies.REGISTRY.get(name)
        if strategy is None or strategies.allowed(strategy, policy):
            return ""
        return f"Switched off in the routing policy; {word(instead.name)} ranks instead."

    return note
