"""The form above every history page: what is asked for most, with what there is to choose from. Two queries."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from django.db.models import F, IntegerField, Value

from history.admin.asked import BETWEEN, FAILURES, RANGES, TIME, Asked
from history.models import RouteStatus
from routes.engine.strategies import NAMES
from routes.engine.troubles import ERRORS, REFUSALS
from routes.models import AccessKey, Profile, Provider, Rule

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

#: Names suggested for a field at most; any other can be typed.
SUGGESTED: Final = 500
STATUSES: Final = (
    (FAILURES, "Any failure"),
    *((value, label[:1].upper() + label[1:]) for value, label in RouteStatus.choices),
)
_ERRORS: Final = tuple(
    (code, f"{code}: {(ERRORS.get(code) or REFUSALS[code]).told}") for code in sorted({*ERRORS, *REFUSALS})
)
_STRATEGIES: Final = tuple((name, name) for name in NAMES)


class Control(NamedTuple):
    """A field of the form: a list where there are ``options`` (value, word), else an input with suggestions."""

    name: str
    label: str
    value: str
    options: list[tuple[str, str]] = []
    suggestions: list[str] = []
    kind: str = "text"
    unit: str = ""
    placeholder: str = ""


class Form(NamedTuple):
    range: str
    ranges: list[tuple[str, str]]
    moments: list[Control]  # between which it is, where that is what was chosen
    first: list[Control]
    more: list[Control]
    more_chosen: int
    recovered: bool
    kept: list[tuple[str, str]]  # what the address has and the form does not offer
    profiles: dict[str, Any]  # primary keys by slug, for links
    providers: dict[str, Any]


def read(asked: Asked, now: datetime) -> Form:
    profiles, keys, rules = _names()
    configured = list(Provider.objects.order_by("slug").values_list("slug", "pk", "model_map"))
    providers = {slug: pk for slug, pk, _ in configured}
    names = [(model, sent) for _, _, models in configured for model, sent in (models or {}).items()]
    typed = asked.typed

    def choice(name: str, label: str, options: Iterable[tuple[str, str]]) -> Control:
        """With the chosen value even if it is gone; one that was not understood is not offered."""
        chosen, offered = asked.given.get(name, ""), list(options)
        if chosen and all(value != chosen for value, _ in offered):
            offered.append((chosen, chosen))
        return Control(name, label, chosen, [("", "Any"), *offered])

    def text(name: str, label: str, suggestions: Iterable[str] = (), placeholder: str = "") -> Control:
        return Control(name, label, typed.get(name, ""), suggestions=list(suggestions), placeholder=placeholder)

    first = [
        choice("status", "Status", STATUSES),
        choice("profile", "Profile", ((slug, slug) for slug in profiles)),
        choice("provider", "Provider", ((slug, slug) for slug in providers)),
    ]
    more = [
        text("requested_model", "Model asked for", _some(asked_for for asked_for, _ in names), "gpt-4o"),
        text("model", "Model sent upstream", _some(sent for _, sent in names), "acme-gpt-4o"),
        text("access_key", "Access key", keys, "app"),
        text("session", "Session", placeholder="its name or id"),
        choice("error_code", "Error", _ERRORS),
        text("rule", "Rule", rules, "long context"),
        choice("strategy", "Strategy", _STRATEGIES),
        text("message__contains", "Text in the message"),
        Control("latency_ms__gt", "Slower than", typed.get("latency_ms__gt", ""), kind="number", unit="ms"),
    ]
    recovered = asked.given.get("recovered", "") in ("1", "true")
    offered = {control.name for control in (*first, *more)} | {*TIME, *(["recovered"] if recovered else [])}
    between = typed.get("range", BETWEEN) == BETWEEN and bool({*TIME} & typed.keys())
    moments = [
        Control(name, label, typed.get(name, "") if between else "", placeholder=f"{at or now:%Y-%m-%d %H:%M}")
        for name, label, at in (("from", "From", asked.span.start), ("to", "To", asked.span.end))
    ]
    return Form(
        range=BETWEEN if between else asked.range,
        ranges=[*((value, word) for value, (word, _) in RANGES.items()), (BETWEEN, "Between two moments")],
        moments=moments,
        first=first,
        more=more,
        more_chosen=sum(bool(control.value) for control in more) + recovered,
        recovered=recovered,
        kept=[(name, value) for name, value in asked.given.items() if name not in offered],
        profiles=profiles,
        providers=providers,
    )


def _names() -> tuple[dict[str, Any], list[str], list[str]]:
    """Profiles with their primary keys, names of access keys, names of rules; in one query."""
    kinds: tuple[tuple[Any, str], ...] = ((Profile, "slug"), (AccessKey, "name"), (Rule, "name"))
    parts = [
        model.objects.order_by().values_list(Value(place, IntegerField()), F(column), "pk")
        for place, (model, column) in enumerate(kinds)
    ]
    found: tuple[dict[str, Any], ...] = ({}, {}, {})
    for place, name, pk in parts[0].union(*parts[1:]):
        found[place][name] = pk
    profiles, keys, rules = ({name: names[name] for name in sorted(names)} for names in found)
    return profiles, list(keys)[:SUGGESTED], list(rules)[:SUGGESTED]


def _some(names: Iterable[str]) -> list[str]:
    """Without patterns, which no request asks for by that name."""
    return sorted({name for name in names if "*" not in name})[:SUGGESTED]
