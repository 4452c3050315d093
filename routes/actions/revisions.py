"""Publishing and rolling back. Both write a new revision; what was published is never changed.

A revision is validated, compiled and loaded as a gateway would before it is written; delivery to gateways follows
the commit and cannot undo it (``routes.publish``).
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Any

import orjson
from django.db.models import Max
from django.utils import timezone

from routes import diff, document, draft
from routes import publish as delivery
from routes.actions import audit, overlay
from routes.actions.errors import Invalid, Missing
from routes.audit.veil import sentence
from routes.compile import compile_configuration
from routes.document import DocumentError
from routes.models import ConfigRevision, Installation, Profile, Provider

if TYPE_CHECKING:
    from routes.actions.actor import Actor

MESSAGE_LENGTH = 2000


@audit.in_turn()
def publish(*, actor: Actor, message: str = "", rolled_back_to: int | None = None) -> ConfigRevision:
    """Make the draft the live configuration. Raises Invalid; then the live one stays."""
    actor.require("admin")
    check_message(message)
    installation = Installation.get(lock=True)
    try:
        configuration = draft.configuration()
        now = timezone.now()
        newest = ConfigRevision.objects.aggregate(newest=Max("number"))["newest"] or 0
        # A database restored from a backup must not number below what gateways already run.
        number = max(newest, delivery.number_on_disk(str(installation.uuid))) + 1
        compiled = compile_configuration(
            configuration,
            installation=str(installation.uuid),
            number=number,
            published_at=now,
            provider_ids={slug: str(pk) for slug, pk in Provider.objects.values_list("slug", "pk")},
            profile_ids={slug: str(pk) for slug, pk in Profile.objects.values_list("slug", "pk")},
        )
    except DocumentError as error:
        raise Invalid.from_errors(error.errors) from error
    before = live_document()
    revision = ConfigRevision(
        number=number,
        author=actor.name[:200],
        message=message,
        created_at=now,
        rolled_back_to=rolled_back_to,
        document_text=configuration.text(),
        compiled_zlib=zlib.compress(orjson.dumps(compiled)),
    )
    revision.save()
    changes: dict[str, Any] = {} if rolled_back_to is None else {"rolled_back_to": rolled_back_to}
    changes["changes"] = [sentence(change) for change in diff.compare(before, configuration.canonical())]
    audit.record(
        actor,
        "revision.published" if rolled_back_to is None else "revision.rolled_back",
        category="routing",
        object_type="revision",
        object_id=number,
        object_name=f"revision {number}",
        changes=changes,
        reason=message,
    )
    # Credentials of providers that are no longer live leave the overlay.
    overlay.touch()
    return revision


def check_message(message: str) -> None:
    if len(message) > MESSAGE_LENGTH:
        raise Invalid.from_errors([("message", f"at most {MESSAGE_LENGTH} characters")])


@audit.in_turn()
def rollback(number: int, *, actor: Actor, message: str = "") -> ConfigRevision:
    """Publish the configuration of revision ``number`` again, as a new revision, and make it the draft.

    Unpublished changes of the draft are undone with it; the audit entry lists them. Credentials, keys and admin
    states stay as they are. Raises Missing, Invalid.
    """
    from routes.actions.transfer import apply_configuration

    actor.require("admin")
    revision = ConfigRevision.objects.filter(number=number).first()
    if revision is None:
        raise Missing(f"there is no revision {number}")
    Installation.get(lock=True)
    try:
        configuration = document.Configuration.parse(revision.document)
    except DocumentError as error:
        raise Invalid.from_errors(error.errors) from error
    discarded = [sentence(change) for change in pending_changes()]
    apply_configuration(configuration, actor=actor)
    if discarded:
        audit.record(
            actor,
            "draft.discarded",
            category="routing",
            object_type="draft",
            changes={"changes": discarded},
            reason=f"rollback to revision {number}",
        )
    return publish(actor=actor, message=message or f"Rollback to revision {number}", rolled_back_to=number)


def live_revision() -> ConfigRevision | None:
    """The newest revision; one query without the compiled document."""
    return ConfigRevision.objects.defer("compiled_zlib").order_by("-number").first()


def live_document() -> dict[str, Any]:
    """Its canonical document in the form of this release; an empty one before the first publish."""
    return document_of(live_revision())


def document_of(revision: ConfigRevision | None) -> dict[str, Any]:
    """A revision's document with what this release added filled in, so that only real changes show."""
    if revision is None:
        return document.Configuration().canonical()
    try:
        return document.Configuration.model_validate(revision.document).canonical()
    except ValueError:
        return revision.document  # written by a release that knew more; compare it as it is


def pending_changes() -> list[diff.Change]:
    """What publishing would change, as sentences; the draft's query count plus one."""
    return diff.compare(live_document(), draft.configuration().canonical())
