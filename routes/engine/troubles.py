"""What can go wrong with a request, in plain words, and what an operator does about it. Text only, imports nothing.

Two closed lists: what targets do (``types.ERROR_CLASSES``) and what the gateway refuses by itself (``gateway.errors``).
The same code may stand in both: ``of`` tells them apart by whether a provider was asked.
"""

from __future__ import annotations

from typing import Final, NamedTuple


class Trouble(NamedTuple):
    """``told`` follows the name of a target, or "the request" where we refused it ourselves; ``advice`` is what an
    operator looks at first, and ``see`` the place in the console: provider, health, profile, keys, revisions, or ""
    for none."""

    told: str
    advice: str
    see: str = ""


ERRORS: Final = {
    "connect_refused": Trouble(
        "refused the connection",
        "Nothing listens there, or a firewall says no: check host and port of the base URL, and the service itself.",
        "provider",
    ),
    "connect_timeout": Trouble(
        "did not accept the connection in time",
        "Check the network between here and there: routes, firewall, proxy. Raise the connect time-out of the profile "
        "only if the way is slow by nature.",
        "health",
    ),
    "dns": Trouble(
        "has a host name that could not be resolved",
        "Check the spelling of the host in the base URL, then the resolver of this machine.",
        "provider",
    ),
    "tls": Trouble(
        "failed the TLS handshake",
        "Look at the certificate over there: expired, for another name, or of an authority this machine does not know. "
        "Test connection on the provider says which.",
        "provider",
    ),
    "reset_before_headers": Trouble(
        "closed the connection before answering",
        "The service restarts, crashes, or a proxy in front of it gives up: see whether its other targets do the same.",
        "health",
    ),
    "timeout_first_byte": Trouble(
        "sent no answer in time",
        "It is overloaded, or prompts are long. Give it less weight, or raise the first-byte time-out of the profile.",
        "profile",
    ),
    "timeout_first_event": Trouble(
        "sent no content in time",
        "It is overloaded, or prompts are long. Give it less weight, or raise the first-event time-out of the profile.",
        "profile",
    ),
    "timeout_idle": Trouble(
        "went silent in the middle of its answer",
        "Its streams stall: if many do, drain it. A longer idle time-out of the profile helps only models that pause.",
        "health",
    ),
    "timeout_total": Trouble(
        "was cut off by the total time-out",
        "Long answers need a larger total time-out in the profile; else look at which attempts used the time up.",
        "profile",
    ),
    "rate_limited": Trouble(
        "is rate-limiting us",
        "Ask for a higher quota, give the provider less weight, or add a target for the same model.",
        "provider",
    ),
    "auth_failed": Trouble(
        "refused our credential",
        "Check the credential of the provider: expired, revoked, or not for this model. A new one acts at once.",
        "provider",
    ),
    "quota_exhausted": Trouble(
        "says our account is out of credit",
        "Top up the account over there, then clear the quarantine.",
        "health",
    ),
    "upstream_5xx": Trouble(
        "failed with a server error",
        "The fault is over there: see its status page. If it goes on, drain it, so that nobody waits for it first.",
        "health",
    ),
    "overloaded": Trouble(
        "said it is overloaded",
        "Give it less weight for now, or add a target for the same model; it recovers by itself.",
        "health",
    ),
    "invalid_response": Trouble(
        "sent an answer that is not valid",
        "The base URL may lead to something else, or the wire format is another one. Test connection shows the answer.",
        "provider",
    ),
    "error_in_200": Trouble(
        "sent an error under status 200",
        "The message of the request says what it was; the fault is over there.",
        "health",
    ),
    "truncated": Trouble(
        "ended its answer too early",
        "A proxy on the way cuts answers, or the service restarts: see whether long answers alone are affected.",
        "health",
    ),
    "reset_midstream": Trouble(
        "broke off in the middle of its stream",
        "A proxy on the way cuts streams, or the service restarts: see whether long answers alone are affected.",
        "health",
    ),
    "context_length": Trouble(
        "says the request is too long for the model",
        "Add a target with a larger window to the profile, or a rule that sends long requests there.",
        "profile",
    ),
    "content_filter": Trouble(
        "refused the content",
        "The provider's policy refused this prompt or its answer: a matter between the application and the provider.",
    ),
    "client_error": Trouble(
        "rejected the request",
        "The message of the request says what it did not like; most often the application has to change. If all of its "
        "requests fail, check the model mapping.",
        "provider",
    ),
    "upstream_redirect": Trouble(
        "answered with a redirect, which is never followed",
        "Enter the address it redirects to as the base URL, if it is the right one.",
        "provider",
    ),
    "upstream_framing": Trouble(
        "sent an ambiguous HTTP message",
        "Its server or a proxy in front of it breaks HTTP. Such an answer is never used; report it to whoever runs it.",
        "health",
    ),
    "too_large": Trouble(
        "sent an answer that is too large",
        "Something else than a model answers there, or the answer has no end: look at what it sends.",
        "provider",
    ),
    "cancelled": Trouble(
        "was not waited for: the client left",
        "Clients give up: compare their time-out with the latency of this target.",
        "health",
    ),
    "internal": Trouble(
        "could not be asked because of an error of ours",
        "A fault of Signalbox, or one of its processes ended: look into its log at that time.",
    ),
}
#: What we refuse without asking anybody, to follow "the request".
REFUSALS: Final = {
    "no_target_available": Trouble(
        "found no target that could take it",
        "Every target was out, drained or full, or the profile itself was: the health board says why and until when.",
        "health",
    ),
    "rate_limited": Trouble(
        "went beyond a limit of its access key, or every target was rate-limited",
        "Raise the limit of the key if its application may send that much; else slow the application down.",
        "keys",
    ),
    "insufficient_quota": Trouble(
        "went beyond the budget of its access key",
        "Raise the budget of the key, or wait until its day, week or month (UTC) is over.",
        "keys",
    ),
    "permission_denied": Trouble(
        "asked for something that its access key may not use",
        "Allow the profile, model or override in question on the access key, or correct the application.",
        "keys",
    ),
    "model_not_found": Trouble(
        "named a model that no target of its profile serves",
        "Add the model to a provider of the profile, or correct the name in the application.",
        "profile",
    ),
    "profile_not_found": Trouble(
        "named a profile that there is not",
        "Correct the address in the application, or publish the profile if it is a draft still.",
        "revisions",
    ),
    "not_ready": Trouble(
        "came before any configuration was published",
        "Publish the configuration.",
        "revisions",
    ),
    "timeout_total": Trouble(
        "reached the total time-out before any target was asked",
        "It waited for a place in its profile: allow more requests at once, or shorten the wait.",
        "profile",
    ),
    "request_timeout": Trouble(
        "did not send its body in time",
        "The client or its network is slow; nothing was asked of a provider.",
    ),
    "request_too_large": Trouble(
        "had a body larger than we take",
        "Raise SIGNALBOX_MAX_BODY_MB if the application needs that much.",
    ),
    "cancelled": Trouble(
        "was given up by its client before any target was asked",
        "The client leaves early: look at its time-out.",
    ),
    **{
        code: Trouble(told, "Correct the application: the message of the request says what is wrong with it.")
        for code, told in (
            ("invalid_request", "was not valid"),
            ("invalid_json", "had a body that is not valid JSON"),
            ("invalid_form", "had a body that is not a valid form"),
            ("missing_field", "lacked a field"),
            ("invalid_field", "had a field with a value that is not valid"),
            ("unsupported_field", "used a field that its target does not know"),
            ("not_found", "went to an address that there is not"),
            ("method_not_allowed", "used a method that its address does not take"),
            ("upgrade_required", "was no WebSocket where only those are served"),
        )
    },
}
_UNKNOWN_ADVICE: Final = "Open one of the requests: its page tells every attempt in words."


def of(error_code: str | None, provider: str) -> Trouble:
    """What a request's ``error_code`` means, and what to do about it; ``provider`` is empty where none was asked."""
    if error_code is None:
        return Trouble("failed for a reason that was not reported", _UNKNOWN_ADVICE)
    tables = (ERRORS, REFUSALS) if provider else (REFUSALS, ERRORS)
    known = next((table[error_code] for table in tables if error_code in table), None)
    return known or Trouble(error_code.replace("_", " "), _UNKNOWN_ADVICE)
