"""Quarantines: keeping traffic from an upstream that said no (429, 403) or a credential it refuses (401, 402).

Owns the records and their bounds; keys are (provider, upstream model) and (provider, None). A credential edit
lifts all of its provider's at once. No clock, no lock (``LocalLiveState``
locks around everything but ``find``). Imports the vocabulary only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from routes.engine.live import Quarantine

if TYPE_CHECKING:
    from collections.abc import Mapping

    from routes.engine.settings import QuarantineSettings

#: Upstream model names may come from clients: records are bounded, the soonest due goes first.
MAX_RECORDS = 2_000
#: Two refused credentials within this many seconds are no accident.
AUTH_WINDOW = 60.0
#: Bounds of a Retry-After that is believed, with the settings' ``rate_limit_max`` above.
RETRY_AFTER_MIN = 1.0


def rate_limit_seconds(settings: QuarantineSettings, retry_after: float | None) -> float:
    """How long a 429 keeps traffic away: its Retry-After clamped, or ``rate_limit`` without one."""
    if retry_after is None:
        return min(settings.rate_limit, settings.rate_limit_max)
    return min(max(retry_after, RETRY_AFTER_MIN), settings.rate_limit_max)


class Quarantines:
    """All quarantines in force in this process."""

    __slots__ = ("_auth_failures", "_auth_rounds", "_generations", "_records")

    def __init__(self) -> None:
        self._records: dict[tuple[str, str | None], Quarantine] = {}
        self._auth_failures: dict[str, float] = {}  # provider -> when its credential was last refused
        self._auth_rounds: dict[str, int] = {}  # provider -> auth quarantines so far
        self._generations: dict[str, int] = {}

    def __bool__(self) -> bool:
        return bool(self._records)

    def providers(self, now: float) -> set[str]:
        """Those with a quarantine in force; forgets what is over."""
        for key in [key for key, record in self._records.items() if record.until <= now]:
            del self._records[key]
        return {provider for provider, _ in self._records}

    def find(self, provider: str, model: str, now: float) -> Quarantine | None:
        """The one that lasts longest of the model's and the credential's."""
        records = self._records
        of_model = records.get((provider, model))
        of_credential = records.get((provider, None))
        if of_model is not None and of_model.until <= now:
            of_model = None
        if of_credential is not None and of_credential.until <= now:
            of_credential = None
        if of_model is None or (of_credential is not None and of_credential.until > of_model.until):
            return of_credential
        return of_model

    def put(self, provider: str, model: str | None, record: Quarantine, now: float) -> None:
        """Replaces an earlier one: the newest answer knows best."""
        if len(self._records) >= MAX_RECORDS:
            self.providers(now)
            while len(self._records) >= MAX_RECORDS:
                del self._records[min(self._records, key=lambda key: self._records[key].until)]
        self._records[provider, model] = record

    def auth_failure(self, provider: str, cause: str, settings: QuarantineSettings, now: float) -> float | None:
        """Seconds of the quarantine this refusal started, or None if it is the first in a while."""
        last = self._auth_failures.get(provider)
        self._auth_failures[provider] = now
        if last is None or now - last > AUTH_WINDOW:
            return None
        del self._auth_failures[provider]
        rounds = self._auth_rounds.get(provider, 0)
        self._auth_rounds[provider] = rounds + 1
        seconds = min(settings.auth * 2.0 ** min(rounds, 16), settings.auth_max)
        self.put(provider, None, Quarantine(now + seconds, cause, told=False), now)
        return seconds

    def answered(self, provider: str) -> None:
        """The credential works: doubling starts over."""
        if self._auth_rounds or self._auth_failures:
            self._auth_rounds.pop(provider, None)
            self._auth_failures.pop(provider, None)

    def credentials(self, generations: Mapping[str, int]) -> None:
        """The overlay's credential generations by provider id; a changed one lifts its provider's quarantines."""
        before, self._generations = self._generations, dict(generations)
        for provider in before.keys() | generations.keys():
            if before.get(provider) != generations.get(provider):
                self._auth_failures.pop(provider, None)
                self._auth_rounds.pop(provider, None)
                for key in [key for key in self._records if key[0] == provider]:
                    del self._records[key]
