"""Smart rules: a page for one rule with its condition, targets and strategy; switch, order and deletion from the
profile's page, with or without scripts. Every write goes through ``routes.actions.rules``."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import UUID

from django.contrib import admin, messages
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpResponseRedirect, JsonResponse
from django.urls import path, reverse
from django.views.decorators.http import require_POST

from routes import draft
from routes.actions import rules as actions
from routes.actions.errors import ActionError, Forbidden, StaleVersion
from routes.admin import conditions
from routes.admin.base import ADMIN, READ, ConsoleModelAdmin, demand, posted_version, tell_refusal
from routes.admin.conflict import conflict_page
from routes.admin.forms.rule import RuleForm, initial_of
from routes.admin.forms.targets import OF_RULE, TargetForm, initial_targets, target_rows
from routes.admin.policy import note_of_strategies
from routes.admin.preview import Sections, all_providers, sections
from routes.admin.saving import saved
from routes.admin.shares import Share, Shares, rule_shares
from routes.models import Profile, Provider, Rule

if TYPE_CHECKING:
    from django.http import HttpRequest, HttpResponse
    from django.urls import URLPattern

    from routes.admin.forms.targets import TargetFormSet


class TargetRow(NamedTuple):
    form: TargetForm
    share: Share | None


class Desk(NamedTuple):
    """What every page of a rule is drawn from."""

    profile: Profile
    providers: list[Provider]
    around: Sections
    rule: Rule | None


@admin.register(Rule)
class RuleAdmin(ConsoleModelAdmin):
    word = "rule"

    def get_urls(self) -> list[URLPattern]:
        wrap = self.admin_site.admin_view

        def post(view: Any) -> Any:
            return wrap(require_POST(view))

        return [
            path("condition/", post(self.condition_view), name="routes_rule_condition"),
            path("shares/", post(self.shares_view), name="routes_rule_shares"),
            path("<uuid:pk>/switch/", post(self.switch_view), name="routes_rule_switch"),
            path("<uuid:pk>/move/", post(self.move_view), name="routes_rule_move"),
            *super().get_urls(),
        ]

    def rows(self) -> Any:
        return draft.rules_with_targets()

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """Rules are listed with their profile."""
        return HttpResponseRedirect(reverse("admin:routes_profile_changelist"))

    # -- form -------------------------------------------------------------------------------------------------
    def add_view(
        self, request: HttpRequest, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        actor = demand(request, ADMIN)
        desk = _desk(request.GET.get("profile", ""))
        if request.method != "POST":
            initial, stored = self._first(request.GET.get("copy", ""), desk)
            form = RuleForm(initial=initial, profile_strategy=desk.profile.strategy)
            return self._form_page(request, form, target_rows(desk.providers, initial=stored, hints=OF_RULE), desk)
        form = RuleForm(request.POST, profile_strategy=desk.profile.strategy)
        targets = target_rows(desk.providers, request, hints=OF_RULE)
        if not (form.is_valid() & targets.is_valid()):
            return self._form_page(request, form, targets, desk)
        try:
            rule = actions.create_rule(desk.profile, form.document(targets), actor=actor)
        except ActionError as error:
            form.add_document_errors(targets.add_document_errors(error.fields), error.message)
            return self._form_page(request, form, targets, desk)
        return saved(request, actor, _name(rule, desk.profile), _profile_url(desk.profile), created=True)

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        if not self.has_view_permission(request):
            raise PermissionDenied
        place = self._place_of(unquote(object_id))
        desk = _desk(*place)
        rule = desk.rule
        assert rule is not None
        initial = initial_of(draft.rule_tree(rule), rule.version)
        if request.method != "POST":
            read_only = not request.user.has_perm(ADMIN)
            form = RuleForm(initial=initial, profile_strategy=desk.profile.strategy, read_only=read_only)
            stored = initial_targets(rule.targets.all())
            targets = target_rows(desk.providers, initial=stored, hints=OF_RULE, read_only=read_only)
            return self._form_page(request, form, targets, desk)
        actor = demand(request, ADMIN)
        form = RuleForm(request.POST, initial=initial, profile_strategy=desk.profile.strategy)
        targets = target_rows(desk.providers, request, hints=OF_RULE)
        if not (form.is_valid() & targets.is_valid()) or "_edit" in request.POST:
            return self._form_page(request, form, targets, desk)
        changes = form.document(targets)
        try:
            actions.update_rule(rule, changes, actor=actor, version=form.cleaned_data["version"])
        except StaleVersion:
            newer: Rule = self.find(str(rule.pk))
            return conflict_page(self, request, newer, draft.rule_tree(newer), changes)
        except ActionError as error:
            form.add_document_errors(targets.add_document_errors(error.fields), error.message)
            return self._form_page(request, form, targets, desk)
        return saved(request, actor, _name(rule, desk.profile), _profile_url(desk.profile), created=False)

    def _place_of(self, object_id: str) -> tuple[str, str]:
        """(id of its profile, its id), or 404. One query."""
        try:
            pk = UUID(object_id)
        except ValueError:
            raise Http404(f"There is no rule {object_id}.") from None
        profile_id = Rule.objects.filter(pk=pk).values_list("profile_id", flat=True).first()
        if profile_id is None:
            raise Http404(f"There is no rule {object_id}.")
        return str(profile_id), str(pk)

    def _first(self, copy: str, desk: Desk) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        """What the form of a new rule begins with: another rule of the profile, or a first clause."""
        if copy:
            rule: Rule = self.find(copy)
            if rule.profile_id != desk.profile.pk:
                raise Http404
            taken = {other.name for other in desk.profile.rules.all()}
            name = next(name for name in _copies(rule.name) if name not in taken)
            return {**initial_of(draft.rule_tree(rule)), "name": name}, initial_targets(rule.targets.all())
        new = {"name": "", "description": "", "enabled": True, "when": conditions.FIRST, "fallback_to_profile": True}
        first = [{"provider": desk.providers[0].slug, "tier": 0}] if len(desk.providers) == 1 else []
        return initial_of({**new, "strategy": None, "params": None}), first

    def _form_page(self, request: HttpRequest, form: RuleForm, targets: TargetFormSet, desk: Desk) -> HttpResponse:
        form.note_of = note_of_strategies(desk.around.policy)
        rows = targets.rows()
        probe = request.POST.get("probe") or request.GET.get("probe") or ""
        shares = _shares_of(form, targets, desk, probe)
        aligned = shares.rows if len(shares.rows) == len(rows) else [None] * len(rows)
        wrong = set(form.errors) if form.is_bound else set()
        raw = form["when"].value()
        return self.page(
            request,
            "routes/rule_form.html",
            desk.rule.name if desk.rule else "Add rule",
            form=form,
            profile=desk.profile,
            profile_url=_profile_url(desk.profile),
            rule=desk.rule,
            targets=targets,
            target_rows=[TargetRow(row, share) for row, share in zip(rows, aligned, strict=True)],
            shares=shares,
            probes=shares.probes if len(shares.probes) > 1 else [],
            chosen_probe=shares.chosen.key if shares.chosen else "",
            shares_url=f"{self.url('shares')}?profile={desk.profile.pk}",
            provider_count=len(desk.providers),
            known_models=[(provider.slug, list(provider.model_map or ())) for provider in desk.providers],
            checked=conditions.check(raw if isinstance(raw, str) else ""),
            fact_groups=conditions.fact_groups(),
            vocabulary=conditions.vocabulary(),
            first_clause=json.dumps(conditions.FIRST),
            reference=conditions.reference(),
            strategy_open=any(name.startswith(("strategy", "params")) for name in wrong),
        )

    def condition_view(self, request: HttpRequest) -> HttpResponse:
        """What a condition means that is being edited, or what is wrong with it and where. Saves nothing."""
        if not request.user.has_perm(READ):
            raise PermissionDenied
        checked = conditions.check(request.POST.get("when", ""))
        errors = [{"path": place, "message": message} for place, message in checked.errors]
        return JsonResponse({"sentence": checked.sentence, "errors": errors})

    def shares_view(self, request: HttpRequest) -> HttpResponse:
        """Shares of what the rule takes, for the form as it stands in the browser. Saves nothing."""
        if not request.user.has_perm(READ):
            raise PermissionDenied
        desk = _desk(request.GET.get("profile", ""))
        form = RuleForm(request.POST, profile_strategy=desk.profile.strategy)
        targets = target_rows(desk.providers, request, hints=OF_RULE)
        form.is_valid(), targets.is_valid()
        shares = _shares_of(form, targets, desk, request.POST.get("probe", ""))
        rows = targets.rows()
        answer = {}
        if len(rows) == len(shares.rows):
            answer = {
                str(row.prefix): {"share": share.share, "text": share.text, "note": share.note}
                for row, share in zip(rows, shares.rows, strict=True)
            }
        return JsonResponse({"rows": answer, "note": shares.note})

    # -- from the profile's page ------------------------------------------------------------------------------
    def switch_view(self, request: HttpRequest, pk: Any) -> HttpResponse:
        """On or off, in the draft."""
        actor = demand(request, ADMIN)
        rule: Rule = self.find(str(pk))
        enabled = request.POST.get("enabled") == "1"
        word = "on" if enabled else "off"
        return self._acted(
            request,
            rule,
            lambda: actions.update_rule(rule, {"enabled": enabled}, actor=actor),
            f"Rule {rule.name} was switched {word} in the draft. Traffic changes when you publish it.",
        )

    def move_view(self, request: HttpRequest, pk: Any) -> HttpResponse:
        """To another place in the order: ``position`` counts from 0."""
        actor = demand(request, ADMIN)
        rule: Rule = self.find(str(pk))
        typed = request.POST.get("position", "")
        position = int(typed) if typed.isdecimal() and len(typed) < 6 else rule.position
        return self._acted(
            request,
            rule,
            lambda: actions.move_rule(rule, position, actor=actor),
            f"Rule {rule.name} was moved in the draft. Traffic changes when you publish it.",
        )

    def _acted(self, request: HttpRequest, rule: Rule, act: Any, done: str) -> HttpResponse:
        """Do it, then answer a script with the profile's new version, a browser with the profile's page."""
        in_place = request.headers.get("Accept") == "application/json"
        try:
            act()
        except ActionError as error:
            if isinstance(error, Forbidden):
                raise PermissionDenied from error
            if in_place:
                return JsonResponse({"error": error.message}, status=409)
            tell_refusal(request, error)
        else:
            if in_place:
                version = Profile.objects.values_list("version", flat=True).get(pk=rule.profile_id)
                return JsonResponse({"done": done, "version": version})
            messages.success(request, done)
        return HttpResponseRedirect(f"{reverse('admin:routes_profile_change', args=[rule.profile_id])}#rules")

    # -- deletion ---------------------------------------------------------------------------------------------
    def delete_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        actor = demand(request, ADMIN)
        rule: Rule = self.find(unquote(object_id))
        profile = Profile.objects.get(pk=rule.profile_id)
        if request.method == "POST":
            try:
                actions.delete_rule(rule, actor=actor, version=posted_version(request))
            except ActionError as error:
                tell_refusal(request, error)
                return HttpResponseRedirect(self.url("delete", rule.pk))
            messages.success(request, f"Rule {rule.name} was deleted from the draft.")
            return HttpResponseRedirect(_profile_url(profile))
        return self.page(
            request,
            "routes/delete.html",
            f"Delete rule {rule.name}",
            name=rule.name,
            version=rule.version,
            consequence="It leaves the draft. Requests it takes go to the next rule that matches, or to the profile’s "
            "own targets, as soon as you publish.",
            back_url=self.url("change", rule.pk),
            list_url=_profile_url(profile),
            list_word=profile.name,
        )


def _desk(profile_id: str, rule_id: str = "") -> Desk:
    """Eight queries. 404 without such a profile; a rule that is none of its own is none."""
    try:
        profile = draft.profiles_with_targets().filter(pk=UUID(profile_id)).first()
    except ValueError:
        profile = None
    if profile is None:
        raise Http404("A rule belongs to a profile; there is none of that id.")
    rule = next((row for row in profile.rules.all() if str(row.pk) == rule_id), None)
    return Desk(profile, all_providers(), sections(), rule)


def _profile_url(profile: Profile) -> str:
    return f"{reverse('admin:routes_profile_change', args=[profile.pk])}#rules"


def _name(rule: Rule, profile: Profile) -> str:
    return f"rule {rule.name} of profile {profile.slug}"


def _copies(name: str) -> Any:
    """Names for a copy."""
    yield f"{name[:190]} copy"
    number = 2
    while True:
        yield f"{name[:190]} copy {number}"
        number += 1


def _shares_of(form: RuleForm, targets: TargetFormSet, desk: Desk, probe: str) -> Shares:
    """Shares of what the form says now; nothing while a field of it cannot be read."""
    if form.is_bound:
        if not targets.is_valid() or "strategy" not in getattr(form, "cleaned_data", {}):
            return Shares(note="Shares appear when every field is filled in.")
        entry = form.partition(targets)
    else:
        entry = draft.rule_tree(desk.rule) if desk.rule else {"targets": []}
    if not entry["targets"]:
        return Shares()
    tree = draft.profile_tree(desk.profile)
    rules = [{**entry, "name": "preview"}]
    (shares,) = rule_shares(tree, rules, desk.providers, desk.around, probe, desk.profile.pk)
    return shares
