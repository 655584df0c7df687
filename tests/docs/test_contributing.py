"""The example of a check in CONTRIBUTING.md is one that works."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from tests.policy import facts as f

from gatepost.policy.engine import Policy
from gatepost.policy.facts import Stage
from gatepost.policy.registry import CHECKS
from gatepost.policy.verdict import Decision

TEXT = (Path(__file__).parents[2] / "CONTRIBUTING.md").read_text()


def test_the_example_check_refuses_what_it_says_and_lets_the_rest_pass() -> None:
    (source,) = [block for block in re.findall(r"```python\n(.*?)```", TEXT, re.S) if "CHECK = Check(" in block]
    module: dict[str, Any] = {"__name__": "sender_blocked"}
    exec(compile(source, "CONTRIBUTING.md", "exec", dont_inherit=True), module)
    policy = Policy((*CHECKS, module["CHECK"]), {"sender.blocked": module["Settings"](domains=("bad.example",))})
    refused, _ = policy.decide(Stage.MAIL, f.mail("x@BAD.example".lower()))
    assert isinstance(refused, Decision)
    assert refused.verdict is not None
    assert refused.verdict.name == "sender.blocked"
    for sender in ("x@good.example", ""):
        passed, _ = policy.decide(Stage.MAIL, f.mail(sender))
        assert isinstance(passed, Decision)
        assert passed.verdict is None
