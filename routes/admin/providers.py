"""Providers: list, form, admin state at once, deletion that names who still uses it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from django.contrib import admin, messages
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.db.models import Q
from django.http import HttpResponseRedirect
from django.urls import path
from django.views.decorators.http import require_POST

from routes import draft, ports
from routes.actions import providers as actions
from routes.actions.admin_states import set_admin_state
from routes.actions.errors import ActionError, InUse, StaleVersion
from routes.admin.base import ADMIN, OPERATE, ConsoleModelAdmin, demand, posted_version, tell_refusal
from routes.admin.conflict import conflict_page
from routes.admin.forms.provider import ProviderForm, initial_of
from routes.admin.saving import saved
from routes.document.provider import Circuit, Probe, Quarantine
from routes.models import Profile, Provider

if TYPE_CHECKING:
    from collections.abc import Iterator

    from django.http import HttpRequest, HttpResponse
    from django.urls import URLPattern

    from routes.ports import ProviderHealth, ProviderTraffic

FOLDED = {
    "request": ("headers", "query", "proxy"),
    "circuit": tuple(f"circuit.{name}" for name in Circuit.model_fields),
    "quarantine": tuple(f"quarantine.{name}" for name in Quarantine.model_fields),
    "probe": tuple(f"probe.{name}" for name in Probe.model_fields),
    "heads": ("fallback_to_base_url", "head_networks"),
}
STATE_WORDS = {
    "active": "takes requests again",
    "draining": "takes no new requests; those under way end by themselves",
    "disabled": "takes no requests",
}


class Row(NamedTuple):
    provider: Provider
    profiles: list[Profile]
    traffic: ProviderTraffic | None
    health: ProviderHealth | None  # None: not live


@admin.register(Provider)
class ProviderAdmin(ConsoleModelAdmin):
    word = "provider"

    def get_urls(self) -> list[URLPattern]:
        state = self.admin_site.admin_view(require_POST(self.state_view))
        return [path("<uuid:pk>/state/", state, name="routes_provider_state"), *super().get_urls()]

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        if not self.has_view_permission(request):
            raise PermissionDenied
        traffic, health = ports.provider_traffic(), ports.provider_health()
        users: dict[Any, list[Profile]] = {}
        for profile in draft.profiles_with_targets():
            for provider_id in dict.fromkeys(place.provider_id for place in _places(profile)):
                users.setdefault(provider_id, []).append(profile)
        rows = [
            Row(provider, users.get(provider.pk, []), traffic.get(provider.slug), health.get(provider.slug))
            for provider in Provider.objects.order_by("slug")
        ]
        return self.page(request, "routes/provider_list.html", "Providers", rows=rows)

    # -- form -----------------------------------------------------------------------------------------------
    def add_view(
        self, request: HttpRequest, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        actor = demand(request, ADMIN)
        if request.method != "POST":
            initial = {
                "network": Provider.Network.PUBLIC,
                "weight": 1,
                "max_concurrency": 0,
                "stream_usage": True,
                **{f"circuit.{name}": value for name, value in Circuit().model_dump().items()},
                **{f"quarantine.{name}": value for name, value in Quarantine().model_dump().items()},
                **{f"probe.{name}": value for name, value in Probe().model_dump(exclude={"kind"}).items()},
            }
            return self._form_page(request, ProviderForm(initial=initial), None)
        form = ProviderForm(request.POST)
        if not form.is_valid():
            return self._form_page(request, form, None)
        data = form.document()
        if secret := form.cleaned_data["credential"]:
            data["credential"] = {"value": secret}
        try:
            provider = actions.create_provider(data, actor=actor)
        except ActionError as error:
            form.add_document_errors(error.fields, error.message)
            return self._form_page(request, form, None)
        url = self.url("changelist")
        return saved(request, actor, f"provider {provider.slug}", url, created=True)

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        if not self.has_view_permission(request):
            raise PermissionDenied
        provider: Provider = self.find(unquote(object_id))
        if request.method != "POST":
            form = ProviderForm(initial=initial_of(provider), read_only=not request.user.has_perm(ADMIN))
            form.fields["slug"].disabled = True
            return self._form_page(request, form, provider)
        actor = demand(request, ADMIN)
        form = ProviderForm(request.POST, initial=initial_of(provider))
        form.fields["slug"].disabled = True
        if not form.is_valid() or "_edit" in request.POST:
            return self._form_page(request, form, provider)
        changes = form.document()
        if secret := form.cleaned_data["credential"]:
            changes["credential"] = {"value": secret}
        elif form.cleaned_data["remove_credential"]:
            changes["credential"] = None
        try:
            actions.update_provider(provider, changes, actor=actor, version=form.cleaned_data["version"])
        except StaleVersion:
            provider.refresh_from_db()
            return conflict_page(self, request, provider, draft.provider_tree(provider), form.document())
        except ActionError as error:
            form.add_document_errors(error.fields, error.message)
            return self._form_page(request, form, provider)
        return saved(request, actor, f"provider {provider.slug}", request.path, created=False)

    def _form_page(self, request: HttpRequest, form: ProviderForm, provider: Provider | None) -> HttpResponse:
        wrong = set(form.errors) if form.is_bound else set()
        return self.page(
            request,
            "routes/provider_form.html",
            provider.name if provider else "Add provider",
            form=form,
            provider=provider,
            open_groups={group: bool(wrong.intersection(names)) for group, names in FOLDED.items()},
        )

    # -- at once ----------------------------------------------------------------------------------------------
    def state_view(self, request: HttpRequest, pk: Any) -> HttpResponse:
        """Enable, drain or disable now."""
        actor = demand(request, OPERATE)
        provider: Provider = self.find(str(pk))
        state = request.POST.get("state", "")
        try:
            set_admin_state(provider, state, reason=request.POST.get("reason", "").strip(), actor=actor)
        except ActionError as error:
            tell_refusal(request, error)
        else:
            messages.success(request, f"{provider.slug} {STATE_WORDS[state]}. In force now, nothing to publish.")
        back = self.url("changelist") if request.POST.get("next") == "list" else self.url("change", pk)
        return HttpResponseRedirect(back)

    # -- deletion ---------------------------------------------------------------------------------------------
    def delete_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        actor = demand(request, ADMIN)
        provider: Provider = self.find(unquote(object_id))
        users = _users(provider)
        if request.method == "POST":
            try:
                actions.delete_provider(provider, actor=actor, version=posted_version(request))
            except InUse:
                users = _users(provider)
            except ActionError as error:
                tell_refusal(request, error)
                return HttpResponseRedirect(self.url("delete", provider.pk))
            else:
                messages.success(request, f"Provider {provider.slug} was deleted from the draft.")
                return HttpResponseRedirect(self.url("changelist"))
        profile_admin = self.admin_site.get_model_admin(Profile)
        assert isinstance(profile_admin, ConsoleModelAdmin)
        return self.page(
            request,
            "routes/delete.html",
            f"Delete provider {provider.slug}",
            status=409 if users and request.method == "POST" else 200,
            name=provider.slug,
            version=provider.version,
            refusal=f"Provider {provider.slug} is used by {len(users)} profile{'s' if len(users) != 1 else ''}",
            used_by=[{"word": f"Profile {user.slug}", "url": profile_admin.url("change", user.pk)} for user in users],
            consequence="It leaves the draft; traffic changes when you publish.",
            back_url=self.url("change", provider.pk),
            list_url=self.url("changelist"),
            list_word="Providers",
        )


def _places(profile: Profile) -> Iterator[Any]:
    """Targets of the profile and of its rules."""
    yield from profile.targets.all()
    for rule in draft.rules_of(profile):
        yield from rule.targets.all()


def _users(provider: Provider) -> list[Profile]:
    """Profiles that name it, themselves or in a rule."""
    named = Q(targets__provider=provider) | Q(rules__targets__provider=provider)
    return list(Profile.objects.filter(named).distinct().order_by("slug"))
