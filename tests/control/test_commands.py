"""The commands as people run them: flags, what they print, exit status, and nothing half done."""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING, Any

import pytest
from django.core.management import call_command

from routes.document.schema import document_schema
from routes.document.text import dump_json, dump_yaml
from routes.models import AccessKey, AuditEntry, ConfigRevision, PriceTable, Provider
from tests.control.samples import access_key, document, profile, provider, rule

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.django_db


def run(*arguments: str) -> tuple[int, str, str]:
    """(exit status, stdout, stderr)."""
    out, err = io.StringIO(), io.StringIO()
    try:
        call_command(*arguments, stdout=out, stderr=err)
    except SystemExit as stop:
        return int(stop.code or 0), out.getvalue(), err.getvalue()
    return 0, out.getvalue(), err.getvalue()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "config.yaml"
    path.write_text(dump_yaml(document()))
    return path


def test_import_config_fills_the_draft_and_publishes_only_when_told(file: Path) -> None:
    assert run("import_config", str(file))[0] == 0
    assert Provider.objects.count() == 2
    assert not ConfigRevision.objects.exists()
    status, out, _ = run("import_config", str(file), "--publish", "--message", "go")
    assert (status, "revision 1" in out) == (0, True)
    assert ConfigRevision.objects.get().message == "go"


def test_export_import_export_prints_the_same_bytes(file: Path, tmp_path: Path) -> None:
    run("import_config", str(file))
    for flags in ((), ("--json",)):
        status, first, _ = run("export_config", *flags)
        assert status == 0
        (tmp_path / "again").write_text(first)
        assert run("import_config", str(tmp_path / "again"))[0] == 0
        assert run("export_config", *flags)[1] == first
    run("export_config", str(tmp_path / "out.yaml"))
    assert (tmp_path / "out.yaml").read_text() == run("export_config")[1]


def test_import_errors_are_lines_on_stderr_with_status_1_and_nothing_changes(tmp_path: Path, file: Path) -> None:
    run("import_config", str(file), "--publish")
    entries = AuditEntry.objects.count()
    wrong = {
        "providers": [provider(base_url="nope", colour="red")],
        "profiles": [profile("p", "alpha", rules=[{}])],
        "access_keys": [access_key("fresh")],
    }
    (tmp_path / "wrong.json").write_text(dump_json(wrong))
    status, out, err = run("import_config", str(tmp_path / "wrong.json"), "--publish")
    assert (status, out) == (1, "")
    assert err.splitlines() == [
        "providers[0].base_url: must start with http:// or https://",
        "providers[0].colour: unknown field",
        "profiles[0].rules[0].name: required",
        "profiles[0].rules[0].when: required",
        "profiles[0].rules[0].targets: required",
    ]
    assert (ConfigRevision.objects.count(), Provider.objects.count(), AuditEntry.objects.count()) == (1, 2, entries)


@pytest.mark.parametrize("content", [b"", b"a: [", b"\xff", b"version: 3"])
def test_a_file_that_is_no_document_is_one_line(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "file").write_bytes(content)
    status, _, err = run("import_config", str(tmp_path / "file"))
    assert (status, len(err.splitlines())) == (1, 1)
    assert run("import_config", str(tmp_path / "missing"))[0] == 1


def test_merge_keeps_what_the_file_does_not_name(file: Path, tmp_path: Path) -> None:
    run("import_config", str(file))
    (tmp_path / "more.yaml").write_text(dump_yaml({"providers": [provider("gamma")]}))
    assert run("import_config", str(tmp_path / "more.yaml"), "--merge")[0] == 0
    assert list(Provider.objects.values_list("slug", flat=True)) == ["alpha", "beta", "gamma"]


def test_publish_prints_the_number_and_nothing_else(file: Path) -> None:
    assert run("publish", "--message", "one")[:2] == (0, "1\n")
    assert run("publish")[:2] == (0, "2\n")
    assert ConfigRevision.objects.get(number=1).author.startswith("publish (")


def test_create_access_key_prints_only_the_key(file: Path) -> None:
    run("import_config", str(file))
    status, out, err = run(
        *("create_access_key", "ops", "--profile", "fast", "--scopes", "route,read", "--allow", "debug,overrides"),
        *("--expires", "2031-05-01T00:00:00Z"),
    )
    assert (status, err) == (0, "")
    assert out.startswith("sbx_")
    assert len(out.splitlines()) == 1
    row = AccessKey.objects.get(name="ops")
    assert (row.profile, row.scopes, row.allow) == ("fast", ["route", "read"], ["debug", "overrides"])
    assert row.expires is not None


@pytest.mark.parametrize(
    "flags", [("--profile", "nowhere"), ("--scopes", "root"), ("--allow", "all"), ("--expires", "soon")]
)
def test_a_key_that_makes_no_sense_is_refused_with_status_1(flags: tuple[str, str]) -> None:
    status, out, err = run("create_access_key", "k", *flags)
    assert (status, out, len(err.splitlines())) == (1, "", 1)
    assert not AccessKey.objects.exists()


def test_config_schema_describes_what_is_accepted() -> None:
    from jsonschema import Draft202012Validator

    schema = json.loads(run("config_schema")[1])
    assert schema == document_schema()
    Draft202012Validator.check_schema(schema)
    validator = Draft202012Validator(schema)
    assert list(validator.iter_errors(document())) == []
    run_tree: dict[str, Any] = json.loads(run("export_config", "--json")[1])
    assert list(validator.iter_errors(run_tree)) == []
    for wrong in ({"providers": [{"slug": "x"}]}, {"colour": 1}, {"profiles": [profile("p", rules=[{}])]}):
        assert list(validator.iter_errors(wrong))


def test_sync_prices_copies_built_in_figures_of_configured_models(tmp_path: Path) -> None:
    tree = {
        "prices": {"gpt-4o": {"input": 99}, "o1": {"input": 98}, "mine": {"input": 1}},
        "providers": [provider("alpha", models={"small": "gpt-4o-mini", "o1": "o1", "claude*": "*"})],
        "profiles": [
            profile(
                "p",
                {"provider": "alpha", "model": "gpt-4o"},
                rules=[
                    rule("r", {"provider": "alpha", "model": "gpt-4.1"}, {"provider": "alpha", "model": "unheard-of"})
                ],
            )
        ],
    }
    (tmp_path / "config.json").write_text(dump_json(tree))
    run("import_config", str(tmp_path / "config.json"))
    status, out, _ = run("sync_prices")
    assert (status, out.split()) == (0, ["gpt-4.1", "gpt-4o-mini"])
    prices = PriceTable.get().prices
    assert set(prices) == {"gpt-4.1", "gpt-4o", "gpt-4o-mini", "mine", "o1"}
    assert (prices["gpt-4o"]["input"], prices["mine"]["input"]) == (99, 1)
    assert prices["gpt-4o-mini"] == {"input": 0.15, "output": 0.6, "cached": 0.075}
    assert run("sync_prices", "--reset")[1].split() == ["gpt-4o", "o1"]
    assert PriceTable.get().prices["gpt-4o"]["input"] == 2.5
    assert PriceTable.get().prices["mine"]["input"] == 1, "what nothing is known of stays"
    assert run("sync_prices", "--reset")[1] == ""
