"""Publishing, comparing and rolling back."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest
from django.db import close_old_connections, connection, transaction

from routes import actions, diff
from routes.actions.errors import Forbidden, Invalid, Missing
from routes.engine.errors import SnapshotError
from routes.engine.snapshot import Snapshot, target_id
from routes.models import AppendOnlyError, AuditEntry, ConfigRevision, Installation, Profile, Provider
from tests.control.conftest import actor
from tests.control.samples import CREDENTIAL, document, profile, provider

if TYPE_CHECKING:
    from routes.actions import Actor

pytestmark = pytest.mark.django_db


def sentences(changes: list[diff.Change]) -> list[str]:
    return [change.sentence for change in changes]


@pytest.mark.django_db(databases=["default", "pg"])
@pytest.mark.usefixtures("both_databases")
def test_a_published_revision_is_what_a_gateway_loads(admin: Actor) -> None:
    actions.import_configuration(document(), actor=admin)
    revision = actions.publish(actor=admin, message="first")
    assert (revision.number, revision.author, revision.message) == (1, "ada", "first")
    compiled = ConfigRevision.objects.get().compiled
    snapshot = Snapshot.from_document(compiled)
    assert snapshot.installation == str(Installation.get().uuid)
    assert snapshot.providers["alpha"].auth == ("api-key", "")
    assert snapshot.providers["beta"].auth == ("x-api-key", "")
    places = snapshot.profiles["default"].base.places
    assert [(place.target.provider.slug, place.weight, place.tier) for place in places] == [
        ("alpha", 70, 0),
        ("beta", 30, 1),
    ]
    alpha = Provider.objects.get(slug="alpha")
    assert places[0].target.id == target_id(str(alpha.pk), None)
    assert snapshot.profiles["fast"].timeouts.first_byte == 2.5
    assert snapshot.builtin_prices["gpt-4o"].input > 0
    assert CREDENTIAL not in str(compiled)


def test_a_target_without_a_weight_takes_its_providers(admin: Actor) -> None:
    tree = {"providers": [provider("a", weight=4)], "profiles": [profile("p", "a")]}
    actions.import_configuration(tree, actor=admin, publish_now=True)
    assert ConfigRevision.objects.get().compiled["profiles"][0]["targets"][0]["weight"] == 4


def test_numbers_rise_by_one_and_revisions_never_change(admin: Actor) -> None:
    first = actions.publish(actor=admin)
    assert actions.publish(actor=admin).number == 2
    first.message = "rewritten"
    with pytest.raises(AppendOnlyError):
        first.save()
    with pytest.raises(AppendOnlyError):
        first.delete()
    with pytest.raises(AppendOnlyError):
        ConfigRevision.objects.filter(number=1).update(message="rewritten")
    with pytest.raises(AppendOnlyError):
        AuditEntry.objects.all().delete()


def test_a_draft_that_is_not_valid_never_goes_live(admin: Actor) -> None:
    actions.import_configuration(document(), actor=admin, publish_now=True)
    Profile.objects.filter(slug="default").update(strategy="from_the_future")
    with pytest.raises(Invalid) as caught:
        actions.publish(actor=admin)
    assert any("strategy" in path for path in caught.value.fields)
    assert ConfigRevision.objects.count() == 1


def test_a_revision_that_a_gateway_could_not_load_is_never_written(
    admin: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(tree: dict[str, Any]) -> Snapshot:
        raise SnapshotError("profiles[0].targets[0].weight", "not to the engine's liking")

    actions.import_configuration(document(), actor=admin)
    monkeypatch.setattr(Snapshot, "from_document", refuse)
    with pytest.raises(Invalid) as caught:
        actions.publish(actor=admin)
    assert caught.value.fields == {"profiles[0].targets[0].weight": ["not to the engine's liking"]}
    assert not ConfigRevision.objects.exists()


def test_save_and_publish_is_one_transaction(admin: Actor) -> None:
    actions.import_configuration(document(), actor=admin, publish_now=True)
    row = Profile.objects.get(slug="fast")

    @transaction.atomic
    def save_and_publish() -> None:
        actions.update_profile(row, {"name": "Half"}, actor=admin)
        actions.publish(actor=admin, message="x" * 3000)

    with pytest.raises(Invalid):
        save_and_publish()
    assert Profile.objects.get(slug="fast").name == "Fast"


def test_pending_changes_are_readable_and_end_with_publishing(admin: Actor) -> None:
    actions.import_configuration(document(), actor=admin, publish_now=True)
    assert actions.pending_changes() == []
    row = Profile.objects.get(slug="default")
    targets = [{"provider": "alpha", "weight": 50}, {"provider": "beta", "weight": 30, "tier": 1}]
    actions.update_profile(row, {"targets": targets, "failover": {"timeouts": {"idle": 9}}}, actor=admin)
    actions.update_provider(Provider.objects.get(slug="beta"), {"region": "eu"}, actor=admin)
    actions.create_provider(provider("gamma"), actor=admin)
    assert sentences(actions.pending_changes()) == [
        "provider beta: region none → eu",
        "provider gamma added",
        "profile default: weight of alpha 70 → 50",
        "profile default: failover.timeouts.idle 20 → 9",
    ]
    actions.publish(actor=admin)
    assert actions.pending_changes() == []


def test_live_things_are_never_pending(admin: Actor) -> None:
    actions.import_configuration(document(), actor=admin, publish_now=True)
    alpha = Provider.objects.get(slug="alpha")
    actions.set_credential(alpha, "another-secret-value", actor=admin)
    actions.set_admin_state(alpha, "disabled", actor=admin)
    actions.create_access_key({"name": "second"}, actor=admin)
    assert actions.pending_changes() == []


def test_rollback_publishes_the_old_configuration_again_and_makes_it_the_draft(admin: Actor) -> None:
    actions.import_configuration(document(), actor=admin, publish_now=True)
    old = ConfigRevision.objects.get().document
    alpha = Provider.objects.get(slug="alpha")
    actions.import_configuration(
        {"providers": [provider("gamma")], "profiles": [profile("other", "gamma")], "prices": {}, "policy": {}},
        actor=admin,
        publish_now=True,
    )
    actions.update_provider(Provider.objects.get(slug="gamma"), {"name": "Unpublished"}, actor=admin)
    revision = actions.rollback(1, actor=admin)
    assert (revision.number, revision.rolled_back_to, revision.message) == (3, 1, "Rollback to revision 1")
    assert revision.document == old
    assert actions.pending_changes() == []
    again = Provider.objects.get(slug="alpha")
    assert again.pk == alpha.pk
    assert bytes(again.credential or b"") == bytes(alpha.credential or b""), "a rollback keeps the credential"
    assert not Provider.objects.filter(slug="gamma").exists()
    discarded = AuditEntry.objects.get(action="draft.discarded")
    assert discarded.changes["changes"] == ["provider gamma: name Gamma → Unpublished"]


def test_rolling_back_and_forth_ends_where_it_began(admin: Actor) -> None:
    actions.import_configuration(document(), actor=admin, publish_now=True)
    actions.import_configuration({"providers": [], "profiles": []}, actor=admin, publish_now=True)
    actions.rollback(1, actor=admin)
    actions.rollback(2, actor=admin)
    actions.rollback(1, actor=admin)
    texts = list(ConfigRevision.objects.order_by("number").values_list("document_text", flat=True))
    assert texts == [texts[0], texts[1], texts[0], texts[1], texts[0]]


def test_there_is_nothing_to_roll_back_to_before_the_first_revision(admin: Actor) -> None:
    with pytest.raises(Missing):
        actions.rollback(1, actor=admin)


@pytest.mark.parametrize("scope", ["route", "read", "operate"])
def test_publishing_and_rolling_back_need_the_scope_admin(scope: str, admin: Actor) -> None:
    actions.publish(actor=admin)
    with pytest.raises(Forbidden):
        actions.publish(actor=actor(scope))
    with pytest.raises(Forbidden):
        actions.rollback(1, actor=actor(scope))


def canonical(**changes: Any) -> dict[str, Any]:
    from routes.document import Configuration

    tree = {key: value for key, value in document().items() if key != "access_keys"}
    for provider_entry in tree["providers"]:
        provider_entry.pop("credential", None)
    return Configuration.parse({**tree, **changes}).canonical()


def test_equal_configurations_have_no_difference_whatever_their_order() -> None:
    shuffled = canonical(providers=list(reversed(canonical()["providers"])))
    assert diff.compare(canonical(), shuffled) == []


def test_each_kind_of_change_has_its_sentence() -> None:
    before = canonical()
    after = canonical(
        policy={"default_strategy": "failover"},
        prices={"gpt-4o": {"input": 3, "output": 10}, "new": {"input": 1}},
        profiles=[
            profile("default", {"provider": "beta"}, {"provider": "alpha", "weight": 70}, strategy="weighted"),
            profile("third", "alpha"),
        ],
    )
    assert sentences(diff.compare(before, after)) == [
        "policy: default_strategy weighted → failover",
        "prices: gpt-4o.input 2.5 → 3",
        "prices: new added: input 1, output 0, cached none",
        "profile default: weight of beta 30 → the provider's",
        "profile default: tier of beta 1 → 0",
        "profile default: order of targets alpha, beta → beta, alpha",
        "profile fast removed",
        "profile third added",
    ]
    paths = [change.path for change in diff.compare(before, after)]
    assert "profiles[default].targets[beta].weight" in paths


@pytest.mark.django_db(transaction=True)
def test_twenty_publishes_at_once_are_twenty_revisions(admin: Actor) -> None:
    actions.import_configuration(document(), actor=admin)
    failures: list[BaseException] = []

    def publish() -> None:
        try:
            for _ in range(5):
                actions.publish(actor=admin)
        except BaseException as error:
            failures.append(error)
        finally:
            close_old_connections()
            connection.close()

    threads = [threading.Thread(target=publish) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert sorted(ConfigRevision.objects.values_list("number", flat=True)) == list(range(1, 21))
