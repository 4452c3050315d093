"""Rules as the profile's page shows them: a sentence each, what they matched lately, and what is odd about them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from routes import draft, lint, ports
from routes.admin import preview
from routes.admin.forms.strategies import word
from routes.document import DocumentError
from routes.document.condition import sentence

if TYPE_CHECKING:
    from collections.abc import Sequence

    from routes.models import Profile, Provider, Rule
    from routes.ports import RuleTraffic


class Card(NamedTuple):
    rule: Rule
    condition: str
    targets: list[str]
    strategy: str  # "" = the profile's
    traffic: RuleTraffic | None
    warnings: list[str]


def cards(profile: Profile, providers: Sequence[Provider], around: preview.Sections) -> list[Card]:
    """The profile's rules in order. One query when there are any, besides those for the rules themselves."""
    rules = list(draft.rules_of(profile))
    if not rules:
        return []
    traffic = ports.rule_traffic()
    warnings = _warnings(draft.profile_tree(profile), providers, around)
    return [
        Card(
            rule,
            sentence(rule.when),
            [label(target) for target in draft.targets_of(rule)],
            _by(rule.strategy),
            traffic.get((profile.slug, rule.name)),
            warnings.get(rule.name, []),
        )
        for rule in rules
    ]


def _by(strategy: str | None) -> str:
    """A strategy within a sentence."""
    words = word(strategy) if strategy else ""
    return words if words.startswith("A/B") else words[:1].lower() + words[1:]


def label(target: dict[str, Any]) -> str:
    return f"{target['provider']} / {target['model']}" if target["model"] else str(target["provider"])


def _warnings(tree: dict[str, Any], providers: Sequence[Provider], around: preview.Sections) -> dict[str, list[str]]:
    """What ``lint`` says, by the name of the rule."""
    named = {target["provider"] for part in (tree, *tree["rules"]) for target in part["targets"]}
    used = [provider for provider in providers if provider.slug in named]
    try:
        findings = lint.findings(preview.configuration([tree], used, around))
    except DocumentError:
        return {}  # the revisions page says what is wrong with the draft
    found: dict[str, list[str]] = {}
    start, words = f"profiles[{tree['slug']}].rules[", f"profile {tree['slug']}: "
    for finding in findings:
        for rule in tree["rules"]:
            place = f"{start}{rule['name']}]"
            if finding.path == place or finding.path.startswith(f"{place}."):
                text = finding.message.removeprefix(words).removeprefix(f"rule {rule['name']}").lstrip(": ")
                if finding.code == "rule_unreachable":
                    text = f"shadowed: it {text}"
                found.setdefault(rule["name"], []).append(text[:1].upper() + text[1:])
    return found
