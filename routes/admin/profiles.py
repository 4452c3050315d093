"""Profiles: list, form with ordered targets, the effective share of each target as one edits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, cast

from django.contrib import admin, messages
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.http import HttpResponseRedirect, JsonResponse
from django.urls import path, reverse
from django.views.decorators.http import require_POST

from routes import document, draft
from routes.actions import profiles as actions
from routes.actions.errors import ActionError, InUse, StaleVersion
from routes.admin.base import ADMIN, READ, ConsoleModelAdmin, demand, tell_refusal
from routes.admin.conflict import conflict_page
from routes.admin.forms.profile import TARGETS, ProfileForm, TargetForm, initial_of, initial_targets
from routes.admin.saving import saved
from routes.admin.shares import Share, Shares, effective_shares
from routes.admin.snippets import example_model, snippets
from routes.models import AccessKey, ConfigRevision, Profile, Provider

if TYPE_CHECKING:
    from django.http import HttpRequest, HttpResponse
    from django.urls import URLPattern

    from routes.admin.forms.profile import TargetFormSet

PREFIX = "targets"
TIMEOUTS = tuple(f"failover.timeouts.{name}" for name in ProfileForm.groups["failover.timeouts"])
FOLDED = {
    "failover": (*(f"failover.{name}" for name in ProfileForm.groups["failover"]), "accounting"),
    "timeouts": TIMEOUTS,
}


class Row(NamedTuple):
    profile: Profile
    strategy: str
    targets: list[str]
    eligible: bool  # a target whose provider takes requests


class TargetRow(NamedTuple):
    form: TargetForm
    share: Share | None


@admin.register(Profile)
class ProfileAdmin(ConsoleModelAdmin):
    word = "profile"

    def get_urls(self) -> list[URLPattern]:
        shares = self.admin_site.admin_view(require_POST(self.shares_view))
        return [path("shares/", shares, name="routes_profile_shares"), *super().get_urls()]

    def rows(self) -> Any:
        return draft.profiles_with_targets()

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        if not self.has_view_permission(request):
            raise PermissionDenied
        rows = []
        for profile in draft.profiles_with_targets():
            targets = list(profile.targets.all())
            words = [t.provider.slug + (f" / {t.model}" if t.model else "") for t in targets]
            eligible = any(t.provider.admin_state == Provider.AdminState.ACTIVE for t in targets)
            rows.append(Row(profile, profile.strategy.replace("_", " ").capitalize(), words, eligible))
        return self.page(request, "routes/profile_list.html", "Profiles", rows=rows)

    # -- form -------------------------------------------------------------------------------------------------
    def add_view(
        self, request: HttpRequest, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        actor = demand(request, ADMIN)
        providers = list(Provider.objects.order_by("slug"))
        if request.method != "POST":
            form = ProfileForm(initial=defaults())
            first = [{"provider": providers[0].slug, "tier": 0}] if len(providers) == 1 else []
            return self._form_page(request, form, _targets(providers, initial=first), None, providers)
        form = ProfileForm(request.POST)
        targets = _targets(providers, request)
        if not (form.is_valid() & targets.is_valid()):
            return self._form_page(request, form, targets, None, providers)
        try:
            profile = actions.create_profile(form.document(targets), actor=actor)
        except ActionError as error:
            form.add_document_errors(targets.add_document_errors(error.fields), error.message)
            return self._form_page(request, form, targets, None, providers)
        return saved(request, actor, f"profile {profile.slug}", self.url("change", profile.pk), created=True)

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        if not self.has_view_permission(request):
            raise PermissionDenied
        profile: Profile = self.find(unquote(object_id))
        providers = list(Provider.objects.order_by("slug"))
        read_only = not request.user.has_perm(ADMIN)
        if request.method != "POST":
            form = ProfileForm(initial=initial_of(profile), read_only=read_only)
            form.fields["slug"].disabled = True
            targets = _targets(providers, initial=initial_targets(profile), read_only=read_only)
            return self._form_page(request, form, targets, profile, providers)
        actor = demand(request, ADMIN)
        form = ProfileForm(request.POST, initial=initial_of(profile))
        form.fields["slug"].disabled = True
        targets = _targets(providers, request)
        if not (form.is_valid() & targets.is_valid()) or "_edit" in request.POST:
            return self._form_page(request, form, targets, profile, providers)
        changes = form.document(targets)
        try:
            actions.update_profile(profile, changes, actor=actor, version=form.cleaned_data["version"])
        except StaleVersion:
            profile.refresh_from_db()
            return conflict_page(self, request, profile, draft.profile_tree(profile), changes)
        except ActionError as error:
            form.add_document_errors(targets.add_document_errors(error.fields), error.message)
            return self._form_page(request, form, targets, profile, providers)
        return saved(request, actor, f"profile {profile.slug}", request.path, created=False)

    def _form_page(
        self,
        request: HttpRequest,
        form: ProfileForm,
        targets: TargetFormSet,
        profile: Profile | None,
        providers: list[Provider],
    ) -> HttpResponse:
        wrong = set(form.errors) if form.is_bound else set()
        rows = targets.rows()
        probe = request.POST.get("probe") or request.GET.get("probe") or ""
        shares = _shares_of(form, targets, providers, profile, probe)
        aligned = shares.rows if len(shares.rows) == len(rows) else [None] * len(rows)
        context: dict[str, Any] = {}
        if profile is not None:
            stored = [(row["model"], _map_of(providers, row["provider"])) for row in initial_targets(profile)]
            used = {target.provider_id for target in profile.targets.all()}
            wires = [provider.wire for provider in providers if provider.pk in used]
            context["snippets"] = snippets(request, profile.slug, wires, example_model(stored))
            context["published"] = is_published(profile.slug)
        return self.page(
            request,
            "routes/profile_form.html",
            profile.name if profile else "Add profile",
            form=form,
            profile=profile,
            targets=targets,
            target_rows=[TargetRow(row, share) for row, share in zip(rows, aligned, strict=True)],
            shares=shares,
            probes=shares.probes if len(shares.probes) > 1 else [],
            chosen_probe=shares.chosen.key if shares.chosen else "",
            shares_url=reverse("admin:routes_profile_shares"),
            provider_count=len(providers),
            known_models=[(provider.slug, list(provider.model_map or ())) for provider in providers],
            open_groups={group: bool(wrong.intersection(names)) for group, names in FOLDED.items()},
            **context,
        )

    def shares_view(self, request: HttpRequest) -> HttpResponse:
        """Shares for the form as it stands in the browser, as JSON by row prefix. Saves nothing."""
        if not request.user.has_perm(READ):
            raise PermissionDenied
        providers = list(Provider.objects.order_by("slug"))
        form, targets = ProfileForm(request.POST), _targets(providers, request)
        form.fields["slug"].required = form.fields["name"].required = False
        form.is_valid(), targets.is_valid()
        shares = _shares_of(form, targets, providers, None, request.POST.get("probe", ""))
        rows = targets.rows()
        answer = {}
        if len(rows) == len(shares.rows):
            answer = {
                str(row.prefix): {"share": share.share, "text": share.text, "note": share.note}
                for row, share in zip(rows, shares.rows, strict=True)
            }
        return JsonResponse({"rows": answer, "note": shares.note})

    # -- deletion -----------------------------------------------------------------------------------------------
    def delete_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        actor = demand(request, ADMIN)
        profile: Profile = self.find(unquote(object_id))
        used_by: list[str] = []
        if request.method == "POST":
            try:
                actions.delete_profile(profile, actor=actor, version=int(request.POST.get("version") or 0))
            except InUse as error:
                used_by = error.used_by
            except ActionError as error:
                tell_refusal(request, error)
                return HttpResponseRedirect(self.url("delete", profile.pk))
            else:
                messages.success(request, f"Profile {profile.slug} was deleted from the draft.")
                return HttpResponseRedirect(self.url("changelist"))
        else:
            used_by = [f"access key {key.name}" for key in AccessKey.objects.filter(profile=profile.slug)]
        keys = reverse("admin:routes_accesskey_changelist")
        return self.page(
            request,
            "routes/delete.html",
            f"Delete profile {profile.slug}",
            status=409 if used_by and request.method == "POST" else 200,
            name=profile.slug,
            version=profile.version,
            refusal=f"Profile {profile.slug} is used",
            used_by=[{"word": word[:1].upper() + word[1:], "url": keys} for word in used_by],
            consequence="It leaves the draft; requests to it are refused as soon as you publish.",
            back_url=self.url("change", profile.pk),
            list_url=self.url("changelist"),
            list_word="Profiles",
        )


def defaults() -> dict[str, Any]:
    """What the form for a new profile begins with: the document's own defaults."""
    failover = document.Profile.model_validate({"slug": "x", "name": "x", "targets": []}).failover.model_dump()
    timeouts = failover.pop("timeouts")
    return {
        "strategy": "failover",
        "accounting": "when_asked",
        **{f"failover.{name}": value for name, value in failover.items()},
        **{f"failover.timeouts.{name}": value for name, value in timeouts.items()},
    }


def is_published(slug: str) -> bool:
    """Whether the live revision has the profile. One query, and a parse of its document."""
    live = ConfigRevision.objects.first()
    return live is not None and any(entry["slug"] == slug for entry in live.document["profiles"])


def _targets(
    providers: list[Provider],
    request: HttpRequest | None = None,
    initial: list[dict[str, Any]] | None = None,
    read_only: bool = False,
) -> TargetFormSet:
    kwargs = {"providers": providers, "read_only": read_only}
    data = request.POST if request else None
    # formset_factory does not carry the class it was given into its type.
    return cast("TargetFormSet", TARGETS(data, initial=initial, prefix=PREFIX, form_kwargs=kwargs))


def _map_of(providers: list[Provider], slug: str) -> dict[str, str] | None:
    return next((provider.model_map for provider in providers if provider.slug == slug), None)


def _shares_of(
    form: ProfileForm, targets: TargetFormSet, providers: list[Provider], profile: Profile | None, probe: str = ""
) -> Shares:
    """Shares of what the form says now; nothing while a field of it cannot be read."""
    if form.is_bound:
        values = getattr(form, "cleaned_data", {})
        if not targets.is_valid() or "strategy" not in values:
            return Shares(note="Shares appear when every field is filled in.")
        tree = {
            "strategy": values["strategy"],
            "params": form.group_values(f"params.{values['strategy']}"),
            "targets": targets.document(),
        }
    elif profile is not None:
        tree = {
            name: value
            for name, value in draft.profile_tree(profile).items()
            if name in ("strategy", "params", "targets")
        }
    else:
        tree = {
            "strategy": "failover",
            "params": {},
            "targets": [dict(row, model=None, weight=None) for row in targets.initial or []],
        }
    return effective_shares({"slug": "preview", "name": "preview", **tree}, providers, probe)
