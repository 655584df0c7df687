"""The engine: order, modes, needs, and the relay decision under any configuration."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.policy import facts as f

from gatepost.mail.reply import Reply
from gatepost.policy.check import Check, CheckSettings, Step
from gatepost.policy.engine import Policy
from gatepost.policy.facts import SERVICES, CommandFacts, Facts, RcptFacts, Stage
from gatepost.policy.findings import Unavailable
from gatepost.policy.registry import CHECKS
from gatepost.policy.verdict import Decision, Needs, Verdict

NO = Reply(550, "5.7.1", "no")


def check(name: str, *, refuses: bool = True, later: bool = False, needs: tuple[str, ...] = (), **fields: Any) -> Check:
    def decide(facts: Any, settings: CheckSettings) -> Verdict | None:
        return Verdict(name, NO, "because", later=later) if refuses else None

    return Check(name, name, (Step(Stage.COMMAND, decide, needs=needs),), {"mx": "enforce"}, **fields)


def counted(name: str, ran: list[str], *, refuses: bool = True, needs: tuple[str, ...] = (), **verdict: Any) -> Check:
    """A check that tells each time it runs."""

    def decide(facts: Any, settings: CheckSettings) -> Verdict | None:
        ran.append(name)
        return Verdict(name, NO, "because", **verdict) if refuses else None

    return Check(name, name, (Step(Stage.COMMAND, decide, needs=needs),), {"mx": "enforce"})


def run(*checks: Check, settings: dict[str, CheckSettings] | None = None, **peer: Any) -> Decision | Needs:
    return Policy(checks, settings).decide(Stage.COMMAND, f.command("NOOP", **peer))[0]


def test_the_first_enforced_refusal_ends_the_stage_and_shadows_do_not() -> None:
    decision = run(
        check("a", refuses=False), check("b"), check("c"), check("d"), settings={"b": CheckSettings(mode="shadow")}
    )
    assert isinstance(decision, Decision)
    assert decision.verdict is not None
    assert decision.verdict.name == "c"
    assert [(e.check, e.mode, e.verdict) for e in decision.evaluated] == [
        ("a", "enforce", "pass"),
        ("b", "shadow", "reject"),
        ("c", "enforce", "reject"),
    ]


def test_a_check_that_is_off_does_not_run_and_is_not_recorded() -> None:
    decision = run(check("a"), settings={"a": CheckSettings(mode="off")})
    assert decision == Decision(None, ())


def test_when_all_pass_the_decision_is_the_same_object_each_time() -> None:
    policy = Policy([check("a", refuses=False)])
    facts = f.command("NOOP")
    assert policy.decide(Stage.COMMAND, facts)[0] is policy.decide(Stage.COMMAND, facts)[0]


def test_a_refusal_that_waits_is_handed_on_and_the_stage_goes_on() -> None:
    decision = run(check("a", later=True), check("b", refuses=False))
    assert isinstance(decision, Decision)
    assert decision.verdict is None
    assert [verdict.name for verdict in decision.later] == ["a"]


def test_facts_are_asked_for_only_when_the_check_before_has_passed() -> None:
    policy = Policy(CHECKS)
    unresolved = RcptFacts(session=f.session(), reverse_path=f.path("a@b.example"), forward_path=f.path("x@y.example"))
    needs, _ = policy.decide(Stage.RCPT, unresolved)
    assert isinstance(needs, Needs)
    assert [*needs.waiting] == ["resolution"]
    assert isinstance(run(check("a"), check("b", needs=("nothing_that_exists",))), Decision)


def test_no_check_runs_twice_while_facts_are_gathered_and_the_decision_is_that_of_one_run() -> None:
    ran: list[str] = []
    checks = (
        counted("slow", ran, wait=2.0, action="slow"),
        counted("late", ran, later=True),
        counted("asks", ran, refuses=False, needs=("levels",)),
        counted("shadow", ran),
        counted("asks.more", ran, needs=("levels", "scope")),
    )
    policy = Policy(checks, {"shadow": CheckSettings(mode="shadow")})
    facts = CommandFacts(session=f.session(), verb="NOOP")
    asked: list[list[str]] = []
    outcome, _ = policy.decide(Stage.COMMAND, facts)
    while isinstance(outcome, Needs):
        asked.append([*outcome.waiting])
        facts = msgspec.structs.replace(facts, **dict.fromkeys(outcome.waiting))
        outcome, _ = policy.decide(Stage.COMMAND, facts, outcome)
    assert asked == [["levels"], ["scope"]]
    assert ran == ["slow", "late", "asks", "shadow", "asks.more"]
    assert outcome == policy.decide(Stage.COMMAND, facts)[0]
    assert [each.check for each in outcome.evaluated] == ran[:5]
    assert outcome.wait == 2.0


def test_facts_that_are_at_hand_are_taken_in_passing_each_once_and_the_others_are_asked_for() -> None:
    checks = (check("a", refuses=False, needs=("levels",)), check("b", refuses=False, needs=("levels", "scope")))
    policy = Policy(checks)
    at_hand = Unavailable("not now")
    asked: list[str] = []

    async def later() -> None:
        raise AssertionError("the engine waits for nothing")

    def asking(name: str, brought: Any) -> Any:
        def gather(asker: str, so_far: Facts) -> Any:
            asked.append(f"{asker} {name}")
            return brought

        return gather

    waited_for = later()
    gatherers = {"levels": asking("levels", at_hand), "scope": asking("scope", waited_for)}
    facts = CommandFacts(session=f.session(), verb="NOOP")
    needs, so_far = policy.decide(Stage.COMMAND, facts, None, gatherers, "peer")
    waited_for.close()
    assert isinstance(needs, Needs)
    assert needs.waiting == {"scope": waited_for}
    assert isinstance(so_far, CommandFacts)
    assert so_far.levels is at_hand
    decision, _ = policy.decide(Stage.COMMAND, msgspec.structs.replace(so_far, scope=None), needs, gatherers)
    assert isinstance(decision, Decision)
    assert [each.check for each in decision.evaluated] == ["a", "b"]
    assert asked == ["peer levels", "peer scope"]


def test_a_check_for_strangers_lets_users_alone_whatever_its_mode() -> None:
    only = check("a", strangers_only=True)
    refused = run(only)
    assert isinstance(refused, Decision)
    assert refused.verdict is not None
    for right in ({"login": "ada@example.org"}, {"network_may_relay": True}, {"grant": "ada@example.org"}):
        decision = run(only, settings={"a": CheckSettings(mode="enforce")}, **right)
        assert isinstance(decision, Decision)
        assert decision.verdict is None


def test_services_narrow_and_widen_where_a_check_runs() -> None:
    narrowed = Policy([check("a")], {"a": CheckSettings(services=("lmtp",))})
    assert narrowed.mode("a", "mx") == "off"
    assert narrowed.mode("a", "lmtp") == "enforce"


@pytest.mark.parametrize("name", ["relay", "content.framing", "tls.required"])
def test_what_must_stay_cannot_be_switched_off(name: str) -> None:
    for settings in (CheckSettings(mode="off"), CheckSettings(mode="shadow"), CheckSettings(services=("lmtp",))):
        with pytest.raises(ValueError, match="cannot be switched off"):
            Policy(CHECKS, {name: settings})


def test_settings_for_a_check_that_does_not_exist_are_an_error() -> None:
    with pytest.raises(ValueError, match="there is no such check"):
        Policy(CHECKS, {"relai": CheckSettings()})


RESOLUTIONS = ("account", "alias", "list", "catch-all", "role", "relay", "unknown", "foreign")


@given(
    modes=st.dictionaries(
        st.sampled_from([check.name for check in CHECKS if check.optional]),
        st.sampled_from(["enforce", "shadow", "off"]),
    ),
    service=st.sampled_from([service for service in SERVICES if not service.startswith("pop3")]),
    trusted=st.booleans(),
    is_loopback=st.booleans(),
    helo=st.text(max_size=20),
    accepted=st.integers(0, 2000),
    resolution=st.sampled_from(RESOLUTIONS),
)
def test_no_configuration_relays_for_a_stranger(
    modes: dict[str, Any], service: Any, trusted: bool, is_loopback: bool, helo: str, accepted: int, resolution: str
) -> None:
    policy = Policy(CHECKS, {name: CheckSettings(mode=mode) for name, mode in modes.items() if not _has_own(name)})
    facts = f.rcpt(
        "someone@far.example", resolution, accepted=accepted, service=service, trusted=trusted,
        is_loopback=is_loopback, helo=helo,
    )  # fmt: skip
    decision, _ = policy.decide(Stage.RCPT, facts)
    assert isinstance(decision, Decision)
    if resolution == "foreign":
        assert decision.verdict is not None


def _has_own(name: str) -> bool:
    """Whether the check has settings of its own, which a bare `CheckSettings` does not replace."""
    return any(check.name == name and type(check.settings) is not CheckSettings for check in CHECKS)


def test_every_check_has_a_summary_and_names_the_facts_that_exist() -> None:
    facts_of = {
        Stage.CONNECT: f.connect(),
        Stage.HELO: f.helo(),
        Stage.AUTH: f.auth(),
        Stage.COMMAND: CommandFacts(session=f.session(), verb="NOOP"),
        Stage.MAIL: f.mail(),
        Stage.RCPT: f.rcpt(),
        Stage.MESSAGE: f.message(),
    }
    for each in CHECKS:
        assert each.summary
        for step in each.steps:
            for name in (*step.needs, *step.reads):
                value: Any = facts_of[step.stage]
                for part in name.split("."):
                    value = getattr(value, part)
