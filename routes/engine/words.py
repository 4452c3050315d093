"""Plain words for the engine's codes: reasons, exclusions, error classes, circuit transitions. Text only.

Codes and numbers are what is stored; words are made on reading, so that they can be improved for old records
as well. Of errors, ``troubles`` has the words.
"""

from __future__ import annotations

from routes.engine.troubles import ERRORS

Value = float | int | str | None


def seconds(value: float) -> str:
    """A duration as people say it: ``350 ms``, ``4.2 s``, ``2 min 5 s``, ``1 h 30 min``."""
    if value < 1:
        return f"{value * 1000:.0f} ms"
    if value < 60:
        return f"{value:.1f}".removesuffix(".0") + " s"
    whole = round(value)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s" if whole % 60 else f"{whole // 60} min"
    minutes = whole % 3600 // 60
    return f"{whole // 3600} h {minutes} min" if minutes else f"{whole // 3600} h"


def ranked(code: str, value: Value, rank: int) -> str:
    """Why a target stands at ``rank`` (1 = first) of the ranking."""
    number = float(value) if isinstance(value, int | float) else 0.0
    lowest, fewest, highest = ("lowest ", "fewest, ", "highest ") if rank == 1 else ("", "", "")
    match code:
        case "in_order":
            return f"number {number:.0f} in the configured order"
        case "first":
            return "the only target this strategy uses"
        case "only_candidate":
            return "the only candidate left"
        case "turn":
            return f"its turn (count {number:.0f})" if rank == 1 else "next in turn"
        case "weight":
            return f"weighted {number:.1f} %"
        case "smooth":
            return f"smoothly weighted {number:.1f} %"
        case "first_event":
            return f"{lowest}first event {number:.1f} ms"
        case "per_token":
            return f"{lowest}latency {number:.2f} ms per output token"
        case "latency":
            return f"{lowest}latency {number:.1f} ms"
        case "cold_start":
            return f"not measured yet ({number:.0f} outcomes)"
        case "explore":
            return f"being measured ({number:.0f} outcomes so far)"
        case "peak_ewma":
            drawn = ", the better of two drawn" if rank == 1 else ""
            return f"latency and load score {number:.1f} ms{drawn}"
        case "usd_per_million":
            return f"${number:.2f}/1M" if number >= 0.01 or number == 0 else f"${number:.4f}/1M"
        case "price_unknown":
            return "price unknown"
        case "pinned":
            return f"its session has been here for {seconds(number)}"
        case "origin":
            return "the response this request goes on with came from it"
        case "demoted_threshold":
            return f"put back after {number:.0f} failures in a row"
        case "demoted_success_rate":
            return f"put back: only {100 * number:.0f} % of its latest answers were good"
        case "demoted_latency":
            return f"put back for a latency of {number:.0f} ms"
        case "random":
            return f"drawn at random, one of {number:.0f}"
        case "in_flight":
            return f"{number:.0f} in flight"
        case "in_flight_of_two":
            return f"{number:.0f} in flight, the better of two drawn"
        case "requests":
            return f"{fewest}{_count(number, 'request')} in the window"
        case "tokens_used":
            return f"{_count(number, 'token')} used in the window"
        case "speed":
            return f"{highest}{number:.1f} tokens/s"
        case "speed_unmeasured":
            return f"counted as {number:.1f} tokens/s, too few streams yet"
        case "free_seats":
            return f"{number:g} of its seats free"
        case "seats_unknown":
            return "its number of seats is unknown"
        case "hash_session":
            return f"{highest}hash of the session ({number:.4f})"
        case "hash_request":
            return f"{highest}hash of the request ({number:.4f})"
        case "hash_fact":
            return f"{highest}hash of the named fact ({number:.4f})"
        case "variant":
            return f"in variant {value}"
        case "other_variant":
            return f"backup from variant {value}"
        case "no_variant":
            return "in no variant"
        case "region":
            return f"in the requested region {value}"
        case "region_area":
            return f"in {value}, the area of the requested region"
        case "region_priority":
            return f"in {value}, a region the policy prefers"
        case "region_other":
            return f"farther away, in {value}" if value else "its region is unknown"
        case "model_score":
            return f"{_count(number, 'point')} for what the request requires"
        case "current_percent":
            return f"{lowest}load {number:.0f} % of its capacity"
        case "current_load":
            return f"{lowest}load {number:g}, capacity unknown"
        case "foreseen_percent":
            return f"{lowest}expected load {number:.0f} % of its capacity"
        case "foreseen_load":
            return f"{lowest}expected load {number:g}, capacity unknown"
        case "next_try":
            return f"due to be tried in {seconds(number)}" if number > 0 else "due to be tried"
        case "backup":
            return "further backup"
    return code.replace("_", " ")


def _count(number: float, noun: str) -> str:
    return f"{number:,.0f} {noun}" if number == 1 else f"{number:,.0f} {noun}s"


_QUARANTINE_CAUSES = {
    "rate_limited": "rate-limited",
    "auth_failed": "its credential was refused; kept away",
    "quota_exhausted": "its account is out of credit; kept away",
    "overloaded": "it asked to be left alone",
}


def excluded(code: str, value: Value) -> str:
    """Why a target was left out."""
    number = float(value) if isinstance(value, int | float) else 0.0
    match code:
        case "disabled":
            return "disabled by an operator"
        case "draining":
            return "draining: it gets no new requests"
        case "model_not_served":
            return "does not serve this model"
        case "wire_unsupported" if value == "generic":
            return "serves service requests (/svc) only"
        case "wire_unsupported":
            return f"speaks the {value} format, which this request is not written in"
        case "not_requested":
            return "not among the providers the request asked for"
        case "excluded_by_request":
            return "excluded by the request"
        case "circuit_open":
            return f"its circuit is open for another {seconds(number)}" if number > 0 else "its circuit is open"
        case "circuit_forced_open" if value is None:
            return "its circuit is held open by an operator"
        case "circuit_forced_open":
            return f"its circuit is held open by an operator for another {seconds(number)}"
        case "head_offline":
            return "its head is offline: no heartbeat in time"
        case "head_draining":
            return "its head is draining: it takes no new sessions"
        case "heads_serve":
            return "used only while none of its provider's heads can be"
        case "slow_start":
            return f"recovering: gets {number:.0f} % of requests for now"
        case "weight_zero":
            return "has weight 0"
        case "at_capacity":
            return f"already serves {number:.0f} requests, as many as its provider may"
        case "tags_missing":
            return f"does not carry the tag {value}"
        case "model_type":
            return f"serves models of type {value} only"
        case "unhealthy":
            return "found unhealthy by its health checks"
        case "rule_only":
            return f"belongs to the rule “{value}”, which did not match"
        case "not_in_rule":
            return f"not among the targets of the rule “{value}”"
        case "not_origin":
            return "not where the response came from that this request goes on with"
        case "not_first":
            return "not the first target, and this strategy uses no other"
    if code.startswith("quarantined_"):
        cause = code.removeprefix("quarantined_")
        return f"{_QUARANTINE_CAUSES.get(cause, cause.replace('_', ' '))} for another {seconds(number)}"
    return code.replace("_", " ")


def outcome(error_class: str | None, http_status: int | None) -> str:
    """What an attempt came to."""
    if error_class is None:
        return f"answered {http_status}" if http_status is not None else "answered"
    known = ERRORS.get(error_class)
    words = known.told if known else error_class.replace("_", " ")
    return f"{words} ({http_status})" if http_status is not None else words


_TRANSITIONS = {
    "consecutive_failures": "opened its circuit: too many failures in a row",
    "failure_rate": "opened its circuit: too many of the latest results were failures",
    "half_open_failure": "opened its circuit again: it failed while being tried",
    "recovery_timeout": "moved its circuit to half-open: its pause was over",
    "degraded_success": "moved its circuit to half-open: it answered although nothing was expected of it",
    "successes": "closed its circuit: it answered often enough",
    "probe_success": "moved its circuit to half-open: a health check found it working",
    "force_ended": "moved its circuit to half-open: the time for which it was held open was over",
}


def transition(before: str, after: str, reason: str) -> str:
    """A change of circuit state, to follow the words "this" or "attempt 2"."""
    known = _TRANSITIONS.get(reason)
    return known or f"moved its circuit from {before} to {after} ({reason})".replace("_", "-")


_STAGES = {
    "admission": "at admission",
    "health": "for its health",
    "smart_routing": "by a smart rule",
    "affinity": "by affinity",
    "load_balancer": "by the strategy",
}


def stage(name: str) -> str:
    """Where a target was left out, to follow "left out"."""
    return _STAGES.get(name, f"by {name.replace('_', ' ')}")
