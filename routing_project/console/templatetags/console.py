"""How the console's templates draw things: icons, states, figures, times.

Owns the words, icons and colours of every state and the units of every number, so that no template invents
its own. Everything returned as safe HTML is built by ``format_html``: text from outside stays text. Imports
nothing of the product, so that any application's templates may load it.
"""

from __future__ import annotations

import datetime as dt
import re
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

from django import forms, template
from django.templatetags.static import static
from django.utils import timezone
from django.utils.html import format_html, format_html_join

if TYPE_CHECKING:
    from collections.abc import Sequence

    from django.forms.boundfield import BoundField
    from django.utils.safestring import SafeString

register = template.Library()

NARROW_SPACE = "\u202f"  # within numbers and before %
SPACE = "\u00a0"  # before units
DASH = "–"


class Look(NamedTuple):
    tone: str
    icon: str
    word: str


#: Every state the console shows. Keys are the stable values of models, history rows and trace entries.
LOOKS: dict[str, Look] = {
    # admin state of a provider
    "active": Look("ok", "circle-check", "Active"),
    "draining": Look("warn", "circle-pause", "Draining"),
    "disabled": Look("quiet", "circle-off", "Disabled"),
    # head
    "offline": Look("bad", "unplug", "Offline"),
    "waiting": Look("warn", "clock", "Waiting for approval"),
    # status of a route
    "routed": Look("ok", "circle-check", "Routed"),
    "failed": Look("bad", "circle-x", "Failed"),
    "timeout": Look("bad", "clock", "Timed out"),
    "rejected": Look("warn", "ban", "Rejected"),
    "cancelled": Look("quiet", "circle-off", "Cancelled by client"),
    "interrupted": Look("bad", "unplug", "Interrupted"),
    "decided": Look("info", "split", "Decided"),
    "recovered": Look("info", "repeat", "Recovered"),
    "degraded": Look("warn", "triangle-alert", "Degraded"),
    # one attempt
    "success": Look("ok", "circle-check", "Answered"),
    "failure": Look("bad", "circle-x", "Failed"),
    "excluded": Look("quiet", "ban", "Left out"),
    # circuit
    "closed": Look("ok", "circle-check", "Closed"),
    "open": Look("bad", "circle-off", "Open"),
    "half_open": Look("warn", "circle-dashed", "Half-open"),
    "held_open": Look("bad", "lock", "Held open"),
    "held_closed": Look("warn", "lock", "Held closed"),
    # what probes found (degraded: above)
    "healthy": Look("ok", "circle-check", "Healthy"),
    "unhealthy": Look("bad", "circle-x", "Unhealthy"),
    "unknown": Look("quiet", "circle-dashed", "Unknown"),
    # quarantine
    "quarantined": Look("bad", "clock", "Quarantined"),
    "not_quarantined": Look("ok", "check", "None"),
    # access key
    "key_active": Look("ok", "circle-check", "Active"),
    "key_revoked": Look("quiet", "ban", "Revoked"),
    "key_expired": Look("warn", "clock", "Expired"),
    "budget_spent": Look("bad", "ban", "Budget used up"),
    # smart rule
    "rule_on": Look("ok", "circle-check", "On"),
    "rule_off": Look("quiet", "circle-off", "Off"),
    # a rule or a condition, asked about one request
    "rule_matched": Look("ok", "circle-check", "Matched"),
    "rule_later": Look("info", "circle-dashed", "Would match too"),
    "rule_missed": Look("quiet", "circle", "Did not match"),
    "rule_unknown": Look("warn", "circle-dashed", "Cannot be told"),
    "holds": Look("ok", "check", "Holds"),
    "fails": Look("quiet", "x", "Does not hold"),
    "same_choice": Look("ok", "circle-check", "As recorded"),
    "other_choice": Look("info", "split", "Another choice than recorded"),
    # a message of an alert, and how much an alert matters
    "pending": Look("info", "clock", "Waiting"),
    "sent": Look("ok", "circle-check", "Sent"),
    "suppressed": Look("quiet", "ban", "Held back"),
    "severity_info": Look("info", "info", "Information"),
    "severity_warning": Look("warn", "triangle-alert", "Warning"),
    "severity_critical": Look("bad", "circle-alert", "Critical"),
    # configuration
    "live": Look("ok", "circle-check", "Live"),
    "unpublished": Look("warn", "git-compare", "Unpublished"),
    "published": Look("quiet", "check", "Published"),
    "no_credential": Look("quiet", "key-round", "No credential"),
}

MESSAGE_LOOKS = {
    "success": ("tone-ok", "circle-check"),
    "warning": ("tone-warn", "triangle-alert"),
    "error": ("tone-bad", "circle-alert"),
}


@cache
def _sprite() -> str:
    return static("console/vendor/lucide/icons.svg")


@register.simple_tag
@lru_cache(maxsize=256)  # pages of many rows draw the same few, over and over
def icon(name: str) -> SafeString:
    """An icon of the sprite, for the eye only: the word stands beside it."""
    return format_html(
        '<svg class="icon" aria-hidden="true" focusable="false"><use href="{}#{}"></use></svg>', _sprite(), name
    )


@register.simple_tag
@lru_cache(maxsize=256)
def state(name: str, word: str = "") -> SafeString:
    """A state as icon + word + colour. An unknown name is shown as it is, quietly."""
    look = LOOKS.get(name, Look("quiet", "circle", name))
    return format_html(
        '<span class="state tone-{}">{}<span>{}</span></span>', look.tone, icon(look.icon), word or look.word
    )


@register.filter
def state_tone(name: str) -> str:
    return LOOKS[name].tone if name in LOOKS else "quiet"


STAGE_WORDS = {
    "admission": "Admission",
    "health": "Health",
    "smart_routing": "Smart rules",
    "affinity": "Affinity",
    "load_balancer": "Strategy",
}


@register.filter
def stage_word(name: str) -> str:
    """A stage of the pipeline as people say it."""
    return STAGE_WORDS.get(name, name.replace("_", " ").capitalize())


@register.filter
def message_tone(level: str) -> str:
    return MESSAGE_LOOKS.get(level, ("tone-info", "info"))[0]


@register.filter
def message_icon(level: str) -> SafeString:
    return icon(MESSAGE_LOOKS.get(level, ("tone-info", "info"))[1])


@register.simple_tag
def bar(fraction: float | None) -> SafeString:
    """A horizontal bar for a share between 0 and 1; the number is written beside it by the caller."""
    width = max(0.0, min(1.0, fraction or 0.0)) * 100
    return format_html(
        '<svg class="bar" aria-hidden="true" focusable="false">'
        '<rect class="bar-fill" width="{}%" height="100%" rx="4"/></svg>',
        f"{width:.2f}",
    )


@register.simple_tag
def strip(outcomes: Sequence[bool], last: str) -> SafeString:
    """The last outcomes, oldest first: a short bar for each good one, a tall one for each failure. And in words: how
    many failed, and what the ``last`` was."""
    if not outcomes:
        return format_html('<span class="quiet">{}</span>', "none yet")
    told = f"{len(outcomes)} outcomes, {sum(not good for good in outcomes)} failed. Last: {last}"
    bars = {
        wanted: "".join(
            f"M{place * 7} {14 - height}h5v{height}h-5z" for place, good in enumerate(outcomes) if good is wanted
        )
        for wanted, height in ((True, 6), (False, 14))
    }
    return format_html(
        '<span class="strip" title="{0}"><svg aria-hidden="true" focusable="false" viewBox="0 0 68 14">'
        '<path class="strip-good" d="{1}"/><path class="strip-bad" d="{2}"/></svg>'
        '<span class="visually-hidden">{0}</span></span>',
        told,
        bars[True],
        bars[False],
    )


@register.simple_tag
def copy_button(element_id: str, word: str = "Copy") -> SafeString:
    """A button that copies the text of the element with that id."""
    return format_html(
        '<button type="button" class="button button-small" data-copy="{}">{}<span data-copy-word>{}</span></button>',
        element_id,
        icon("copy"),
        word,
    )


# -- numbers --------------------------------------------------------------------------------------------------
def grouped(value: float) -> str:
    """Digits in groups of three, parted by a narrow space that does not break."""
    return f"{value:,}".replace(",", NARROW_SPACE)


@register.filter
def count(value: int | None) -> str:
    return DASH if value is None else grouped(value)


@register.filter
def fact_value(value: object) -> str:
    """A value of a condition as people read it: words instead of JSON's."""
    match value:
        case None:
            return DASH
        case bool():
            return "yes" if value else "no"
        case list() | tuple():
            return ", ".join(fact_value(entry) for entry in value) or DASH
        case dict():
            return ", ".join(f"{name} {fact_value(entry)}" for name, entry in value.items())
        case int() | float():
            return grouped(round(value, 2))
    return str(value)


@register.filter
def metric_word(name: str) -> str:
    """``bytes_to_client`` as people write it. Callers may name their own metrics, so any name is one."""
    return name.replace("_", " ").capitalize()


@register.filter
def plain_number(value: float | None) -> str:
    """70.0 is 70."""
    return DASH if value is None else f"{value:g}"


@register.filter
def percent(fraction: float | None) -> str:
    """0.0512 -> ``5.1 %``; whole percents lose the decimal."""
    if fraction is None:
        return DASH
    value = round(fraction * 100, 1)
    if fraction > 0 and value == 0:
        return f"<{NARROW_SPACE}0.1{NARROW_SPACE}%"
    return f"{value:.0f}{NARROW_SPACE}%" if value == int(value) else f"{value:.1f}{NARROW_SPACE}%"


@register.filter
def milliseconds(value: float | None) -> str:
    """850 -> ``850 ms``, 1240 -> ``1.24 s``, 95000 -> ``1 min 35 s``."""
    if value is None:
        return DASH
    if value >= 60_000:
        minutes, seconds = divmod(round(value / 1000), 60)
        return f"{minutes}{SPACE}min {seconds}{SPACE}s" if seconds else f"{minutes}{SPACE}min"
    if value >= 1000:
        return f"{value / 1000:.2f}{SPACE}s"
    if value >= 10 or value == int(value):
        return f"{value:.0f}{SPACE}ms"
    return f"{value:.1f}{SPACE}ms"


@register.filter
def microseconds(value: float | None) -> str:
    if value is None:
        return DASH
    return f"{value:.0f}{SPACE}µs" if value < 1000 else milliseconds(value / 1000)


@register.filter
def micro_usd(value: int | None) -> str:
    """Millionths of a dollar as dollars, with as many places as the amount needs."""
    if value is None:
        return "unknown"
    dollars = value / 1_000_000
    if dollars == 0:
        return "$0"
    if dollars >= 1:
        return f"${grouped(round(dollars, 2))}"
    return f"${dollars:.6f}".rstrip("0")


UNIT = re.compile(r"(?<=\d) (?=(%|ms|s|min|h|USD)\b|%|\d{3}\b)")


@register.filter
def unbroken(text: str) -> str:
    """A sentence whose numbers stay whole, and with their units, at the end of a line."""
    return UNIT.sub(SPACE, text)


# -- times ----------------------------------------------------------------------------------------------------
def utc_words(value: dt.datetime) -> str:
    return value.astimezone(dt.UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


@register.filter
def utc(value: dt.datetime | None) -> SafeString | str:
    """The moment itself, with its zone."""
    if value is None:
        return DASH
    return format_html('<time class="nowrap" datetime="{}">{}</time>', value.isoformat(), utc_words(value))


@register.filter
def utc_stacked(value: dt.datetime) -> SafeString:
    """The same where rows stand close: the time, with the day below it."""
    day, time, zone = utc_words(value).split(" ")
    return format_html(
        '<time class="stacked" datetime="{}"><span>{}{}{} </span><span class="stacked-day">{}</span></time>',
        value.isoformat(),
        time,
        SPACE,
        zone,
        day,
    )


def ago_words(value: dt.datetime, now: dt.datetime) -> str:
    """``just now``, ``3 min ago``, ``in 2 h``: one unit, the largest that fits."""
    seconds = (now - value).total_seconds()
    size = abs(seconds)
    if size < 10:
        return "just now"
    for unit, length, until in (("s", 1, 60), ("min", 60, 3600), ("h", 3600, 86400 * 2), ("days", 86400, 1e18)):
        if size < until:
            words = f"{size // length:.0f}{SPACE}{unit}"
            break
    return f"{words} ago" if seconds > 0 else f"in {words}"


@register.filter
def ago(value: dt.datetime | None) -> SafeString | str:
    """How long ago, with the moment itself as title."""
    if value is None:
        return DASH
    return format_html(
        '<time class="nowrap" datetime="{}" title="{}">{}</time>',
        value.isoformat(),
        utc_words(value),
        ago_words(value, timezone.now()),
    )


@register.simple_tag
def tags(values: list[str] | None, empty: str = DASH) -> SafeString | str:
    if not values:
        return empty
    return format_html(
        '<span class="tags">{}</span>', format_html_join("", '<span class="tag">{}</span>', ((v,) for v in values))
    )


# -- forms ----------------------------------------------------------------------------------------------------
@register.inclusion_tag("console/parts/field.html")
def field(bound: BoundField, note: str = "") -> dict[str, Any]:
    """A form field with label, unit, help and errors. ``note`` replaces the help text."""
    return {
        "field": bound,
        "unit": getattr(bound.field, "unit", ""),
        "help": note or bound.help_text,
        "is_check": isinstance(bound.field.widget, forms.CheckboxInput),
        "as_group": bound.field.widget.use_fieldset,
        # A list to choose one from always has something chosen.
        "needs": bound.field.required or bound.field.disabled or type(bound.field.widget) is forms.Select,
    }
