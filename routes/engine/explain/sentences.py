"""The story of a route in plain words, from the JSON that ``describe`` made. Text only; imports the engine's words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from routes.engine import words
from routes.engine.explain.pack import RECORDED_PLACES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

#: Clauses told of one rule; more are counted.
TOLD_CLAUSES = 4


def sentences(rendered: Mapping[str, Any], attempts: Sequence[Mapping[str, Any]] = ()) -> list[str]:
    """The story of a route: the decision as ``render`` tells it, then each attempt.

    ``attempts`` are dicts as the history API gives them (provider, model, http_status, error_class, latency_ms,
    ttfb_ms; ``transitions`` [before, after, reason] where there were any).
    """
    return [*decision_sentences(rendered), *attempt_sentences(attempts)]


def decision_sentences(rendered: Mapping[str, Any]) -> list[str]:
    """Why this target and not another: rules, pin, strategy, who was left out, who stands behind."""
    ranking, excluded = rendered["ranking"], rendered["excluded"]
    total = len(ranking) + len(excluded)
    profile = rendered["profile"]
    told = rule_sentences(rendered)
    if not ranking:
        told.append(f"None of the {_count(total, 'target')} of profile {profile} could take this request.")
    else:
        winner = ranking[0]
        told.append(
            f"Profile {profile} has {_count(total, 'target')}; {_chooser(rendered)} chose "
            f"{_name(winner)}: {winner['reason']}."
        )
    told += _about_the_choice(rendered)
    if rendered["degraded"]:
        told.append("Nothing healthy was left, so one attempt was allowed on a target that was out.")
    told += [f"{_name(line)} was left out {words.stage(line['stage'])}: {line['reason']}." for line in excluded]
    backups = [f"{_name(line)} ({line['reason']})" for line in ranking[1:RECORDED_PLACES]]
    if backups:
        more = len(ranking) - 1 - len(backups)
        place = "Out as well, and due later" if rendered["degraded"] else "Next in line"
        told.append(f"{place}: {', '.join(backups)}{f' and {more} more' if more else ''}.")
    return told


def rule_sentences(rendered: Mapping[str, Any]) -> list[str]:
    """Which rule matched, and why those before it did not."""
    told: list[str] = []
    for rule in rendered.get("rules", ()):
        name = f"Rule “{rule['name']}”"
        if rule["chosen"]:
            told.append(f"{name} matched: {_clauses(rule, True) or rule['sentence']}.")
            break
        if rule["matched"] is None:
            told.append(
                f"Whether rule “{rule['name']}” matched cannot be told: {_clauses(rule, None) or rule['sentence']}."
            )
        elif rule["note"]:
            told.append(f"{name} was not asked: {rule['note']}.")
        else:
            told.append(f"{name} did not match: {_clauses(rule, False) or rule['sentence']}.")
    else:
        if rendered["matched_rule"] is not None and not rendered.get("rules"):
            told.append(f"Rule “{rendered['matched_rule']}” matched.")
        elif told and rendered["source"] != "pinned":
            told.append("No rule matched, so the profile’s own targets were used.")
    return told


def _clauses(rule: Mapping[str, Any], matched: bool | None) -> str:
    """The clauses that made it so, in words."""
    found = [clause["sentence"].partition(": ")[2] for clause in rule["clauses"] if clause["matched"] is matched]
    if not found:
        return ""
    more = len(found) - TOLD_CLAUSES
    return "; ".join(found[:TOLD_CLAUSES]) + (f" and {more} more" if more > 0 else "")


def _chooser(rendered: Mapping[str, Any]) -> str:
    if rendered["source"] == "affinity":
        return "the session’s pin"
    if rendered["source"] == "pinned":
        return "the response this request goes on with"
    return f"strategy {rendered['strategy']}"


def _about_the_choice(rendered: Mapping[str, Any]) -> list[str]:
    """Policy, variant, pin: what changed or made the choice beside the strategy."""
    told: list[str] = []
    if rendered.get("replaced_strategy"):
        told.append(
            f"Strategy {rendered['replaced_strategy']} is switched off by the policy, so {rendered['strategy']} ranked."
        )
    if rendered.get("variant"):
        told.append(f"The request belongs to variant “{rendered['variant']}” of the test.")
    pin = rendered.get("pin")
    if pin and not pin["honoured"]:
        told.append(_pin_sentence(rendered, pin))
    return told


def _pin_sentence(rendered: Mapping[str, Any], pin: Mapping[str, Any]) -> str:
    """Why a pin was not followed."""
    if pin["provider"] is None:
        return "The session was pinned to a target that does not belong to this profile any more."
    place = f"The session is pinned to {_name(pin)}, which was not used"
    for line in rendered["excluded"]:
        if line["target"] == pin["target"]:
            kept = "; the pin is kept" if pin["kept"] else ""
            return f"{place}: {line['reason']}{kept}."
    return f"{place}: a target of a lower tier is available again."


def attempt_sentences(attempts: Sequence[Mapping[str, Any]]) -> list[str]:
    """A sentence for each attempt, and one for each change of circuit it caused (see ``sentences``)."""
    told: list[str] = []
    for number, attempt in enumerate(attempts, 1):
        result = words.outcome(attempt.get("error_class"), attempt.get("http_status"))
        sentence = f"Attempt {number}: {_name(attempt)} {result}"
        latency = attempt.get("latency_ms")
        if latency is not None:
            sentence += f" after {words.seconds(latency / 1000)}"
        first = attempt.get("ttfb_ms")
        if first is not None and attempt.get("error_class") is None and (latency is None or first + 1 < latency):
            sentence += f", the first of it after {words.seconds(first / 1000)}"
        told.append(sentence + ".")
        told += [
            f"Attempt {number} {words.transition(before, after, reason)}."
            for before, after, reason in attempt.get("transitions") or ()
        ]
    return told


def _name(line: Mapping[str, Any]) -> str:
    return f"{line['provider']} / {line['model']}" if line.get("model") else str(line["provider"])


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
