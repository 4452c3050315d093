"""The profile form: the document's fields as a person fills them in, and back. Targets and the strategy have modules
of their own (``targets``, ``strategies``), rules have their own pages.

Values are judged by ``routes.document`` through the action; field names repeat the document's paths, so that its errors
find their place.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from django import forms

from routes.admin.forms.fields import Number, Numbers, Percent, Whole, Words
from routes.admin.forms.strategies import StrategyForm, initial_params
from routes.document.failover import Latency
from routes.engine import strategies
from routes.engine.facts.catalogue import SCENARIOS

if TYPE_CHECKING:
    from django.forms.boundfield import BoundField

    from routes.admin.forms.targets import TargetFormSet

#: failover mode -> what it is called, and what it does in one sentence.
MODES = {
    "immediate": ("Immediate", "The strategy’s first choice leads; failures move on within the request."),
    "threshold": ("Failures in a row", "The leader steps back after so many failures in a row."),
    "success_rate": ("Success rate", "The leader steps back while too few of its attempts succeed."),
    "latency": ("Latency", "The leader steps back while it answers too slowly."),
    "cost": ("Cost", "The strategy’s first choice leads; its backups come cheapest first."),
}
#: when streams are asked for their usage -> what it is called, and what it means in one sentence.
ACCOUNTING = {
    "when_asked": (
        "When it is needed",
        "Streams are asked for their usage when the access key has a limit of tokens or "
        "money; others report it when the client asks.",
    ),
    "always": ("Always", "Every stream is asked, so that the history has true figures; the client sees nothing of it."),
    "off": ("Never", "Requests stay as the client wrote them; usage that nobody asked for is estimated."),
}
PERCENTILES = tuple((name, name) for name in Latency.model_fields["percentile"].annotation.__args__)  # type: ignore[union-attr]


class Choice(NamedTuple):
    name: str
    word: str
    sentence: str
    checked: bool
    params: list[BoundField]


class ProfileForm(StrategyForm):
    slug = forms.SlugField(
        label="Slug",
        max_length=64,
        help_text="Clients reach it at <code>/p/{slug}/v1/…</code>; it cannot be changed later. "
        "Lower-case letters, digits and hyphens.",
    )
    name = forms.CharField(label="Name", max_length=200, help_text="For people, like “Chat, European first”.")
    strategy = forms.ChoiceField(label="Strategy", choices=())
    mode = forms.ChoiceField(
        label="When the leader steps back",
        choices=[(name, words[0]) for name, words in MODES.items()],
        required=False,
    )
    accounting = forms.ChoiceField(
        label="Token counts of streams", choices=[(name, words[0]) for name, words in ACCOUNTING.items()]
    )
    require_tags = forms.BooleanField(
        label="Only providers that carry the request’s tags",
        required=False,
        help_text="A request with <code>x-route-tags: eu, cheap</code> then reaches only providers that have both "
        "tags. Off: tags only serve rules.",
    )

    groups: ClassVar[dict[str, dict[str, forms.Field]]] = {
        "affinity": {
            "enabled": forms.BooleanField(
                label="Keep a session with its target",
                required=False,
                help_text="The requests of one conversation go where its first one went, as long as that target is "
                "well. Caches of the provider then keep their use.",
            ),
            "ttl": Number(label="For", unit="seconds", help_text="Like <code>1800</code>: half an hour."),
            "sliding": forms.BooleanField(
                label="Counted from the last request",
                required=False,
                help_text="Off: counted from the first, so that every session is placed anew now and then.",
            ),
            "scope": forms.ChoiceField(
                label="One place per session and",
                choices=(("rule", "matched rule"), ("profile", "profile")),
                required=False,
                help_text="Per profile, a session keeps its target under another rule too, if that rule has it.",
            ),
            "promotion_hold": Number(
                label="Stay when a better tier is back, for",
                unit="seconds",
                help_text="After a target of a lower tier recovered, sessions stay where they are for this time. "
                "0: move at once.",
            ),
            "client_ip": forms.BooleanField(
                label="Without a session id, take access key and client address for one",
                required=False,
                help_text="Ids come from the path, <code>x-route-session</code> or the body (<code>user</code>, "
                "<code>prompt_cache_key</code>, <code>metadata</code>). All users behind one address then share one.",
            ),
        },
        "failover": {
            "max_attempts": Whole(label="Attempts at most", help_text="Per request, over all targets."),
            "same_target_retries": Whole(
                label="Retries of the same target", help_text="For failures that a second try often mends."
            ),
            "retry_statuses": Numbers(
                label="HTTP statuses that move on", help_text="Like <code>500, 502, 503, 504, 529</code>."
            ),
            "auth_errors": forms.ChoiceField(
                label="When a provider refuses our credential",
                choices=(("failover", "Try the next target"), ("surface", "Hand the answer to the client")),
                required=False,
            ),
            "when_all_unhealthy": forms.ChoiceField(
                label="When every target is out",
                choices=(("try", "Try them all the same"), ("reject", "Refuse with 503")),
                required=False,
            ),
            "panic_concurrency": Whole(
                label="… with at most requests per target", help_text="In flight at once while every target is out."
            ),
            "non_idempotent": forms.BooleanField(
                label="Service routing: send every method again",
                required=False,
                help_text="For <code>/svc/…</code>. Off: a POST or PATCH that was sent once is not sent to another "
                "target, because it may have been carried out. Switch it on when doing it twice does no harm.",
            ),
        },
        "mode.threshold": {
            "failures": Whole(label="Failures in a row", help_text="Like <code>3</code>. One success starts anew."),
        },
        "mode.success_rate": {
            "min": Percent(
                label="Steps back below",
                help_text="Of its attempts, recent ones counting most; like <code>80</code> %.",
            ),
        },
        "mode.latency": {
            "ms": Number(label="Steps back above", unit="ms", help_text="Like <code>2000</code>: two seconds."),
            "percentile": forms.ChoiceField(
                label="Percentile",
                choices=PERCENTILES,
                required=False,
                help_text="p95: all but the slowest 5 % are faster.",
            ),
        },
        "failover.timeouts": {
            "connect": Number(label="Connect", unit="seconds"),
            "first_byte": Number(label="First byte", unit="seconds", help_text="Answers that are not streams."),
            "first_event": Number(
                label="First event", unit="seconds", help_text="Streams: until the first content arrives."
            ),
            "first_event_soft": Number(
                label="First event, soft",
                unit="seconds",
                help_text="Later: move on if another target is there. 0: off.",
            ),
            "idle": Number(label="Idle", unit="seconds", help_text="Between two events of a stream."),
            "total": Number(label="Total", unit="seconds", help_text="Over all attempts, until an answer is chosen."),
            "stream_max": Number(label="Longest stream", unit="seconds"),
        },
        "limits": {
            "concurrency": Whole(
                label="Requests at once",
                required=False,
                unit="in flight",
                help_text="Over all keys and all processes of a host, like <code>200</code>. <code>0</code>: no limit.",
            ),
            "queue_ms": Whole(
                label="Wait for a place",
                required=False,
                unit="ms",
                help_text="How long one request more waits before it is refused with 503, like <code>500</code>: half "
                "a second; at most 60000. <code>0</code>: refused at once.",
            ),
        },
        "scenario": {
            "order": Words(
                label="Order of scenarios",
                nothing=[],
                help_text="The first that fits names the request; one left out is never seen. There are "
                + ", ".join(f"<code>{name}</code>" for name in SCENARIOS)
                + ".",
            ),
            "long_context_threshold": Whole(
                label="Long context from",
                unit="tokens",
                help_text="Like <code>32000</code>. A first request counts from 80 % of it.",
            ),
            "background_models": Words(
                label="Background models",
                nothing=[],
                help_text="Small models that clients use for side tasks, like <code>*haiku*, *mini*</code>.",
            ),
        },
    }

    aliases: ClassVar[dict[str, str]] = {
        "failover.mode": "mode",
        **{f"failover.mode.{mode}": f"mode.{mode}" for mode in ("threshold", "success_rate", "latency")},
        "failover.mode.threshold.failures": "mode.threshold.failures",
        "failover.mode.success_rate.min": "mode.success_rate.min",
        "failover.mode.latency.ms": "mode.latency.ms",
        "failover.mode.latency.percentile": "mode.latency.percentile",
    }

    @property
    def affinity_fields(self) -> list[BoundField]:
        return [self[f"affinity.{name}"] for name in ("ttl", "scope", "promotion_hold")]

    @property
    def affinity_checks(self) -> list[BoundField]:
        """All but the main switch."""
        return [self[f"affinity.{name}"] for name in ("sliding", "client_ip")]

    @property
    def affinity_enabled(self) -> BoundField:
        return self["affinity.enabled"]

    @property
    def scenario_fields(self) -> list[BoundField]:
        return self.group_fields("scenario")

    @property
    def mode_choices(self) -> list[Choice]:
        """Every failover mode with its sentence and its own numbers."""
        chosen = self["mode"].value() or "immediate"
        return [
            Choice(name, word, sentence, name == chosen, self.group_fields(f"mode.{name}"))
            for name, (word, sentence) in MODES.items()
        ]

    @property
    def accounting_choices(self) -> list[Choice]:
        chosen = self["accounting"].value()
        return [Choice(name, word, sentence, name == chosen, []) for name, (word, sentence) in ACCOUNTING.items()]

    @property
    def limit_fields(self) -> list[BoundField]:
        return self.group_fields("limits")

    @property
    def failover_fields(self) -> list[BoundField]:
        """All but the switch."""
        return [self[f"failover.{name}"] for name in self.groups["failover"] if name != "non_idempotent"]

    @property
    def failover_switch(self) -> BoundField:
        return self["failover.non_idempotent"]

    @property
    def timeout_fields(self) -> list[BoundField]:
        return self.group_fields("failover.timeouts")

    def failover(self) -> dict[str, Any]:
        mode = self.cleaned_data.get("mode") or "immediate"
        numbers = self.group_values(f"mode.{mode}")
        return {**self.group_values("failover"), "mode": {mode: numbers} if f"mode.{mode}" in self.groups else mode}

    def document(self, targets: TargetFormSet) -> dict[str, Any]:
        """The profile as the configuration document has it, without its rules."""
        values = self.cleaned_data
        document: dict[str, Any] = {
            "name": values["name"],
            "strategy": values["strategy"],
            "accounting": values["accounting"],
            "require_tags": values["require_tags"],
            "params": self.group_values(f"params.{values['strategy']}"),
            "affinity": self.group_values("affinity"),
            "scenario": self.group_values("scenario"),
            "failover": self.failover(),
            "limits": self.group_limits("limits"),
            "targets": targets.document(),
        }
        if not self.fields["slug"].disabled:
            document["slug"] = values["slug"]
        return document


def initial_of(tree: dict[str, Any], version: int | None = None) -> dict[str, Any]:
    """What the form shows for a profile as the document writes it."""
    failover = dict(tree["failover"])
    timeouts, mode = failover.pop("timeouts"), failover.pop("mode")
    kind, numbers = (mode, {}) if isinstance(mode, str) else next(iter(mode.items()))
    strategy = strategies.normalise(tree["strategy"])
    return {
        "slug": tree["slug"],
        "name": tree["name"],
        "strategy": strategy,
        "accounting": tree["accounting"],
        "require_tags": tree["require_tags"],
        "mode": kind,
        **_mode_defaults(),
        **{f"mode.{kind}.{name}": value for name, value in numbers.items()},
        **initial_params(strategy, tree["params"]),
        **{f"affinity.{name}": value for name, value in tree["affinity"].items()},
        **{f"limits.{name}": value for name, value in tree["limits"].items()},
        **{f"scenario.{name}": value for name, value in tree["scenario"].items()},
        **{f"failover.{name}": value for name, value in failover.items()},
        **{f"failover.timeouts.{name}": value for name, value in timeouts.items()},
        "version": version,
    }


def _mode_defaults() -> dict[str, Any]:
    """The numbers that each mode begins with, so that choosing one shows something that works."""
    from routes.document.failover import SuccessRate, Threshold

    kinds = {"threshold": Threshold(), "success_rate": SuccessRate(), "latency": Latency()}
    return {f"mode.{kind}.{name}": value for kind, model in kinds.items() for name, value in model.model_dump().items()}
