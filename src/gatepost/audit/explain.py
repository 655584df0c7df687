"""Why a mail was treated so: one event's verdicts beside what each check is for, and the whole in words.

Not here: finding the event (`search`, `story`), and what would be decided now (`policy ask`).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import msgspec

from gatepost.audit.search import Found
from gatepost.audit.timeline import shown
from gatepost.policy.check import Check
from gatepost.policy.registry import CHECKS

_ACCEPTED: Final = ("quarantine", "hold", "discard")  # answered 2yz, and yet not delivered


class Explained(msgspec.Struct, frozen=True, kw_only=True):
    """One check that ran. summary: what it is for, "" for one that this version does not have. decided: it is why the
    peer was answered so."""

    check: str
    summary: str
    mode: str
    verdict: str
    reason: str
    facts: dict[str, Any]
    decided: bool


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """Of one event. reply: what the peer heard. words: all of it as a paragraph."""

    id: str
    time: str
    kind: str
    reply: str
    checks: tuple[Explained, ...]
    words: str


def explain(event: Found, checks: Iterable[Check] = CHECKS) -> Explanation:
    """What the checks of `event` decided, and what that meant to the peer. event: a line of the record."""
    summaries = {check.name: check.summary for check in checks}
    found = event.get("verdicts")
    verdicts = [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []
    deciding = _deciding(event, verdicts)
    explained = tuple(_explained(each, summaries, each is deciding) for each in verdicts)
    about = {name: str(event.get(name, "")) for name in ("id", "time", "kind", "reply")}
    return Explanation(**about, checks=explained, words=shown(_words(event, explained)))


def _explained(verdict: dict[str, Any], summaries: dict[str, str], decided: bool) -> Explained:
    texts = {name: str(verdict.get(name, "")) for name in ("check", "mode", "verdict", "reason")}
    facts = verdict.get("facts")
    return Explained(
        **texts,
        summary=summaries.get(texts["check"], ""),
        facts=facts if isinstance(facts, dict) else {},
        decided=decided,
    )


def _deciding(event: Found, verdicts: list[dict[str, Any]]) -> dict[str, Any] | None:
    """The verdict that made the reply what it is: the last one, since an enforced refusal ends its stage.

    A check that refused one recipient of a message that went on, or that the peer gave up, decided about that only.
    """
    enforced = [each for each in verdicts if each.get("verdict") != "pass" and each.get("mode") == "enforce"]
    if event.get("kind") == "smtp.message" and not str(event.get("reply", "")).startswith(("4", "5")):
        enforced = [each for each in enforced if each.get("verdict") in _ACCEPTED]
        first = [each for each in enforced if each.get("verdict") == "quarantine"]  # as `policy.verdict.freezing`
        enforced = first[:1] or enforced
    return enforced[-1] if enforced else None


def _words(event: Found, checks: tuple[Explained, ...]) -> str:
    sentences = [_about(event)]
    against = [each for each in checks if each.verdict != "pass" and each.mode == "enforce"]
    ran = len({each.check for each in checks})
    if not checks:
        sentences.append("No check had a say in it.")
    elif not against:
        sentences.append(f"{ran} checks ran, and none that is enforced decided against it.")
    for each in against:
        purpose = f" ({each.summary})" if each.summary else ""
        part = "" if each.decided else " to a part of it"
        sentences.append(f"{each.check}{purpose} said {each.verdict}{part}{_because(each)}.")
    for each in checks:
        if each.verdict != "pass" and each.mode == "shadow":
            sentences.append(f"{each.check}, in shadow, would have said {each.verdict}{_because(each)}.")
    sentences += [f"{each.check} found{_because(each)}." for each in checks if each.verdict == "pass" and each.reason]
    if event.get("reply"):
        sentences.append(f"The peer heard: {event['reply']}")
    return " ".join(sentences)


def _because(each: Explained) -> str:
    return f": {each.reason}" if each.reason else ""


def _about(event: Found) -> str:
    client = event.get("client")
    ip = client.get("ip", "") if isinstance(client, dict) else ""
    who = f"{event['login']}" if event.get("login") else f"{ip or 'a local program'}"
    place = f" on {event['service']}" if event.get("service") else ""
    match event.get("kind"):
        case "smtp.message":
            found = event.get("recipients")
            recipients = found if isinstance(found, list) else []
            to = f"<{recipients[0]}>" if len(recipients) == 1 else f"{len(recipients)} recipients"
            return f"{who}{place} offered a message from <{event.get('sender') or ''}> for {to}."
        case "smtp.session" | "pop3.session":
            return f"{who} opened a session{place}."
        case "auth":
            return f"{who}{place} tried to log in."
        case kind:
            return f"This is a {kind} event."
