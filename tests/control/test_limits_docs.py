"""docs/limits.md is true: its document can be imported, and no limit and no kind of accounting is missing from it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, get_args

import pytest

from routes import actions
from routes.document.access_key import KeyLimits
from routes.document.profile import LONGEST_QUEUE, Accounting
from routes.document.text import load
from routes.models import AccessKey, Profile

if TYPE_CHECKING:
    from routes.actions import Actor

PAGE = (Path(__file__).parents[2] / "docs" / "limits.md").read_text()


@pytest.mark.django_db
def test_the_document_of_the_page_can_be_imported(admin: Actor) -> None:
    tree = load(PAGE.split("```yaml\n")[1].split("```")[0].encode())
    actions.import_configuration(tree, actor=admin, publish_now=True)
    assert Profile.objects.get().limits == {"concurrency": 200, "queue_ms": 500}
    assert AccessKey.objects.get().limits["usd_day"] == 5


def test_every_limit_and_every_kind_of_accounting_has_its_row() -> None:
    rows = {line.split("|")[1].strip().strip("`") for line in PAGE.splitlines() if line.startswith("|")}
    assert {*KeyLimits.model_fields, *get_args(Accounting)} <= rows
    assert str(LONGEST_QUEUE) in PAGE
