"""Events as text for a terminal: one line each, or a whole story as a timeline.

Nothing that a peer said reaches the terminal as more than text. Not here: finding them (`search`, `story`, `tail`).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from gatepost.audit.search import Found
from gatepost.audit.story import began

_INDENT: Final = " " * 14
_MAX_NAMES: Final = 12  # recipients in one line


def render_event(event: Found) -> str:
    """One line: when, what, who, and how it ended."""
    client = _table(event, "client").get("ip", "")
    parts = [
        str(event.get("time", "")),
        str(event.get("kind", "")),
        str(event.get("id", "")),
        " ".join(str(each) for each in (event.get("service"), client, event.get("login")) if each),
        _envelope(event) if "sender" in event else "",
        _summary(event),
    ]
    return shown("  ".join(part for part in parts if part))


def render_story(events: Sequence[Found]) -> str:
    """The timeline of what `story` found, oldest first; days are headings. "" for none."""
    lines: list[str] = []
    day = ""
    for event in events:
        start = datetime.fromtimestamp(began(event)[0], UTC)
        if start.date().isoformat() != day:
            day = start.date().isoformat()
            lines.append(f"{day} (UTC)")
        head, *rest = _TELLERS.get(str(event.get("kind")), _tell_other)(event)
        lines.append(f"{start.strftime('%H:%M:%S.%f')[:-3]}  {shown(head)}")
        lines += [_INDENT + shown(line) for line in rest]
    return "\n".join(lines)


def shown(text: str) -> str:
    """`text` with whatever could move a cursor, end a line or turn the reading direction written as an escape."""
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)


def verdict_lines(event: Found) -> list[str]:
    """What the checks said: each that refused or has found something, with its reason; the others by name."""
    passed: list[str] = []
    lines: list[str] = []
    for each in _tables(event.get("verdicts")):
        check, verdict, mode = (str(each.get(name, "")) for name in ("check", "verdict", "mode"))
        reason = each.get("reason", "")
        if verdict == "pass" and not reason:
            if check not in passed:
                passed.append(check)
            continue
        word = f"would {verdict}" if mode == "shadow" and verdict != "pass" else verdict
        about = f" <{each['recipient']}>" if "recipient" in each else ""
        lines.append(f"{word:<9} {check}{about}{f': {reason}' if reason else ''}")
        facts = _table(each, "facts")
        if facts:
            lines.append(" " * 10 + pairs(facts))
    if passed:
        lines.append(f"{'pass':<9} {', '.join(passed)}")
    return lines


def pairs(values: dict[str, Any]) -> str:
    """`name value, name value`, values as JSON where they are not plain text."""
    return ", ".join(
        f"{name} {value if isinstance(value, str) and value else json.dumps(value, ensure_ascii=False)}"
        for name, value in values.items()
    )


# --- one kind each -----------------------------------------------------------------------------------------------


def _tell_session(event: Found) -> list[str]:
    client = _table(event, "client")
    where = f"{client['ip']} port {client.get('port', 0)}" if client.get("ip") else "a local program"
    name = f" ({client['ptr']})" if client.get("ptr") else ""
    node = f"{event.get('node', '')}, worker {event.get('worker', 0)}"
    lines = [f"{where}{name} connected to {event.get('service', '')} of {node}: session {event.get('id', '')}"]
    known = [
        f"said it is {event['helo']}" if event.get("helo") else "",
        f"{client['tls']} {client.get('cipher', '')}".strip() if client.get("tls") else "no TLS",
        f"logged in as {event['login']}" if event.get("login") else "no login",
        _took(event),
    ]
    lines.append(", ".join(each for each in known if each))
    return [*lines, *verdict_lines(event), *_dialogue(event), *_details(event)]


def _tell_message(event: Found) -> list[str]:
    details = _table(event, "details")
    if event.get("service") == "delivery":
        what = {"notice": "the sender is told", "expansion": "a list was expanded", "alert": "the postmaster is told"}
        why = what.get(str(details.get("why")), "a new message")
        return [f"{why}: made of {event.get('message', '')}: {event.get('id', '')}, {_envelope(event)}"]
    lines = [f"message {event.get('id', '')} {_envelope(event)}{_octets(event)}{_took(event, ', ')}"]
    lines += verdict_lines(event)
    for each in _tables(details.get("refused")):
        lines.append(f"refused   <{each.get('recipient', '')}>: {each.get('reply', '')}")
    if event.get("reply"):
        lines.append(f"answered  {event['reply']}")
    if held := details.get("held"):
        command = "quarantine" if held == "quarantine" else "queue"
        lines.append(f"held      not delivered until it is released: gatepost {command} release {event.get('id', '')}")
    return [*lines, *_dialogue(event), *_details(event, "refused", "held")]


def _tell_attempt(event: Found) -> list[str]:
    details = _table(event, "details")
    where = details.get("hop") or details.get("destination") or "its next hop"
    lines = [f"delivery of {event.get('message', '')} to {where}{_took(event, ', ')}"]
    if tls := _table(details, "tls"):
        verified = "verified" if tls.get("verified") else f"not verified ({tls.get('error') or 'not asked for'})"
        lines.append(f"over {tls.get('version', '')} {tls.get('cipher', '')}, {verified}")
    for each in _tables(details.get("tried")):
        lines.append(f"tried     {each.get('hop', '')}: {each.get('what', '')}: {each.get('reply', '')}")
    for each in _tables(details.get("results")):
        again = f"; next attempt {each['next']}" if "next" in each else ""
        notice = f"; the sender is told ({each['notice']})" if "notice" in each else ""
        verdict = str(each.get("verdict", ""))
        lines.append(f"{verdict:<9} <{each.get('recipient', '')}>: {each.get('reply', '')}{again}{notice}")
    if made := _texts(details.get("made")):
        lines.append(f"made      {', '.join(made)}")
    return [*lines, *_dialogue(event), *_details(event, "results", "made", "tls", "tried", "hop", "destination")]


def _tell_auth(event: Found) -> list[str]:
    details = _table(event, "details")
    if event.get("login") and "reason" not in details:
        head = f"login of {event['login']} by {details.get('mechanism', '')}"
    else:
        head = f"login refused: {details.get('tried', '')} by {details.get('mechanism', '')}"
    return [
        head,
        *_details(event, "mechanism", "tried"),
        *([f"answered  {event['reply']}"] if "reply" in event else []),
    ]


def _tell_other(event: Found) -> list[str]:
    details = _table(event, "details")
    what = details.get("what") or details.get("act") or ""
    return [f"{event.get('kind', '')}: {what}", *_details(event, "what", "act")]


_TELLERS: Final[dict[str, Callable[[Found], list[str]]]] = {
    "smtp.session": _tell_session,
    "pop3.session": _tell_session,
    "smtp.message": _tell_message,
    "delivery.attempt": _tell_attempt,
    "auth": _tell_auth,
}


# --- pieces ------------------------------------------------------------------------------------------------------


def _summary(event: Found) -> str:
    """How it ended, in a few words: the first check that decided, and the reply."""
    details = _table(event, "details")
    decided = next(
        (
            f"{each.get('check')}: {each.get('verdict')}"
            for each in _tables(event.get("verdicts"))
            if each.get("verdict") != "pass" and each.get("mode") != "shadow"
        ),
        "",
    )
    what = details.get("what") or details.get("act") or details.get("verdict") or details.get("reason") or ""
    return "  ".join(str(each) for each in (decided, what, event.get("reply")) if each)


def _envelope(event: Found) -> str:
    recipients = [f"<{each}>" for each in _texts(event.get("recipients"))]
    more = f" and {len(recipients) - _MAX_NAMES} more" if len(recipients) > _MAX_NAMES else ""
    return f"from <{event.get('sender') or ''}> for {', '.join(recipients[:_MAX_NAMES]) or 'nobody'}{more}"


def _dialogue(event: Found) -> list[str]:
    return [f"| {line}" for line in _texts(event.get("dialogue"))]


def _details(event: Found, *told: str) -> list[str]:
    """What else this kind of event has."""
    rest = {name: value for name, value in _table(event, "details").items() if name not in told}
    return [pairs(rest)] if rest else []


def _octets(event: Found) -> str:
    return f", {event['octets']} octets" if isinstance(event.get("octets"), int) else ""


def _took(event: Found, before: str = "") -> str:
    return f"{before}took {event['took_ms']} ms" if isinstance(event.get("took_ms"), int) else ""


def _table(event: dict[str, Any], name: str) -> dict[str, Any]:
    value = event.get(name)
    return value if isinstance(value, dict) else {}


def _texts(value: object) -> list[str]:
    return [str(each) for each in value] if isinstance(value, list) else []


def _tables(value: object) -> Iterable[dict[str, Any]]:
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []
