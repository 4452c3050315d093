"""What a configuration may say and probably does not mean: told beside it, never refused.

rule_unreachable   an earlier rule takes every request that this one could
rule_without_targets, profile_without_targets   nothing to choose from
nothing_served     no target of this rule serves the model it names
model_not_served   this target names a model that its provider does not serve
weights_zero       all weights are 0, so all count alike
generic_among_others   targets that only service requests reach beside targets that those never reach
probe_without_cap  probes cost money, and no limit is set
probe_impossible   there is nothing that a completion could be asked of, so something else is asked for
queue_without_limit    requests wait for a place where places are not limited

Reads a validated document; knows no database and no live state.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from routes.engine import conditions, strategies
from routes.engine.snapshot import ModelMap

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from routes.document import Configuration, Profile, Provider, Rule, Target


DAY = 86_400


@dataclass(frozen=True, slots=True)
class Finding:
    """``path`` names things: ``profiles[default].rules[long context]``."""

    code: str
    path: str
    message: str

    def as_dict(self) -> dict[str, str]:
        return asdict(self)


def findings(configuration: Configuration) -> list[Finding]:
    """Everything found, in the document's order."""
    providers = {provider.slug: provider for provider in configuration.providers}
    maps = {
        slug: ModelMap(provider.models)
        for slug, provider in providers.items()
        if provider.models is not None and provider.wire != "generic"  # models mean nothing to those
    }
    found: list[Finding] = []
    for provider in configuration.providers:
        found += _probe(provider, configuration)
    for profile in configuration.profiles:
        found += _profile(profile, providers, maps)
        found += _unreachable(profile)
    return found


def _profile(profile: Profile, providers: Mapping[str, Provider], maps: Mapping[str, ModelMap]) -> Iterator[Finding]:
    path, name = f"profiles[{profile.slug}]", f"profile {profile.slug}"
    if not profile.targets:
        yield Finding("profile_without_targets", path, f"{name} has no targets of its own")
    if profile.limits.queue_ms and not profile.limits.concurrency:
        text = f"{name}: limits.queue_ms does nothing without limits.concurrency"
        yield Finding("queue_without_limit", path, text)
    yield from _mixed(path, name, profile.targets, providers)
    yield from _dead_models(path, name, profile.targets, maps)
    weights = [_weight(target, providers) for target in profile.targets]
    if _all_zero(weights, profile.strategy, profile.params):
        yield Finding("weights_zero", path, f"{name}: all weights are 0, so all targets count alike")
    for rule in profile.rules:
        here, words = f"{path}.rules[{rule.name}]", f"{name}: rule {rule.name}"
        yield from _rule(here, words, rule, profile, providers, maps)


def _probe(provider: Provider, configuration: Configuration) -> Iterator[Finding]:
    """Completions cost money, whoever asks for them."""
    path, probe = f"providers[{provider.slug}].probe", provider.probe
    if probe.kind != "completion":
        return
    if provider.wire == "generic":
        text = f"provider {provider.slug}: a generic service knows no completions; it is asked for a connection"
        yield Finding("probe_impossible", path, text)
        return
    models = _probed_models(provider, configuration)
    if not models:
        text = f"provider {provider.slug}: nobody names a model to ask for; its list of models is asked for instead"
        yield Finding("probe_impossible", path, text)
        return
    if not probe.daily_requests and not probe.daily_usd:
        number = round(len(models) * DAY / probe.interval)
        text = (
            f"provider {provider.slug}: while it is idle, probes are up to {number} completions a day; "
            "daily_requests and daily_usd would limit that"
        )
        yield Finding("probe_without_cap", path, text)


def _probed_models(provider: Provider, configuration: Configuration) -> set[str]:
    """The models that probes of a provider ask for, as far as the document says: those that targets name, else one."""
    lists = [profile.targets for profile in configuration.profiles]
    lists += [rule.targets for profile in configuration.profiles for rule in profile.rules]
    targets = [target for each in lists for target in each if target.provider == provider.slug]
    named = {target.model for target in targets if target.model is not None}
    if named:
        return named
    return set(next(([name] for name in provider.models or () if not set(name) & set("*?[")), []))


def _rule(
    path: str,
    words: str,
    rule: Rule,
    profile: Profile,
    providers: Mapping[str, Provider],
    maps: Mapping[str, ModelMap],
) -> Iterator[Finding]:
    then = "go to the profile's targets" if rule.fallback_to_profile else "are refused"
    if not rule.targets:
        yield Finding("rule_without_targets", path, f"{words} has no targets, so requests that match {then}")
        return
    yield from _mixed(path, words, rule.targets, providers)
    dead = list(_dead_models(path, words, rule.targets, maps))
    if len(dead) == len(rule.targets):
        text = f"{words}: none of its targets serves the model it names, so requests that match {then}"
        yield Finding("nothing_served", path, text)
    else:
        yield from dead
    weights = [_weight(target, providers, profile.targets) for target in rule.targets]
    own = rule.strategy is not None and rule.strategy != profile.strategy
    params = rule.params if rule.params is not None else {} if own else profile.params
    if _all_zero(weights, rule.strategy or profile.strategy, params):
        yield Finding("weights_zero", path, f"{words}: all weights are 0, so all targets count alike")


def _mixed(path: str, words: str, targets: Sequence[Target], providers: Mapping[str, Provider]) -> Iterator[Finding]:
    generic = dict.fromkeys(target.provider for target in targets if providers[target.provider].wire == "generic")
    if generic and any(target.provider not in generic for target in targets):
        names = ", ".join(generic)
        text = f"{words}: only service requests (/svc) reach {names}, and they reach none of the other targets"
        yield Finding("generic_among_others", path, text)


def _dead_models(path: str, words: str, targets: Sequence[Target], maps: Mapping[str, ModelMap]) -> Iterator[Finding]:
    for index, target in enumerate(targets):
        served = maps.get(target.provider)
        if target.model is not None and served is not None and served.upstream(target.model) is None:
            text = f"{words}: provider {target.provider} does not serve the model {target.model}"
            yield Finding("model_not_served", f"{path}.targets[{index}]", text)


def _weight(target: Target, providers: Mapping[str, Provider], profile: Sequence[Target] = ()) -> float:
    """The weight that counts: the target's own, else that of the profile's target, else the provider's."""
    if target.weight is not None:
        return target.weight
    for own in profile:
        if own.provider == target.provider and target.model in (None, own.model):
            return _weight(own, providers)
    return providers[target.provider].weight


def _all_zero(weights: Sequence[float], name: str, params: Mapping[str, Any]) -> bool:
    if len(weights) < 2 or any(weights):
        return False
    strategy = strategies.get(name)
    return strategy.leaf(strategies.parse_params(strategy, params)).by_weight


# -- rules that no request reaches ------------------------------------------------------------------------
def _unreachable(profile: Profile) -> Iterator[Finding]:
    """Exact for equal conditions and for ``all`` and ``any`` of the same clauses; it never guesses."""
    earlier: list[_Asked] = []
    for rule in profile.rules:
        if not rule.enabled:
            continue
        asked = _asked(rule)
        before = next((other for other in earlier if other.takes_all_of(asked)), None)
        if before is not None:
            always = "matches whatever this one does" if before.every else "always matches"
            text = f"profile {profile.slug}: rule {rule.name} is never reached: rule {before.name} {always}"
            yield Finding("rule_unreachable", f"profiles[{profile.slug}].rules[{rule.name}]", text)
        if not asked.measures:
            earlier.append(asked)


class _Asked(NamedTuple):
    """What a rule asks for: clauses that must all hold, and clauses of which one is enough (empty = says nothing)."""

    name: str
    every: frozenset[str]
    some: frozenset[str]
    needs_text: bool  # never matches a request without a prompt
    measures: bool  # asks about its own targets, so that the same words mean another thing in another rule

    def takes_all_of(self, later: _Asked) -> bool:
        if self.needs_text and not later.needs_text:
            return False
        return self.every <= later.every or bool(later.some and later.some <= self.some)


def _asked(rule: Rule) -> _Asked:
    condition = conditions.parse(rule.when)
    measures = any(fact.startswith("partition.") for fact in condition.facts)
    return _Asked(rule.name, *_clauses(rule.when), condition.needs_text, measures)


def _clauses(tree: Mapping[str, Any]) -> tuple[frozenset[str], frozenset[str]]:
    """(clauses that must all hold, clauses of which one is enough)."""
    whole = frozenset({_key(tree)})
    if "all" in tree:
        clauses = frozenset(map(_key, tree["all"]))
        return clauses, clauses if len(clauses) == 1 else frozenset()
    if "any" in tree:
        return whole, frozenset(map(_key, tree["any"]))
    return whole, whole


def _key(tree: Any) -> str:
    return json.dumps(tree, sort_keys=True)
