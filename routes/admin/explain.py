"""The explain page: where a request would go, or went, and why. Reads only, so everybody who may read may use it.

A link (from a profile, or from a request in the history) asks by GET, the form by POST, because a body may be large.
Must not import history: recorded requests come in through ``routes.ports``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from django.core.exceptions import PermissionDenied
from django.template.response import TemplateResponse

from routes import explain
from routes.actions.errors import ActionError
from routes.admin.base import READ
from routes.admin.forms.explain import PATHS, ExplainForm, sample
from routes.models import AccessKey, ConfigRevision, Profile, Provider

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from django.contrib.admin import AdminSite
    from django.http import HttpRequest, HttpResponse

DRAWS = 1_000
#: Revisions offered to choose from; any other number can be written.
OFFERED = 50


class Line(NamedTuple):
    """A target as the page draws it."""

    name: str
    share: float
    reason: str
    place: int  # 0 = left out
    stage: str
    tier: int | None
    weight: float | None


def explain_page(request: HttpRequest, site: AdminSite) -> HttpResponse:
    """Some ten queries and as many decisions as are asked for."""
    if not request.user.has_perm(READ):
        raise PermissionDenied
    form = _form(request)
    told: dict[str, Any] | None = None
    asked = request.method == "POST" or bool(request.GET.get("id"))
    if asked and form.is_valid():
        try:
            told = explain.explain(explain.parse(form.document()))
        except ActionError as error:
            form.add_errors(error.fields, error.message)
    revisions = ConfigRevision.objects.order_by("-number").values_list("number", "message")[:OFFERED]
    context = {
        **site.each_context(request),
        "title": "Explain",
        "form": form,
        "told": told,
        "lines": _lines(told) if told else [],
        "paths": PATHS,
        "revisions": list(revisions),
        "many_draws": told is not None and told["draws"] > 1,
        "clauses": sum(len(rule["clauses"]) for rule in told["rules"]) if told else 0,
    }
    return TemplateResponse(request, "routes/explain.html", context, status=400 if asked and told is None else 200)


def _form(request: HttpRequest) -> ExplainForm:
    profiles = list(Profile.objects.order_by("slug").values_list("slug", flat=True))
    names: dict[str, Any] = {
        "profiles": profiles,
        "keys": AccessKey.objects.order_by("name").values_list("name", flat=True),
        "providers": Provider.objects.order_by("slug").values_list("slug", flat=True),
    }
    if request.method == "POST":
        return ExplainForm(request.POST, **names)
    initial = {
        "path": PATHS[0],
        "body": "" if request.GET.get("id") else sample(),
        "draws": 1 if request.GET.get("id") else DRAWS,
        "revision": "live",
        **{name: request.GET[name] for name in ("id", "profile", "revision") if request.GET.get(name)},
    }
    if request.GET.get("id"):
        return ExplainForm({**initial, "headers": ""}, **names)
    return ExplainForm(initial=initial, **names)


def _lines(told: Mapping[str, Any]) -> list[Line]:
    """Every target with its share, those that would be tried first, first."""
    shares: Mapping[str, float] = told["shares"]
    ranked: Sequence[Mapping[str, Any]] = told["ranking"]
    excluded: Sequence[Mapping[str, Any]] = told["excluded"]
    return [
        Line(_name(line), shares[line["target"]], line["reason"], line["rank"], "", line["tier"], line["weight"])
        for line in ranked
    ] + [Line(_name(line), shares[line["target"]], line["reason"], 0, line["stage"], None, None) for line in excluded]


def _name(line: Mapping[str, Any]) -> str:
    return " / ".join(part for part in (line["provider"], line["head_id"], line["model"]) if part)
