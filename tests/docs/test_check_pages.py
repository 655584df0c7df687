"""Every check has its page in the manual, and the page tells the truth about defaults, settings and replies."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from tests.policy.test_checks import ROWS, decide

from gatepost.policy.check import Check, CheckSettings
from gatepost.policy.registry import CHECKS

PAGES = Path(__file__).parents[2] / "docs" / "reference" / "checks"


def page(check: Check) -> str:
    return (PAGES / f"{check.name}.md").read_text()


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.name)
def test_the_page_names_stages_services_and_whether_it_can_be_switched_off(check: Check) -> None:
    text = page(check)
    assert text.startswith(f"# `{check.name}`\n")
    stages = next(line for line in text.splitlines() if line.startswith("| stage"))
    for step in check.steps:
        assert step.stage in stages
    default = next(line for line in text.splitlines() if line.startswith("| default"))
    for mode in set(check.defaults.values()):
        assert mode in default
    assert ("cannot be switched off" in default) == (not check.optional)
    assert ("strangers only" in default) == check.strangers_only


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.name)
def test_the_page_has_a_row_for_every_setting_and_for_no_other(check: Check) -> None:
    own = set(type(check.settings).__struct_fields__) - set(CheckSettings.__struct_fields__)
    assert set(re.findall(r"^\| `(\w+)` \|", page(check), re.M)) == own


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.name)
def test_the_page_names_every_reply_that_the_tables_have_seen(check: Check) -> None:
    text = page(check)
    for name, stage, facts, _ in ROWS:
        verdict = decide(stage, facts).verdict
        if name == check.name and verdict is not None and verdict.name == check.name:
            assert f"{verdict.reply.code} {verdict.reply.esc}".strip() in text


def test_no_page_is_about_a_check_that_does_not_exist() -> None:
    assert {path.stem for path in PAGES.glob("*.md")} - {"index"} == {check.name for check in CHECKS}
