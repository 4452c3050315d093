"""What one request of a session leaves for the next: which target answered, which one holds a response, how long the
last input was. Kept in the live state, so every process of the host knows; memory only, nothing is awaited.

Must not import anything that does I/O.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING, Final

from routes.engine.stages import affinity

if TYPE_CHECKING:
    from routes.engine.facts import Calibration
    from routes.engine.live import LiveState
    from routes.engine.profile import Profile
    from routes.gateway.auth import AccessKey
    from routes.gateway.exchange import Exchange

#: How long it is known which target a response came from, in seconds.
RESPONSE_TTL: Final = 24 * 3600.0


def session_key(profile: Profile, key: AccessKey, session: str) -> bytes:
    """What the live state knows a session by, whichever rule its requests match."""
    return affinity.pin_key(profile.id, None, key.id, session)


def response_key(key: AccessKey, response: str) -> bytes:
    """The same for a response, which belongs to the access key that asked for it."""
    return blake2b(response.encode("utf-8", "replace"), digest_size=16, key=key.id_bytes, person=b"response").digest()


def origin(live: LiveState, key: AccessKey, profile: Profile, response: str, now: float) -> str | None:
    """Id of the target that answered with ``response``; None = unknown, or none of this profile's."""
    pin = live.pin(response_key(key, response), now)
    if pin is None or all(target.id != pin.target_id for target in profile.targets):
        return None
    return pin.target_id


def answered(live: LiveState, exchange: Exchange, target_id: str, now: float) -> None:
    """A target's answer is about to go to the client: the session stays there."""
    decision = exchange.decision
    if decision is not None and decision.pin is not None:
        affinity.answered(decision.pin, live, target_id, now)


def learn_response(live: LiveState, exchange: Exchange, target_id: str, response: str, now: float) -> None:
    """The client may go on with this response, and only that target has it."""
    key, profile = exchange.key, exchange.profile
    if response and exchange.operation == "responses" and key is not None and profile is not None:
        live.set_pin(
            response_key(key, response),
            target_id,
            now,
            RESPONSE_TTL,
            profile_id=profile.id,
            session=response,
            kind="response",
        )


def remember_input(live: LiveState, exchange: Exchange, now: float) -> None:
    """How long this request was, for the scenario of the session's next one; only where a rule may ask for it, so
    that no other body is read for this."""
    key, profile, facts, session = exchange.key, exchange.profile, exchange.facts, exchange.session
    if session is None or facts is None or key is None or profile is None:
        return
    if any("scenario" in rule.condition.facts for rule in profile.rules) and (tokens := facts.tokens) is not None:
        live.remember_input(session_key(profile, key, session), tokens, now)


def learn_usage(calibration: Calibration, exchange: Exchange) -> None:
    """What an answer reported against what we had estimated, where we had to."""
    facts, usage = exchange.facts, exchange.usage
    if facts is not None and facts.has_read_body and usage.input and not usage.estimated:
        calibration.update(exchange.model, facts.tokens or 0, usage.input)
