"""What there is to ask about: the checks that follow from a revision, and the targets each of them speaks for.

One check an endpoint (a provider's, or a head's). Where probes are real requests, one for every upstream model that
targets of the endpoint name; a target that leaves the model open goes by the cheapest of those, or else by the cheapest
that its provider lists. Works on a snapshot; no database, no I/O.
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, Final, NamedTuple

from routes.engine.cost import price_for
from routes.engine.snapshot import Target, target_id

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from routes.engine.cost import Price
    from routes.engine.settings import ProbeSettings
    from routes.engine.snapshot import Provider, Snapshot


#: How long after its own time limit a probe may still be written down.
GRACE_SECONDS: Final = 5.0
#: What was found out is believed for so many intervals.
RESULTS_LAST: Final = 3


class Subject(NamedTuple):
    """What one check asks about. ``endpoint``: whom it asks; ``model``: the upstream's name of the model, where it asks
    for a completion; ``kind``: what is asked first; ``targets``: whom the answer is about."""

    id: str
    kind: str
    endpoint: Target
    model: str | None
    price: Price | None
    targets: tuple[Target, ...]

    @property
    def provider(self) -> Provider:
        return self.endpoint.provider

    @property
    def probe(self) -> ProbeSettings:
        return self.endpoint.provider.probe

    @property
    def head_id(self) -> str:
        return self.endpoint.head.id if self.endpoint.head is not None else ""

    @property
    def label(self) -> str:
        """For people, as the engine calls the target of that model."""
        return self.endpoint.label if self.model is None else f"{self.endpoint.label} / {self.model}"

    @property
    def pause(self) -> float:
        """Seconds between two probes: the interval, unless one probe alone may take longer. What was claimed and not
        answered by then was lost with whoever asked."""
        return max(self.probe.interval, self.probe.timeout + GRACE_SECONDS)

    @property
    def lasts(self) -> float:
        """Seconds after which a result says nothing any more."""
        return RESULTS_LAST * self.pause


#: The subjects by the id of their check.
Plan = dict[str, Subject]

_last: tuple[Snapshot, Plan] | None = None


def plan_of(snapshot: Snapshot) -> Plan:
    """Kept for the snapshot asked about last: a revision never changes, and ticks come every two seconds."""
    global _last
    last = _last
    if last is None or last[0] is not snapshot:
        last = _last = (snapshot, _plan(snapshot))
    return last[1]


def endpoints(snapshot: Snapshot) -> dict[tuple[str, str], tuple[Target, ...]]:
    """All targets of a revision, each once, by the provider's id and the head's ("" = the provider's own address)."""
    found: dict[tuple[str, str], dict[str, Target]] = {}
    for profile in snapshot.profile_list:
        for target in profile.targets:
            place = target.provider.id, target.head.id if target.head is not None else ""
            found.setdefault(place, {}).setdefault(target.id, target)
    return {place: tuple(targets.values()) for place, targets in found.items()}


def _plan(snapshot: Snapshot) -> Plan:
    subjects = (each for targets in endpoints(snapshot).values() for each in _subjects(snapshot, targets))
    return {subject.id: subject for subject in subjects}


def _subjects(snapshot: Snapshot, targets: tuple[Target, ...]) -> Iterable[Subject]:
    """Of one endpoint."""
    provider, head = targets[0].provider, targets[0].head
    kind = provider.probe.kind
    if kind == "off":
        return
    endpoint = Target(provider, None, head, 0)
    if kind != "completion":
        yield Subject(endpoint.id, kind, endpoint, None, None, targets)
        return
    if provider.wire == "generic":  # nobody knows what a completion would be
        yield Subject(endpoint.id, "tcp", endpoint, None, None, targets)
        return
    by_model, left = _by_model(snapshot, provider, targets)
    for model, (price, ones) in by_model.items():
        ident = target_id(provider.id, model, head.id if head is not None else "")
        yield Subject(ident, kind, endpoint, model, price, tuple(ones))
    if left:
        yield Subject(endpoint.id, "models", endpoint, None, None, tuple(left))


def _by_model(
    snapshot: Snapshot, provider: Provider, targets: Iterable[Target]
) -> tuple[Mapping[str, tuple[Price | None, list[Target]]], list[Target]]:
    """(the models to ask for, with their price and whom they stand for; targets that no model is known of)."""
    found: dict[str, tuple[Price | None, list[Target]]] = {}
    open_ones = []
    for target in targets:
        if target.model is None:
            open_ones.append(target)
        elif (names := target.models("")) is not None:  # else it serves nothing, whatever its state
            price = price_for(snapshot, provider, *names)
            found.setdefault(names[1], (price, []))[1].append(target)
    if not open_ones:
        return found, []
    known = {model: price for model, (price, _) in found.items()} or _listed(snapshot, provider)
    if not known:
        return found, open_ones
    cheapest = min(known, key=lambda model: (_cost(known[model]), model))
    found.setdefault(cheapest, (known[cheapest], []))[1].extend(open_ones)
    return found, []


def _listed(snapshot: Snapshot, provider: Provider) -> dict[str, Price | None]:
    """The models that the provider lists by name, without those whose price says that they answer no prompt."""
    found: dict[str, Price | None] = {}
    for name in provider.models.names if provider.models is not None else ():
        upstream = provider.models.upstream(name) if provider.models is not None else None
        price = price_for(snapshot, provider, name, upstream or name)
        if upstream and (price is None or price.output > 0):
            found.setdefault(upstream, price)
    return found


def _cost(price: Price | None) -> float:
    return inf if price is None else price.input + price.output
