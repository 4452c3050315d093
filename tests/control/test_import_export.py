"""A whole document in, a whole document out: the same bytes, all or nothing, and no secret in between."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from routes import actions, crypto, draft
from routes.actions.errors import Forbidden, Invalid
from routes.document.text import dump_json, dump_yaml, load
from routes.models import AccessKey, AuditEntry, ConfigRevision, Policy, Profile, Provider, Rule, RuleTarget
from tests.control.conftest import actor
from tests.control.samples import CREDENTIAL, access_key, document, profile, provider, rule, whole_document

if TYPE_CHECKING:
    from pathlib import Path

    from routes.actions import Actor

pytestmark = pytest.mark.django_db


def exported(admin: Actor) -> str:
    return dump_yaml(actions.export_configuration(actor=admin))


def everything() -> dict[str, Any]:
    """All that an import may change, for comparing before and after."""
    return {
        model.__name__: list(model.objects.order_by("pk").values())
        for model in (Provider, Profile, Rule, RuleTarget, AccessKey, Policy, ConfigRevision, AuditEntry)
    }


@pytest.mark.django_db(databases=["default", "pg"])
@pytest.mark.usefixtures("both_databases")
def test_export_import_export_is_the_same_bytes(admin: Actor) -> None:
    actions.import_configuration(whole_document(), actor=admin)
    first = exported(admin)
    rows = everything()
    actions.import_configuration(load(first.encode()), actor=admin)
    assert exported(admin) == first
    actions.import_configuration(load(dump_json(load(first.encode())).encode()), actor=admin)
    assert exported(admin) == first
    after = everything()
    for name in ("Provider", "Profile", "Rule", "RuleTarget", "AccessKey", "Policy"):
        assert after[name] == rows[name], f"importing what is there already changed a {name}"


def test_an_import_of_what_is_there_already_leaves_no_audit_entry_but_its_own(admin: Actor) -> None:
    actions.import_configuration(whole_document(), actor=admin)
    tree = load(exported(admin).encode())
    before = AuditEntry.objects.count()
    actions.import_configuration(tree, actor=admin)
    new = AuditEntry.objects.order_by("-pk")[: AuditEntry.objects.count() - before]
    assert [entry.action for entry in new] == ["document.imported"]


def test_sections_that_are_absent_stay_and_sections_that_are_present_replace(admin: Actor) -> None:
    actions.import_configuration(document(), actor=admin)
    actions.import_configuration({"version": 1, "profiles": [profile("only", "beta")]}, actor=admin)
    assert list(Profile.objects.values_list("slug", flat=True)) == ["only"]
    assert Provider.objects.count() == 2
    assert AccessKey.objects.count() == 1
    actions.import_configuration({"version": 1, "access_keys": []}, actor=admin)
    assert AccessKey.objects.count() == 0


def test_merge_adds_and_replaces_single_entries(admin: Actor) -> None:
    actions.import_configuration(document(), actor=admin)
    tree = {
        "providers": [provider("gamma"), provider("beta", name="Beta II", wire="anthropic")],
        "prices": {"o9": {"input": 1}},
        "access_keys": [access_key("second", value="sbx_" + "z" * 40)],
    }
    actions.import_configuration(tree, actor=admin, merge=True)
    assert list(Provider.objects.values_list("slug", "name")) == [
        ("alpha", "Alpha"),
        ("beta", "Beta II"),
        ("gamma", "Gamma"),
    ]
    assert set(draft.configuration().prices) == {"gpt-4o", "o9"}
    assert AccessKey.objects.count() == 2


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"providers": [provider("alpha"), provider("beta", weight=-1)]}, "providers[1].weight"),
        ({"profiles": [profile("p", "alpha"), profile("q", "nowhere")]}, "profiles[1].targets[0].provider"),
        (
            {"profiles": [profile("p", "alpha", rules=[rule("r", "alpha", "nowhere")])]},
            "profiles[0].rules[0].targets[1].provider",
        ),
        ({"access_keys": [access_key("k", value="short")]}, "access_keys[0].value"),
        ({"access_keys": [{"name": "brand new"}]}, "access_keys[0].value"),
        ({"access_keys": [access_key("k", profile="nowhere")]}, "access_keys[0].profile"),
        ({"providers": [provider("new", credential={"keep": True})]}, "providers[0].credential"),
        ({"providers": [provider("beta")]}, "profiles[default].targets[0].provider"),
        ({"policy": {"default_strategy": "guess"}}, "policy.default_strategy"),
    ],
)
def test_a_document_with_one_mistake_changes_nothing_at_all(admin: Actor, change: dict[str, Any], path: str) -> None:
    actions.import_configuration(document(), actor=admin, publish_now=True)
    before = everything()
    tree = {"policy": {"default_strategy": "round_robin"}, "prices": {"m": {"input": 9}}, **change}
    if "providers" in change and path.startswith("providers"):
        tree["profiles"] = []
    with pytest.raises(Invalid) as caught:
        actions.import_configuration(tree, actor=admin, publish_now=True)
    assert path in caught.value.fields
    assert everything() == before


def test_every_mistake_is_reported_at_once(admin: Actor) -> None:
    tree = {"access_keys": [{"name": "one"}, {"name": "two"}], "profiles": []}
    with pytest.raises(Invalid) as caught:
        actions.import_configuration(tree, actor=admin)
    assert caught.value.lines() == [f"access_keys[{index}].value: required for a new key" for index in range(2)]


def test_a_key_without_a_value_keeps_its_hash_and_a_kept_credential_stays_sealed(admin: Actor) -> None:
    actions.import_configuration(document(), actor=admin)
    digest = AccessKey.objects.get().digest
    alpha = Provider.objects.get(slug="alpha")
    tree = load(exported(admin).encode())
    tree["access_keys"][0]["region"] = "eu"
    tree["providers"][0]["name"] = "Renamed"
    actions.import_configuration(tree, actor=admin)
    assert AccessKey.objects.get().digest == digest
    again = Provider.objects.get(slug="alpha")
    assert (bytes(again.credential or b""), again.credential_generation) == (
        bytes(alpha.credential or b""),
        alpha.credential_generation,
    )


def test_a_provider_without_a_credential_in_the_document_loses_it(admin: Actor) -> None:
    actions.import_configuration(document(), actor=admin)
    tree = document()
    del tree["providers"][1]["credential"]
    actions.import_configuration(tree, actor=admin)
    alpha = Provider.objects.get(slug="alpha")
    assert not alpha.has_credential
    assert alpha.credential_generation == 2


def test_credentials_may_be_named_by_variable_or_file(
    admin: Actor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "secret").write_text("sk-from-file-000\n")
    monkeypatch.setenv("UPSTREAM_SECRET", "sk-from-env-0000")
    tree = {
        "providers": [
            provider("a", credential={"env": "UPSTREAM_SECRET"}),
            provider("b", credential={"file": str(tmp_path / "secret")}),
        ]
    }
    actions.import_configuration(tree, actor=admin)
    opened = [
        crypto.unseal(bytes(row.credential or b""), row.credential_context).decode() for row in Provider.objects.all()
    ]
    assert opened == ["sk-from-env-0000", "sk-from-file-000"]


@pytest.mark.parametrize(
    ("credential", "path"),
    [({"env": "NOT_SET_ANYWHERE"}, "providers[0].credential.env"), ({"file": "/no"}, "providers[0].credential.file")],
)
def test_a_credential_that_cannot_be_resolved_is_an_error_at_its_path(
    admin: Actor, credential: dict[str, str], path: str
) -> None:
    with pytest.raises(Invalid) as caught:
        actions.import_configuration({"providers": [provider(credential=credential)]}, actor=admin)
    assert list(caught.value.fields) == [path]


def test_import_and_export_need_the_scope_admin() -> None:
    for call in (
        lambda: actions.import_configuration(document(), actor=actor("operate")),
        lambda: actions.export_configuration(actor=actor("read")),
    ):
        with pytest.raises(Forbidden):
            call()
    assert not Provider.objects.exists()


def test_an_export_holds_no_secret_and_no_hash(admin: Actor) -> None:
    actions.import_configuration(document(), actor=admin)
    text = exported(admin)
    assert CREDENTIAL not in text
    assert AccessKey.objects.get().digest not in text
    assert "credential:\n    keep: true" in text
    assert "value:" not in text
