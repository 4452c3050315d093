"""Profiles: list, form with ordered targets, the effective share of each target as one edits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from django.contrib import admin, messages
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.http import HttpResponseRedirect, JsonResponse
from django.urls import path, reverse
from django.views.decorators.http import require_POST

from routes import document, draft
from routes.actions import profiles as actions
from routes.actions.errors import ActionError, InUse, StaleVersion
from routes.actions.revisions import live_revision
from routes.admin.base import ADMIN, READ, ConsoleModelAdmin, demand, posted_version, tell_refusal
from routes.admin.conflict import conflict_page
from routes.admin.forms.profile import ProfileForm, initial_of
from routes.admin.forms.strategies import word
from routes.admin.forms.targets import TargetForm, initial_targets, target_rows
from routes.admin.policy import note_of_strategies
from routes.admin.preview import NEW, Sections, all_providers, sections
from routes.admin.rule_cards import cards
from routes.admin.saving import saved
from routes.admin.shares import Share, Shares, effective_shares, rule_shares
from routes.admin.snippets import example_model, snippets
from routes.models import AccessKey, Policy, Profile, Provider

if TYPE_CHECKING:
    from django.http import HttpRequest, HttpResponse
    from django.urls import URLPattern

    from routes.admin.forms.targets import TargetFormSet

#: What the shares of base traffic depend on.
PREVIEWED = ("strategy", "params", "targets", "failover")
#: Parts of the page that are folded, and the fields (or groups of them) whose errors unfold them.
FOLDED = {
    "affinity": ("affinity",),
    "failover": ("failover", "mode", "mode.threshold", "mode.success_rate", "mode.latency"),
    "timeouts": ("failover.timeouts",),
    "scenario": ("scenario",),
    "limits": ("limits",),
    "accounting": ("accounting",),
    "requests": ("require_tags",),
}


class Row(NamedTuple):
    profile: Profile
    strategy: str
    targets: list[str]
    rules: int
    eligible: bool  # a target whose provider takes requests


class TargetRow(NamedTuple):
    form: TargetForm
    share: Share | None


@admin.register(Profile)
class ProfileAdmin(ConsoleModelAdmin):
    word = "profile"

    def get_urls(self) -> list[URLPattern]:
        wrap = self.admin_site.admin_view
        return [
            path("shares/", wrap(require_POST(self.shares_view)), name="routes_profile_shares"),
            path("<uuid:pk>/rule-shares/", wrap(self.rule_shares_view), name="routes_profile_rule_shares"),
            *super().get_urls(),
        ]

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
            rows.append(Row(profile, word(profile.strategy), words, len(profile.rules.all()), eligible))
        return self.page(request, "routes/profile_list.html", "Profiles", rows=rows)

    # -- form -------------------------------------------------------------------------------------------------
    def add_view(
        self, request: HttpRequest, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        actor = demand(request, ADMIN)
        providers = all_providers()
        if request.method != "POST":
            form = ProfileForm(initial=defaults())
            first = [{"provider": providers[0].slug, "tier": 0}] if len(providers) == 1 else []
            return self._form_page(request, form, target_rows(providers, initial=first), None, providers)
        form = ProfileForm(request.POST)
        targets = target_rows(providers, request)
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
        providers = all_providers()
        read_only = not request.user.has_perm(ADMIN)
        if request.method != "POST":
            form = ProfileForm(initial=_initial(profile), read_only=read_only)
            form.fields["slug"].disabled = True
            stored = initial_targets(profile.targets.all())
            targets = target_rows(providers, initial=stored, read_only=read_only)
            return self._form_page(request, form, targets, profile, providers)
        actor = demand(request, ADMIN)
        form = ProfileForm(request.POST, initial=_initial(profile))
        form.fields["slug"].disabled = True
        targets = target_rows(providers, request)
        if not (form.is_valid() & targets.is_valid()) or "_edit" in request.POST:
            return self._form_page(request, form, targets, profile, providers)
        changes = form.document(targets)
        try:
            actions.update_profile(profile, changes, actor=actor, version=form.cleaned_data["version"])
        except StaleVersion:
            profile.refresh_from_db()
            return conflict_page(self, request, profile, without_rules(draft.profile_tree(profile)), changes)
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
        around = sections()
        form.note_of = note_of_strategies(around.policy)
        probe = request.POST.get("probe") or request.GET.get("probe") or ""
        shares = _shares_of(form, targets, providers, around, profile, probe)
        aligned = shares.rows if len(shares.rows) == len(rows) else [None] * len(rows)
        context: dict[str, Any] = {}
        if profile is not None:
            stored = [(place.model, place.provider.model_map) for place in profile.targets.all()]
            used = {target.provider_id for target in profile.targets.all()}
            context["cards"] = cards(profile, providers, around)
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
            open_groups={group: _touches(names, wrong) for group, names in FOLDED.items()},
            **context,
        )

    def shares_view(self, request: HttpRequest) -> HttpResponse:
        """Shares for the form as it stands in the browser, as JSON by row prefix. Saves nothing."""
        if not request.user.has_perm(READ):
            raise PermissionDenied
        providers = all_providers()
        form, targets = ProfileForm(request.POST), target_rows(providers, request)
        form.fields["slug"].required = form.fields["name"].required = False
        form.is_valid(), targets.is_valid()
        shares = _shares_of(form, targets, providers, sections(), None, request.POST.get("probe", ""))
        rows = targets.rows()
        answer = {}
        if len(rows) == len(shares.rows):
            answer = {
                str(row.prefix): {"share": share.share, "text": share.text, "note": share.note}
                for row, share in zip(rows, shares.rows, strict=True)
            }
        return JsonResponse({"rows": answer, "note": shares.note})

    def rule_shares_view(self, request: HttpRequest, pk: Any) -> HttpResponse:
        """Shares within each stored rule, as JSON by the rule's id; asked for by the page once it is there."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        profile: Profile = self.find(str(pk))
        tree = draft.profile_tree(profile)
        probe = request.GET.get("probe", "")
        providers = all_providers()
        shares = rule_shares(tree, tree["rules"], providers, sections(), probe, profile.pk)
        return JsonResponse(
            {
                str(rule.pk): {"rows": [{"share": row.share, "text": row.text, "note": row.note} for row in found.rows]}
                for rule, found in zip(draft.rules_of(profile), shares, strict=True)
            }
        )

    # -- deletion -----------------------------------------------------------------------------------------------
    def delete_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        actor = demand(request, ADMIN)
        profile: Profile = self.find(unquote(object_id))
        used_by: list[str] = []
        if request.method == "POST":
            try:
                actions.delete_profile(profile, actor=actor, version=posted_version(request))
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
    """What the form for a new profile begins with: the document's own defaults and the policy's strategy."""
    new = document.Profile(slug="x", name="x", strategy=Policy.get().default_strategy, targets=[])
    return {**initial_of(new.model_dump(mode="json")), "slug": "", "name": ""}


def without_rules(tree: dict[str, Any]) -> dict[str, Any]:
    """Rules have pages and versions of their own."""
    return {name: value for name, value in tree.items() if name != "rules"}


def _initial(profile: Profile) -> dict[str, Any]:
    return initial_of(draft.profile_tree(profile), profile.version)


def _touches(names: tuple[str, ...], fields: set[str]) -> bool:
    """Whether one of the fields is one of the names, or belongs to a group of that name."""
    return any(field in names or field.rpartition(".")[0] in names for field in fields)


def is_published(slug: str) -> bool:
    """Whether the live revision has the profile. One query, and a parse of its document."""
    live = live_revision()
    return live is not None and any(entry["slug"] == slug for entry in live.document["profiles"])


def _shares_of(
    form: ProfileForm,
    targets: TargetFormSet,
    providers: list[Provider],
    around: Sections,
    profile: Profile | None,
    probe: str = "",
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
            "failover": form.failover(),
        }
    elif profile is not None:
        tree = {name: value for name, value in draft.profile_tree(profile).items() if name in PREVIEWED}
    else:
        tree = {
            "strategy": "failover",
            "params": {},
            "targets": [dict(row, model=None, weight=None) for row in targets.initial or []],
        }
    profile_id = profile.pk if profile is not None else NEW
    return effective_shares({"slug": "preview", "name": "preview", **tree}, providers, around, probe, profile_id)
