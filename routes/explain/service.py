"""The answer to "where would this go, and why?": one request decided as the gateway would, or a recorded one again.

Everything runs on a private copy of the live state. Nothing here writes: no counter, slot or pin of the host moves, no
row changes. Must not import the API, the admin or history.
"""

from __future__ import annotations

import time
from random import Random
from typing import TYPE_CHECKING, Any, NamedTuple

from routes import host, ports, snapshots
from routes.actions.errors import Invalid, Missing
from routes.document import DocumentError
from routes.engine.explain import Replay, WhatIf, describe, report, request_of
from routes.engine.facts import Facts, KeyFacts, record
from routes.engine.pipeline import decide
from routes.engine.stages.smart_routing import Partition
from routes.explain import answer, requests
from routes.explain.draws import EvenRandom
from routes.models import AccessKey

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from routes.engine.live import LiveState
    from routes.engine.profile import Profile
    from routes.engine.snapshot import Snapshot
    from routes.engine.types import Decision
    from routes.explain.documents import ExplainRequest
    from routes.explain.requests import Reading
    from routes.ports import RecordedRoute


class Chosen(NamedTuple):
    """The revision to decide by; ``number`` None = the draft."""

    snapshot: Snapshot
    number: int | None
    word: str


def explain(wanted: ExplainRequest) -> dict[str, Any]:
    """The explanation of the contract. Some ten queries for the draft, two to four else; ``draws`` decisions.

    Raises Invalid naming the fields, Missing for what is not there.
    """
    if wanted.id is not None:
        return _recorded(wanted)
    return _imagined(wanted)


# -- a request that is here ------------------------------------------------------------------------------
def _imagined(wanted: ExplainRequest) -> dict[str, Any]:
    assert wanted.request is not None
    chosen = _revision(wanted.revision or "live")
    key = _key(wanted.key)
    reading = requests.read(wanted.request, chosen.snapshot, key, wanted.profile)
    profile = reading.exchange.profile
    assert profile is not None
    at = wanted.overrides.at
    wall = time.time() if at is None else at.timestamp()
    now = time.monotonic()
    troubles = _troubles(wanted, chosen.snapshot)
    live = _with_troubles(host.copied(chosen.snapshot, now), troubles, profile)
    request = reading.question(live, now, wall)
    decision = decide(chosen.snapshot, profile, request, live, now, Random(), dry=True)
    rules: list[dict[str, Any]] = []
    if request.facts is not None:
        rules = report(
            profile,
            request.operation,
            request.facts,
            decision.matched_rule_index,
            lambda rule: Partition(rule, live, now),
            goes_on=request.origin is not None,
        )
    told = describe(decision, rules)
    firsts = _draw(wanted.draws, chosen.snapshot, profile, reading, live, now, wall, decision)
    return {
        "request": answer.request_line(reading.exchange, wanted.key),
        **answer.document(told, decision, chosen.number, chosen.word, wanted.overrides),
        "shares": answer.shares(told, firsts),
        "draws": wanted.draws,
    }


def _draw(
    draws: int,
    snapshot: Snapshot,
    profile: Profile,
    reading: Reading,
    live: LiveState,
    now: float,
    wall: float,
    decision: Decision,
) -> Iterable[str | None]:
    """The target of each of so many requests like this one, as they would follow each other."""
    if draws == 1:
        return [_first(decision)]
    rng = EvenRandom(draws)
    firsts = []
    for number in range(draws):
        rng.begin(number)
        request = reading.question(live, now, wall)
        firsts.append(_first(decide(snapshot, profile, request, live, now, rng)))
    return firsts


def _first(decision: Decision) -> str | None:
    place = decision.place(0)
    return None if place is None else place.target.id


def _key(name: str | None) -> Any:
    if name is None:
        return requests.ANYBODY
    row = AccessKey.objects.filter(name=name).first()
    if row is None:
        raise Invalid.from_errors([("key", f"there is no access key '{name}'")])
    return requests.key_of(row)


# -- a recorded one --------------------------------------------------------------------------------------
def _recorded(wanted: ExplainRequest) -> dict[str, Any]:
    assert wanted.id is not None
    if wanted.key is not None:
        raise Invalid.from_errors([("key", "a recorded request has the access key it was sent with")])
    route = ports.recorded_route(wanted.id)
    if route is None:
        raise Missing("there is no such request in the history", {"id": ["not in the history"]})
    if not route.packed:
        raise Invalid.from_errors([("id", "this request was refused before anything was decided")])
    own = snapshots.snapshot_of(route.revision, route.packed.get("h", ""))
    if own is None:
        message = (
            f"revision {route.revision} or the heads of that moment, which decided this request, are not kept any more"
        )
        raise Missing(message, {"id": [message]})
    if wanted.revision is None or wanted.revision == route.revision:
        chosen = Chosen(own, route.revision, f"revision {route.revision}, which decided it")
    else:
        chosen = _revision(wanted.revision)
    try:
        replay = Replay(
            *(route.packed, own),
            route_id=str(route.id),
            session=route.session,
            stream=route.stream,
            facts=_facts_of_row(route),
        )
    except (LookupError, TypeError, ValueError):
        raise Invalid.from_errors([("id", "this record was written by another version and cannot be read")]) from None
    slug = wanted.profile or route.profile
    profile = chosen.snapshot.profiles.get(slug)
    if profile is None:
        raise Invalid.from_errors([("profile", f"there is no profile '{slug}' in this revision")])
    troubles = _troubles(wanted, chosen.snapshot)
    at = wanted.overrides.at
    facts = None if at is None else {"time": at.timestamp()}
    runs = [
        replay.again(chosen.snapshot, profile, troubles=troubles, facts=facts, draw=draw)
        for draw in range(wanted.draws)
    ]
    again = runs[0]
    told = describe(again.decision, again.rules)
    told["undecidable"] = again.undecidable
    recorded = replay.recorded.place(0)
    same = (recorded and recorded.target.id) == _first(again.decision)
    return {
        "request": {
            "path": route.path,
            "operation": again.decision.operation,
            "model": route.requested_model,
            "stream": route.stream,
            "session": route.session,
            "key": route.key,
            "profile": profile.slug,
        },
        **answer.document(told, again.decision, chosen.number, chosen.word, wanted.overrides, again.notes),
        "shares": answer.shares(told, [_first(run.decision) for run in runs]),
        "draws": wanted.draws,
        "recorded": {
            "id": str(route.id),
            "created_at": route.created_at.isoformat(),
            "revision": route.revision,
            "provider": recorded.target.provider.slug if recorded else None,
            "model": recorded.model if recorded else None,
            "same": same,
        },
    }


def _facts_of_row(route: RecordedRoute) -> dict[str, Any]:
    """What is known of any recorded request, also where nobody asked for facts. Of its body nothing is."""
    asked = request_of(route.packed, str(route.id), session=route.session)
    facts = Facts(
        operation=asked.operation,
        model=asked.model,
        route_id=asked.route_id,
        wall=route.created_at.timestamp(),
        stream=route.stream,
        session=route.session,
        region=asked.region,
        tags=asked.tags,
        key=KeyFacts(route.key),
        client_ip=route.client_ip,
    )
    known = record(facts, cheap=-1)
    del known["body_bytes"], known["key.tag"]
    return known


# -- both ------------------------------------------------------------------------------------------------
def _revision(wanted: int | str) -> Chosen:
    """Raises Invalid when there is none of that number, or the draft cannot be published."""
    if wanted == "draft":
        try:
            return Chosen(snapshots.draft_snapshot(), None, "the draft")
        except DocumentError as error:
            raise Invalid.from_errors([(f"revision: draft: {path}", text) for path, text in error.errors]) from None
    if wanted == "live":
        snapshot = snapshots.live_snapshot()
        if snapshot is None:
            raise Invalid.from_errors([("revision", "nothing has been published yet")])
        return Chosen(snapshot, snapshot.number, f"revision {snapshot.number}, which is live")
    snapshot = snapshots.snapshot_of(int(wanted))
    if snapshot is None:
        raise Invalid.from_errors([("revision", f"there is no revision {wanted}, or it cannot be read any more")])
    return Chosen(snapshot, snapshot.number, f"revision {snapshot.number}")


def _troubles(wanted: ExplainRequest, snapshot: Snapshot) -> dict[str, Any]:
    """What is imagined, by provider id."""
    troubles = {}
    for slug, trouble in wanted.overrides.providers.items():
        provider = snapshot.providers.get(slug)
        if provider is None:
            raise Invalid.from_errors([(f"overrides.providers.{slug}", "there is no such provider in this revision")])
        troubles[provider.id] = trouble
    return troubles


def _with_troubles(live: LiveState, troubles: Mapping[str, Any], profile: Profile) -> Any:
    return WhatIf(live, troubles, profile.targets) if troubles else live
