"""Two configurations side by side, as sentences: ``profile default: weight of alpha 70 → 50``.

Works on canonical documents, so order of keys and left-out defaults never show up. Imports nothing of the project.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

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
                yield from _targets(path, name, old[slug]["targets"], new[slug]["targets"])
            skip = {"targets"} if noun == "profile" else set()
            yield from _fields(path, name, _without(old[slug], skip), _without(new[slug], skip))


def _targets(
    path: str, name: str, before: Sequence[Mapping[str, Any]], after: Sequence[Mapping[str, Any]]
) -> Iterator[Change]:
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
                shown = (
                    "the provider's" if value is None and field == "weight" else _show(value) for value in (was, now)
                )
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
        if isinstance(was, dict) and isinstance(now, dict):
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
