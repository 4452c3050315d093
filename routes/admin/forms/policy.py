"""The form of the routing policy: what holds for every profile. Judged by ``routes.document`` through the action."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django import forms

from routes.admin.forms.base import ConsoleForm
from routes.admin.forms.fields import Column, Number, Pairs, Words
from routes.admin.forms.strategies import grouped_names, word

if TYPE_CHECKING:
    from django.forms.boundfield import BoundField

#: switch -> the strategies it is about, in words
SWITCHES = {
    "enable_load_balancing": (
        "Strategies that spread load",
        "In turn, by weight, by latency, load or use. Off: profiles that use one follow the default strategy.",
    ),
    "enable_geo_routing": ("Routing by region", "<code>geo_preferred</code>."),
    "enable_model_specific": ("Heads by what they can do", "<code>model_specific</code>."),
    "enable_predictive": ("Heads by foreseen load", "<code>predictive</code>."),
    "enable_adaptive": ("Adaptive choice of heads", "<code>adaptive</code> and <code>hybrid</code>."),
}


class PolicyForm(ConsoleForm):
    default_strategy = forms.ChoiceField(
        label="Default strategy",
        choices=(),
        help_text="For decisions that name no profile, for new profiles, and in place of what is switched off below.",
    )
    region_priority = Words(
        label="Order of regions",
        nothing=[],
        help_text="Where requests go when their own region has nothing, like <code>eu-west, eu-north, us-east</code>.",
    )
    geo = Pairs(
        label="Regions of countries",
        name=Column("place", "Country or continent", "DE"),
        value=Column("region", "Region", "eu-west"),
        add_word="Add a place",
        nothing={},
        help_text="Where a client is whose request and access key name no region. Codes of two letters; "
        "<code>*</code> is any other place. Needs a GeoIP database (<code>SIGNALBOX_GEOIP_DB</code>).",
    )
    prediction_window = Number(
        label="Reports that count",
        unit="minutes",
        help_text="<code>predictive</code> looks at the last 5 loads that a head reported in this time; like "
        "<code>15</code>.",
    )
    load_growth_factor = Number(
        label="Expected growth of load",
        help_text="The mean of these reports times this; <code>1.1</code> expects 10 % more.",
    )
    capacity_threshold = Number(
        label="Full from",
        unit="%",
        help_text="A head above this share of its capacity takes no further load where there is another; like "
        "<code>80</code>.",
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name, (label, help_text) in SWITCHES.items():
            self.fields[name] = forms.BooleanField(label=label, required=False, help_text=help_text)
            self.fields[name].disabled = self.read_only
        choice = self.fields["default_strategy"]
        assert isinstance(choice, forms.ChoiceField)
        choice.choices = [(heading, [(name, word(name)) for name in names]) for heading, names in grouped_names()]

    @property
    def switches(self) -> list[BoundField]:
        return [self[name] for name in SWITCHES]

    def document(self) -> dict[str, Any]:
        """The section as the configuration document has it; what is left empty keeps its default."""
        return {
            name: value for name, value in self.cleaned_data.items() if name != "version" and value not in (None, "")
        }
