"""The DNS of one case of the RFC 7208 suite, and its cases."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import yaml

from gatepost.mail.address import NULL_PATH
from gatepost.mail.address import Path as MailPath
from gatepost.ports.resolver import Answer, Outcome

SUITE = Path(__file__).parents[1] / "corpus/spf/rfc7208-tests.yml"
MAX_CNAMES = 8


class Case(NamedTuple):
    name: str
    zone: dict[str, Any]
    helo: str
    ip: str
    sender: str
    results: tuple[str, ...]
    explanation: str


def cases() -> list[Case]:
    """All of the suite, in its order."""
    found = []
    for document in yaml.safe_load_all(SUITE.read_text(encoding="utf-8")):
        for name, test in document["tests"].items():
            results = test["result"]
            found.append(
                Case(
                    name,
                    document["zonedata"],
                    str(test["helo"]),
                    str(test["host"]),
                    str(test["mailfrom"] or ""),
                    tuple(results) if isinstance(results, list) else (results,),
                    test.get("explanation", ""),
                )
            )
    return found


def path_of(sender: str) -> MailPath:
    """A reverse-path as the suite writes it, whatever its parts are."""
    local_part, _, domain = sender.rpartition("@")
    return MailPath(local_part, domain.lower()) if sender else NULL_PATH


class ZoneResolver:
    """`zonedata` of the suite as a `Resolver`. is_warm: everything is known already. asked: every question."""

    def __init__(self, zone: dict[str, Any], *, is_warm: bool = True) -> None:
        self._zone = {str(name).lower(): _entries(records) for name, records in zone.items()}
        self._is_warm = is_warm
        self.asked: list[tuple[str, str]] = []

    def cached(self, name: str, rdtype: str) -> Answer | None:
        if not self._is_warm:
            return None
        self.asked.append((name, rdtype))
        return self._answer(name, rdtype, MAX_CNAMES)

    async def query(self, name: str, rdtype: str) -> Answer:
        self.asked.append((name, rdtype))
        return self._answer(name, rdtype, MAX_CNAMES)

    def _answer(self, name: str, rdtype: str, aliases: int) -> Answer:
        entries = self._zone.get(name.removesuffix(".").lower())
        if entries is None or any(not 0 < len(label) < 64 for label in name.split(".")):
            return Answer(Outcome.NO_NAME, name=name)
        records = [text for kind, text in entries if kind == rdtype]
        alias = next((text for kind, text in entries if kind == "CNAME"), "")
        if alias and aliases:
            return self._answer(alias, rdtype, aliases - 1)
        if not records and ("TIMEOUT", "") in entries:
            return Answer(Outcome.FAILED, error="timeout")
        return Answer(Outcome.FOUND if records else Outcome.NO_DATA, tuple(records), name, ttl=300)


def _entries(records: list[Any]) -> list[tuple[str, str]]:
    """(type, text) of each; an SPF entry is a TXT record where none is written."""
    found: list[tuple[str, str]] = []
    has_txt = any(isinstance(record, dict) and "TXT" in record for record in records)
    for record in records:
        if record == "TIMEOUT":
            found.append(("TIMEOUT", ""))
            continue
        for rdtype, value in record.items():
            if rdtype != "SPF":
                found += [] if value == "NONE" else [(rdtype, _text(rdtype, value))]
            elif not has_txt:
                found.append(("TXT", _text("TXT", value)))
    return found


def _text(rdtype: str, value: Any) -> str:
    """As the port shows it."""
    if rdtype == "MX":
        return f"{value[0]} {value[1].lower() or '.'}"
    if rdtype == "TXT":
        return "".join(value) if isinstance(value, list) else str(value)
    return str(value).lower()
