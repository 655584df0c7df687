"""What a search asks for, and whether an event is meant.

Not here: reading the files (`search`), and the words of the command line.
"""

from __future__ import annotations

from datetime import UTC, datetime
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Any

import msgspec

from gatepost.mail.network import NetworkSet

_Network = IPv4Network | IPv6Network


class Criteria(msgspec.Struct, frozen=True, kw_only=True):
    """Every field that is set must fit.

    since, until: unix times, the first included. client: an address or a network. account: a login, also one that was
    only tried. sender, recipient: an address, or "@domain" for all of it; case does not count; recipients that were
    refused are meant too. verdict: "pass", "reject", "defer", ... of a check, or what came of a delivery: "delivered",
    "deferred", "failed", "held". check: a check or rule that ran; with `verdict`, it is its verdict. id: of the event,
    or of the session or message that it belongs to. session: the same, of sessions only. text: within any value.
    sender "<>": the null reverse-path.
    """

    since: float | None = None
    until: float | None = None
    client: str = ""
    account: str = ""
    sender: str = ""
    recipient: str = ""
    verdict: str = ""
    check: str = ""
    kind: str = ""
    service: str = ""
    session: str = ""
    id: str = ""
    text: str = ""


class Matcher:
    """`Criteria`, prepared. `needles`: lower-case octets, each of which is in every line that fits (in any case).

    Raises ValueError for a client that is neither an address nor a network.
    """

    def __init__(self, criteria: Criteria) -> None:
        self.criteria = criteria
        self.since = None if criteria.since is None else stamp(criteria.since)
        self.until = None if criteria.until is None else stamp(criteria.until)
        self._network = _network(criteria.client) if criteria.client else None
        self._networks = NetworkSet([self._network]) if self._network else None
        self.needles = tuple(sorted(_needles(criteria, self._network), key=len, reverse=True))

    def fits(self, event: dict[str, Any]) -> bool:
        """Whether `event`, a decoded line, is meant."""
        wanted = self.criteria
        time = event.get("time", "")
        if (self.since is not None and time < self.since) or (self.until is not None and time >= self.until):
            return False
        if any(getattr(wanted, name) not in ("", event.get(name)) for name in ("kind", "service")):
            return False
        if wanted.session and wanted.session not in (event.get("session"), event.get("id")):
            return False
        if wanted.id and wanted.id not in (event.get("id"), event.get("session"), event.get("message")):
            return False
        return self._fits_parties(event) and self._fits_verdicts(event)

    def _fits_parties(self, event: dict[str, Any]) -> bool:
        wanted = self.criteria
        details = _table(event.get("details"))
        if self._networks is not None and _table(event.get("client")).get("ip", "") not in self._networks:
            return False
        if wanted.account and not any(
            _is_address(wanted.account, each) for each in (event.get("login"), details.get("tried"))
        ):
            return False
        if wanted.sender and ("sender" not in event or not _is_address(wanted.sender, event["sender"])):
            return False
        if wanted.recipient:
            refused = [_table(each).get("recipient") for each in _list(details.get("refused"))]
            recipients = [*_list(event.get("recipients")), *refused]
            return any(_is_address(wanted.recipient, each) for each in recipients)
        return True

    def _fits_verdicts(self, event: dict[str, Any]) -> bool:
        check, verdict = self.criteria.check, self.criteria.verdict
        if not check and not verdict:
            return True
        for each in map(_table, _list(event.get("verdicts"))):
            if check in ("", each.get("check")) and verdict in ("", each.get("verdict")):
                return True
        if check:
            return False
        details = _table(event.get("details"))
        results = [details, *map(_table, _list(details.get("results")))]
        return any(each.get("verdict") == verdict for each in results)


def stamp(unix: float) -> str:
    """`unix` as an event's `time`; such texts sort as the times do."""
    return datetime.fromtimestamp(unix, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def unix_of(time: object) -> float:
    """The seconds since 1970 of an event's `time`, 0.0 for what is none."""
    try:
        return datetime.fromisoformat(str(time)).timestamp()
    except ValueError:
        return 0.0


def _network(text: str) -> _Network:
    try:
        return ip_network(text)
    except ValueError as error:
        raise ValueError(f"{text!r} is neither an address nor a network: {error}") from error


def _needles(wanted: Criteria, network: _Network | None) -> list[bytes]:
    pairs = (("check", wanted.check), ("verdict", wanted.verdict), ("kind", wanted.kind), ("service", wanted.service))
    needles = [f'"{name}":{_quoted(value)}' for name, value in pairs if value]
    needles += [_quoted(value) for value in (wanted.session, wanted.id) if value]
    parties = [value.strip("<>") for value in (wanted.account, wanted.sender, wanted.recipient) if value]
    # Addresses are compared in any case, and lower() of octets knows ASCII only.
    needles += [_inside(value) for value in (*parties, wanted.text) if value.isascii() or value is wanted.text]
    if network is not None and network.num_addresses == 1:
        needles.append(f'"ip":"{network.network_address}"')
    return [needle.encode().lower() for needle in needles if needle]


def _quoted(text: str) -> str:
    return msgspec.json.encode(text.encode("utf-8", "backslashreplace").decode()).decode()


def _inside(text: str) -> str:
    return _quoted(text)[1:-1]


def _is_address(wanted: str, found: object) -> bool:
    """Whether `found` ("ada@example.org" or "<ada@example.org>") is the address `wanted`, or of its "@domain"."""
    if not isinstance(found, str):
        return False
    found = found.strip("<>").casefold()
    wanted = wanted.strip("<>").casefold()
    return found.endswith(wanted) if wanted.startswith("@") else found == wanted


def _table(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []
