"""Two configurations side by side, as sentences: ``profile default: weight of alpha 70 → 50``.

Works on canonical documents, so order of keys and left-out defaults never show up. Imports only what says a
condition in words.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from routes.document.condition import sentence

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

#: Objects that are one value, told as a whole.
WHOLE = frozenset({"failover.mode"})
#: Values longer than this are cut in sentences; the change itself holds them whole.
SHOWN = 80


@dataclass(frozen=True, slots=True)
class Change:
    """One difference. ``path`` names things by slug: ``profiles[default].targets[alpha].weight``."""

    path: str
    sentence: str
    before: Any
    after: Any

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def compare(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[Change]:
    """Every difference between two canonical configurations, in the document's order."""
    return [
        *_fields("policy", "policy", before.get("policy") or {}, after.get("policy") or {}),
        *_fields("prices", "prices", before.get("prices") or {}, after.get("prices") or {}),
        *_things("provider", before.get("providers") or (), after.get("providers") or ()),
        *_things("profile", before.get("profiles") or (), after.get("profiles") or ()),
    ]


def _things(noun: str, before: Sequence[Mapping[str, Any]], after: Sequence[Mapping[str, Any]]) -> Iterator[Change]:
    old = {entry["slug"]: entry for entry in before}
    new = {entry["slug"]: entry for entry in after}
    for slug in sorted({*old, *new}):
        path, name = f"{noun}s[{slug}]", f"{noun} {slug}"
        if slug not in old:
            yield Change(path, f"{name} added", None, new[slug])
        elif slug not in new:
            yield Change(path, f"{name} removed", old[slug], None)
        else:
            if noun == "profile":
                yield from _targets(path, name, old[slug]["targets"], new[slug]["targets"], "the provider's")
                yield from _rules(path, name, old[slug].get("rules", ()), new[slug].get("rules", ()))
            skip = {"targets", "rules"} if noun == "profile" else set()
            yield from _fields(path, name, _without(old[slug], skip), _without(new[slug], skip))


def _rules(
    path: str, name: str, before: Sequence[Mapping[str, Any]], after: Sequence[Mapping[str, Any]]
) -> Iterator[Change]:
    old = {rule["name"]: rule for rule in before}
    new = {rule["name"]: rule for rule in after}
    for rule in {**old, **new}:
        here, words = f"{path}.rules[{rule}]", f"{name}: rule {rule}"
        if rule not in old:
            yield Change(here, f"{words} added: {summary(new[rule])}", None, new[rule])
        elif rule not in new:
            yield Change(here, f"{words} removed: {summary(old[rule])}", old[rule], None)
        else:
            yield from _rule(here, words, old[rule], new[rule])
    orders = [name for name in old if name in new], [name for name in new if name in old]
    if orders[0] != orders[1]:
        yield Change(f"{path}.rules", f"{name}: {_reordered(*orders)}", *orders)


def _rule(path: str, words: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[Change]:
    was, now = before["when"], after["when"]
    if was != now:
        yield Change(f"{path}.when", f"{words}: condition “{sentence(was)}” → “{sentence(now)}”", was, now)
    if before["enabled"] != after["enabled"]:
        switched = f"{words} switched {_show(after['enabled'])}"
        yield Change(f"{path}.enabled", switched, before["enabled"], after["enabled"])
    yield from _targets(path, words, before["targets"], after["targets"], "the profile's")
    for field in ("strategy", "params"):
        if before[field] != after[field]:
            shown = ("the profile's" if rule[field] is None else _show(rule[field]) for rule in (before, after))
            yield Change(f"{path}.{field}", f"{words}: {field} {' → '.join(shown)}", before[field], after[field])
    told = {"name", "when", "enabled", "targets", "strategy", "params"}
    yield from _fields(path, words, _without(before, told), _without(after, told))


def summary(rule: Mapping[str, Any]) -> str:
    """A rule in words: ``tokens ≥ 32 000 → alpha, beta / gpt-4o``."""
    return f"{sentence(rule['when'])} → {', '.join(map(_label, rule['targets'])) or 'no target'}"


def _reordered(before: list[str], after: list[str]) -> str:
    """One rule that moved is named with its places, counted from 1; of several the whole order is told."""
    for rule in before:
        if [name for name in before if name != rule] == [name for name in after if name != rule]:
            return f"rule {rule} moved from place {before.index(rule) + 1} to {after.index(rule) + 1}"
    return f"order of rules {', '.join(before)} → {', '.join(after)}"


def _targets(
    path: str, name: str, before: Sequence[Mapping[str, Any]], after: Sequence[Mapping[str, Any]], left_open: str
) -> Iterator[Change]:
    """``left_open``: whose weight counts where a target has none."""
    old = {_label(target): target for target in before}
    new = {_label(target): target for target in after}
    for label, target in new.items():
        if label not in old:
            yield Change(f"{path}.targets[{label}]", f"{name}: target {label} added", None, target)
    for label, target in old.items():
        if label not in new:
            yield Change(f"{path}.targets[{label}]", f"{name}: target {label} removed", target, None)
            continue
        for field in ("weight", "tier"):
            was, now = target[field], new[label][field]
            if was != now:
                shown = (left_open if value is None and field == "weight" else _show(value) for value in (was, now))
                sentence = f"{name}: {field} of {label} {' → '.join(shown)}"
                yield Change(f"{path}.targets[{label}].{field}", sentence, was, now)
    kept_before = [label for label in old if label in new]
    kept_after = [label for label in new if label in old]
    if kept_before != kept_after:
        sentence = f"{name}: order of targets {', '.join(kept_before)} → {', '.join(kept_after)}"
        yield Change(f"{path}.targets", sentence, kept_before, kept_after)


def _label(target: Mapping[str, Any]) -> str:
    return f"{target['provider']}/{target['model']}" if target["model"] else str(target["provider"])


def _fields(
    path: str, name: str, before: Mapping[str, Any], after: Mapping[str, Any], field: str = ""
) -> Iterator[Change]:
    for key in {**before, **after}:
        here = f"{field}.{key}" if field else key
        was, now = before.get(key), after.get(key)
        if was == now:
            continue
        if isinstance(was, dict) and isinstance(now, dict) and here not in WHOLE:
            yield from _fields(path, name, was, now, here)
        elif key not in before:
            yield Change(f"{path}.{here}", f"{name}: {here} added: {_show(now)}", None, now)
        elif key not in after:
            yield Change(f"{path}.{here}", f"{name}: {here} removed", was, None)
        else:
            yield Change(f"{path}.{here}", f"{name}: {here} {_show(was)} → {_show(now)}", was, now)


def _without(entry: Mapping[str, Any], names: set[str]) -> dict[str, Any]:
    return {name: value for name, value in entry.items() if name not in names}


def _show(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, dict):
        text = ", ".join(f"{key} {_show(inner)}" for key, inner in value.items()) or "none"
    elif isinstance(value, (list, tuple)):
        text = ", ".join(_show(inner) for inner in value) or "none"
    else:
        text = str(value)
    return text if len(text) <= SHOWN else f"{text[: SHOWN - 1]}…"
