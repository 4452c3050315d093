"""Access keys: create (the value is shown once), change, revoke. Everything acts at once."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, NamedTuple

from django.contrib import admin, messages
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.http import HttpResponseRedirect
from django.urls import path
from django.utils.cache import add_never_cache_headers
from django.views.decorators.http import require_POST

from routes import draft, host
from routes.actions import access_keys as actions
from routes.actions.errors import ActionError, StaleVersion
from routes.admin.base import ADMIN, ConsoleModelAdmin, demand, posted_version, tell_refusal
from routes.admin.conflict import conflict_page
from routes.admin.forms.access_key import AccessKeyForm, initial_of
from routes.admin.profiles import is_published
from routes.admin.snippets import Snippets, example_model, snippets
from routes.admin.usage import Used, used
from routes.models import AccessKey, Profile

if TYPE_CHECKING:
    from collections.abc import Mapping

    from django.http import HttpRequest, HttpResponse
    from django.urls import URLPattern

    from routes.actions.access_keys import CreatedKey

#: What a limit is called in the list, after its figure.
LIMIT_WORDS = {
    "rpm": "requests/min",
    "tpm": "tokens/min",
    "concurrency": "at once",
    "usd_day": "USD/day",
    "usd_week": "USD/week",
    "usd_month": "USD/month",
}


class Row(NamedTuple):
    """``used`` tells the limits too; it is None when there are none, or nobody knows."""

    key: AccessKey
    limits: list[str]
    used: Used | None


@admin.register(AccessKey)
class AccessKeyAdmin(ConsoleModelAdmin):
    word = "access key"

    def get_urls(self) -> list[URLPattern]:
        revoke = self.admin_site.admin_view(require_POST(self.revoke_view))
        return [path("<uuid:pk>/revoke/", revoke, name="routes_accesskey_revoke"), *super().get_urls()]

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        if not self.has_view_permission(request):
            raise PermissionDenied
        rows = [Row(key, limit_words(draft.limits_of(key)), used_by(key)) for key in AccessKey.objects.order_by("name")]
        return self.page(request, "routes/accesskey_list.html", "Access keys", rows=rows)

    def add_view(
        self, request: HttpRequest, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        actor = demand(request, ADMIN)
        slugs = _slugs()
        if request.method != "POST":
            initial = {"scopes": ["route"], "profile": "default" if "default" in slugs else next(iter(slugs), "")}
            return self._form_page(request, AccessKeyForm(initial=initial, profile_slugs=slugs), None)
        form = AccessKeyForm(request.POST, profile_slugs=slugs)
        if not form.is_valid():
            return self._form_page(request, form, None)
        try:
            created = actions.create_access_key(form.document(), actor=actor)
        except ActionError as error:
            form.add_document_errors(error.fields, error.message)
            return self._form_page(request, form, None)
        return self._created_page(request, created)

    def _created_page(self, request: HttpRequest, created: CreatedKey) -> HttpResponse:
        """The only page that ever holds the value: an answer to the POST itself, never stored, never cached."""
        response = self.page(
            request,
            "routes/accesskey_created.html",
            f"Key {created.key.name}",
            key=created.key,
            value=created.value,
            snippets=_snippets(request, created),
            published=is_published(created.key.profile),
        )
        add_never_cache_headers(response)
        return response

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        if not self.has_view_permission(request):
            raise PermissionDenied
        key: AccessKey = self.find(unquote(object_id))
        if request.method != "POST":
            read_only = not request.user.has_perm(ADMIN)
            form = AccessKeyForm(initial=initial_of(key), profile_slugs=_slugs(), read_only=read_only)
            return self._form_page(request, form, key)
        actor = demand(request, ADMIN)
        form = AccessKeyForm(request.POST, initial=initial_of(key), profile_slugs=_slugs())
        if not form.is_valid() or "_edit" in request.POST:
            return self._form_page(request, form, key)
        changes = form.document()
        try:
            actions.update_access_key(key, changes, actor=actor, version=form.cleaned_data["version"])
        except StaleVersion:
            key.refresh_from_db()
            return conflict_page(self, request, key, draft.key_tree(key), changes)
        except ActionError as error:
            form.add_document_errors(error.fields, error.message)
            return self._form_page(request, form, key)
        messages.success(request, f"Access key {key.name} was saved. In force now, nothing to publish.")
        return HttpResponseRedirect(request.path)

    def _form_page(self, request: HttpRequest, form: AccessKeyForm, key: AccessKey | None) -> HttpResponse:
        wrong = set(form.errors) if form.is_bound else set()
        restricted = key is not None and (key.allowed_models is not None or key.allowed_profiles is not None)
        limited = key is not None and any(draft.limits_of(key).values())
        return self.page(
            request,
            "routes/accesskey_form.html",
            key.name if key else "Create access key",
            form=form,
            key=key,
            limited=limited,
            used=used_by(key) if key else None,
            open_groups={
                "restrictions": restricted or bool(wrong.intersection(form.restrictions)),
                "limits": limited or any(name.startswith("limits.") for name in wrong),
            },
        )

    def revoke_view(self, request: HttpRequest, pk: Any) -> HttpResponse:
        """Lock the key out, or let it in again; it stays in the list."""
        actor = demand(request, ADMIN)
        key: AccessKey = self.find(str(pk))
        enabled = request.POST.get("enabled") == "1"
        try:
            actions.update_access_key(key, {"enabled": enabled}, actor=actor)
        except ActionError as error:
            tell_refusal(request, error)
        else:
            verb = "works again" if enabled else "is revoked: it is refused everywhere within 2 seconds"
            messages.success(request, f"Access key {key.name} {verb}.")
        return HttpResponseRedirect(self.url("change", pk))

    def delete_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        actor = demand(request, ADMIN)
        key: AccessKey = self.find(unquote(object_id))
        if request.method == "POST":
            try:
                actions.revoke_access_key(key, actor=actor, version=posted_version(request))
            except ActionError as error:
                tell_refusal(request, error)
                return HttpResponseRedirect(self.url("delete", key.pk))
            messages.success(request, f"Access key {key.name} was deleted and is refused within 2 seconds.")
            return HttpResponseRedirect(self.url("changelist"))
        return self.page(
            request,
            "routes/delete.html",
            f"Delete access key {key.name}",
            name=key.name,
            version=key.version,
            consequence="Requests with it are refused within 2 seconds. Its history stays. This cannot be undone; "
            "to lock it out for a while, revoke it instead.",
            back_url=self.url("change", key.pk),
            list_url=self.url("changelist"),
            list_word="Access keys",
        )


def used_by(key: AccessKey) -> Used | None:
    """What the key has used of its limits; None when it has none, or the host's live state cannot be read."""
    usage = host.usage_of(key)
    return None if usage is None else used(key.limits, usage, time.time())


def limit_words(limits: Mapping[str, float]) -> list[str]:
    """The limits there are, in a few words each: ``60 requests/min``."""
    return [f"{limits[name]:,} {word}".replace(",", "\u202f") for name, word in LIMIT_WORDS.items() if limits.get(name)]


def _slugs() -> list[str]:
    return list(Profile.objects.order_by("slug").values_list("slug", flat=True))


def _snippets(request: HttpRequest, created: CreatedKey) -> Snippets | None:
    """Commands with the new value, if the key's profile exists."""
    profile = Profile.objects.prefetch_related("targets__provider").filter(slug=created.key.profile).first()
    if profile is None or "route" not in created.key.scopes:
        return None
    targets = list(profile.targets.all())
    model = example_model((target.model, target.provider.model_map) for target in targets)
    return snippets(request, profile.slug, {target.provider.wire for target in targets}, model, created.value)
