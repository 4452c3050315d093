"""The provider form: the document's fields as a person fills them in, and back.

``initial_of`` and ``ProviderForm.document`` are inverse to each other. The credential is write-only: the form never
holds a stored one, only what somebody types. Values are judged by ``routes.document`` through the action; its
errors come back with the paths that the field names here repeat (``circuit.window``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from django import forms

from routes.admin.forms.base import ConsoleForm
from routes.admin.forms.fields import Column, ModelMap, Number, Pairs, Prices, Whole, Windows, Words
from routes.document.provider import PROBE_OF_WIRE
from routes.models import Provider

if TYPE_CHECKING:
    from django.forms.boundfield import BoundField

AUTH_CHOICES = (
    ("", "As the wire format has it (OpenAI and generic: bearer, Anthropic: x-api-key)"),
    ("bearer", "Authorization: Bearer …"),
    ("x-api-key", "x-api-key: …"),
    ("custom", "Another header"),
    ("none", "No authentication"),
)

PROBE_CHOICES = (
    ("", "As the wire format has it (OpenAI and Anthropic: list of models, generic: connection)"),
    ("models", "List of models (free)"),
    ("completion", "A tiny completion (costs money)"),
    ("tcp", "Connection, with TLS for https"),
    ("http", "A page of its own"),
    ("off", "Nothing: not probed"),
)


class ProviderForm(ConsoleForm):
    slug = forms.SlugField(
        label="Slug",
        max_length=64,
        help_text="How the configuration, the history and metrics name it; it cannot be changed later. "
        "Lower-case letters, digits and hyphens, like <code>acme-eu</code>.",
    )
    name = forms.CharField(label="Name", max_length=200, help_text="For people, like “Acme Europe”.")
    wire = forms.ChoiceField(
        label="Wire format",
        choices=Provider.Wire.choices,
        help_text="The API it speaks. Conversations (<code>/v1/chat/completions</code>, <code>/v1/messages</code>) are "
        "translated between OpenAI and Anthropic; other requests go to providers of the client’s own format. Generic "
        "is any other HTTP service: only <code>/svc/{profile}/…</code> goes there.",
    )
    base_url = forms.CharField(
        label="Base URL",
        max_length=2000,
        help_text="Ends where the resource begins: <code>/v1/chat/completions</code> is sent to "
        "<code>{base URL}/chat/completions</code>. Like <code>https://api.example.com/v1</code>. Of a generic "
        "provider it is whatever its paths have in common: <code>/svc/{profile}/voices</code> is sent to "
        "<code>{base URL}/voices</code>.",
        widget=forms.TextInput(attrs={"inputmode": "url", "spellcheck": "false"}),
    )
    network = forms.ChoiceField(
        label="May be reached in",
        choices=Provider.Network.choices,
        help_text="Addresses outside are refused when connecting. Metadata and link-local addresses always are.",
    )
    region = forms.CharField(label="Region", max_length=64, required=False, help_text="Like <code>eu-west</code>.")
    tags = Words(
        label="Tags",
        help_text="For profiles that require the request’s tags. With commas, like <code>cheap, eu</code>.",
        nothing=[],
    )
    weight = Number(
        label="Weight",
        help_text="Used where a profile gives a target none of its own. Twice the weight, twice the share.",
    )
    capacity = Number(
        label="Capacity",
        required=False,
        unit="seats",
        help_text="How many requests it serves at once, for strategies that go by free seats; like <code>8</code>. "
        "Empty: not known. Nothing is refused for it.",
    )
    max_concurrency = Whole(
        label="Requests at once, at most",
        required=False,
        help_text="Over all processes of this host; further ones go to the next target. <code>0</code>: no limit.",
    )

    credential = forms.CharField(
        label="Credential",
        required=False,
        strip=True,
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password", "spellcheck": "false"}),
    )
    remove_credential = forms.BooleanField(label="Remove the stored credential", required=False)
    auth_kind = forms.ChoiceField(label="Sent as", choices=AUTH_CHOICES, required=False)
    auth_header = forms.CharField(
        label="Header", required=False, max_length=100, help_text="Like <code>api-key</code>."
    )
    auth_prefix = forms.CharField(
        label="Text before the credential",
        required=False,
        strip=False,
        max_length=100,
        help_text="Often empty; a blank at its end counts.",
    )

    models = ModelMap(
        label="Models it serves",
        name=Column("asked", "Asked-for model", "gpt-4o"),
        value=Column("upstream", "Sent upstream as", "acme-gpt-4o"),
        add_word="Add a model",
        nothing=None,
        help_text="No rows: it is offered every model under its own name. With rows it serves only these; "
        "<code>gpt-4*</code> matches many names and <code>*</code> all others. An empty right side keeps the name.",
    )
    context = Windows(
        label="Context windows",
        name=Column("model", "Model", "gpt-4o"),
        value=Column("tokens", "Tokens", "128000", number=True),
        add_word="Add a window",
        nothing={},
        help_text="How many tokens a model takes. When a target says that a request is too long, it goes on to one "
        "with a larger window. A model without a row takes the built-in figure, if there is one.",
    )
    stream_usage = forms.BooleanField(
        label="Reports usage in streams",
        required=False,
        help_text="On: streams of OpenAI’s format may be asked for their token counts "
        "(<code>stream_options.include_usage</code>). Switch it off for servers that refuse that field; tokens are "
        "then estimated.",
    )
    prices = Prices(
        label="Prices",
        help_text="USD per million tokens, for cost figures and <code>least_cost</code>. A model without a row "
        "takes the common price list, then the built-in one.",
    )
    headers = Pairs(
        label="Extra headers",
        name=Column("name", "Header", "x-team"),
        value=Column("value", "Value", "search"),
        add_word="Add a header",
        nothing={},
        help_text="Sent with every request to this provider. Not for secrets: headers are part of each revision.",
    )
    query = Pairs(
        label="Extra query parameters",
        name=Column("name", "Parameter", "api-version"),
        value=Column("value", "Value", "2026-05-01"),
        add_word="Add a parameter",
        nothing={},
    )
    proxy = forms.CharField(
        label="HTTP proxy",
        max_length=2000,
        required=False,
        help_text="Like <code>http://proxy.internal:3128</code>. Empty: connect directly.",
    )

    fallback_to_base_url = forms.BooleanField(
        label="Use the base URL while no head can be used",
        required=False,
        help_text="Off: a provider whose heads are all offline or draining takes no requests.",
    )
    head_networks = Words(
        label="Networks of trusted heads",
        nothing=[],
        help_text="Heads whose address is in one of these need no approval. Like <code>10.20.0.0/16, fd00::/8</code>.",
    )

    #: Groups drawn folded; names are ``group.field`` so that errors of the document find their place.
    groups: ClassVar[dict[str, dict[str, forms.Field]]] = {
        "circuit": {
            "failure_threshold": Whole(
                label="Opens after failures in a row", help_text="Countable failures only; 4xx and 429 never are."
            ),
            "failure_rate": Number(label="or a failure rate of", unit="%", help_text="Over the window below."),
            "window": Number(label="Window", unit="seconds"),
            "min_results": Whole(label="with at least results", help_text="Fewer prove nothing."),
            "recovery_timeout": Number(label="Stays open", unit="seconds", help_text="Doubles when it re-opens."),
            "recovery_timeout_max": Number(label="at most", unit="seconds"),
            "half_open_max_calls": Whole(label="Requests let through half-open", help_text="In flight at once."),
            "success_threshold": Whole(label="Closes after successes"),
            "slow_start": Number(
                label="Slow start", unit="seconds", help_text="Traffic comes back over this time. 0: at once."
            ),
        },
        "quarantine": {
            "rate_limit": Number(label="After 429 without Retry-After", unit="seconds"),
            "rate_limit_max": Number(label="After 429, at most", unit="seconds"),
            "auth": Number(label="After a refused credential", unit="seconds", help_text="Doubles when it repeats."),
            "auth_max": Number(label="After a refused credential, at most", unit="seconds"),
        },
        "probe": {
            "kind": forms.ChoiceField(
                label="Ask for",
                choices=PROBE_CHOICES,
                required=False,
                help_text="A provider without a list of models is asked for a connection instead.",
            ),
            "interval": Number(label="Every", unit="seconds", help_text="Sooner while its state may be changing."),
            "timeout": Number(label="Wait at most", unit="seconds", help_text="Over all of one probe."),
            "fall": Whole(label="Unhealthy after failures in a row", help_text="It then takes no requests."),
            "rise": Whole(label="Healthy after successes in a row"),
            "path": forms.CharField(
                label="Path below the base URL",
                required=False,
                max_length=2000,
                help_text="Like <code>/healthz</code>. Empty: the base URL itself.",
            ),
            "expect": Whole(label="Expected status"),
            "daily_requests": Whole(
                label="Completions a day, at most",
                help_text="By UTC days; beyond it the list of models is asked for. <code>0</code>: no limit.",
            ),
            "daily_usd": Number(
                label="Money a day, at most",
                unit="USD",
                help_text="Likewise; models without a known price are then not asked. <code>0</code>: no limit.",
            ),
        },
    }

    @property
    def circuit_fields(self) -> list[BoundField]:
        return self.group_fields("circuit")

    @property
    def quarantine_fields(self) -> list[BoundField]:
        return self.group_fields("quarantine")

    @property
    def probe(self) -> dict[str, BoundField]:
        """By name: some of them matter for one kind only."""
        return {field.name.removeprefix("probe."): field for field in self.group_fields("probe")}

    def clean(self) -> dict[str, Any]:
        values = super().clean() or self.cleaned_data
        if values.get("auth_kind") == "custom" and not values.get("auth_header"):
            self.add_error("auth_header", "Name the header.")
        if values.get("credential") and values.get("remove_credential"):
            self.add_error("credential", "Either type a new credential or remove the stored one.")
        return values

    def document(self) -> dict[str, Any]:
        """The provider as the configuration document has it, without the live fields."""
        values = self.cleaned_data
        document = {
            field: values[field]
            for field in ("name", "wire", "base_url", "network", "tags", "weight", "headers", "query")
        }
        document |= {field: values[field] for field in ("models", "context", "prices", "stream_usage")}
        document |= {field: values[field] for field in ("fallback_to_base_url", "head_networks")}
        document["region"] = values["region"] or None
        document["capacity"] = values["capacity"]
        document["max_concurrency"] = values["max_concurrency"] or 0
        document["proxy"] = values["proxy"] or None
        if values["auth_kind"] == "custom":
            document["auth"] = {"header": values["auth_header"], "prefix": values["auth_prefix"]}
        elif values["auth_kind"]:
            document["auth"] = values["auth_kind"]
        for group in self.groups:
            document[group] = self.group_values(group)
        # What is left out of a group stays as it was; an empty path is none.
        document["probe"].setdefault("path", None)
        document["probe"].setdefault("kind", PROBE_OF_WIRE.get(values["wire"], "models"))
        if "slug" in values and not self.fields["slug"].disabled:
            document["slug"] = values["slug"]
        return document


def initial_of(provider: Provider) -> dict[str, Any]:
    """What the form shows for a stored provider."""
    custom = isinstance(provider.auth, dict)
    return {
        "slug": provider.slug,
        "name": provider.name,
        "wire": provider.wire,
        "base_url": provider.base_url,
        "network": provider.network,
        "region": provider.region or "",
        "tags": provider.tags,
        "weight": provider.weight,
        "capacity": provider.capacity,
        "max_concurrency": provider.max_concurrency,
        "auth_kind": "custom" if custom else provider.auth,
        "auth_header": provider.auth["header"] if custom else "",
        "auth_prefix": provider.auth.get("prefix", "") if custom else "",
        "models": provider.model_map,
        "context": provider.context,
        "stream_usage": provider.stream_usage,
        "prices": provider.prices,
        "headers": provider.headers,
        "query": provider.query,
        "proxy": provider.proxy or "",
        **{f"circuit.{name}": value for name, value in provider.circuit.items()},
        **{f"quarantine.{name}": value for name, value in provider.quarantine.items()},
        **{f"probe.{name}": value for name, value in provider.probe.items()},
        "fallback_to_base_url": provider.fallback_to_base_url,
        "head_networks": provider.head_networks,
        "version": provider.version,
    }
