"""`[seal]` as what the gate needs: rules with their names, and private keys that were tried."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import msgspec

from gatepost.config.declared import struct_of
from gatepost.config.files import read_file
from gatepost.config.problem import Location, Problems, Wrong
from gatepost.config.schema import Seal, SignerTable
from gatepost.seal.model import SigningKey
from gatepost.seal.rules import SealRule, SealSettings

MAX_KEY_OCTETS = 2**20
ENDS_SOON = timedelta(days=30)


def read_sealing(table: Seal, problems: Problems) -> SealSettings:
    """What is wrong goes to `problems`."""
    rules = tuple(_rule(place, struct_of(each, SealRule()), problems) for place, each in enumerate(table.rule))
    signers: dict[str, tuple[SigningKey, ...]] = {}
    for place, each in enumerate(table.signer):
        key = _signer(each, ("seal", "signer", place, "key"), problems)
        if key is None:
            continue
        others = signers.get(each.domain, ())
        if any(other.kind == key.kind for other in others):
            problems.error(
                ("seal", "signer", place, "key"), f"{each.domain} has another key of that kind", "keep one of the two"
            )
        signers[each.domain] = (*others, key)
    for place, rule in enumerate(rules):
        if rule.sign and not table.signer:
            problems.warn(("seal", "rule", place, "sign"), "nothing signs: there is no [[seal.signer]]",
                          "add one with the domain and its private key, or remove sign")  # fmt: skip
    return SealSettings(rules=rules, signers=signers)


def _signer(table: SignerTable, at: Location, problems: Problems) -> SigningKey | None:
    # Cryptography is loaded where there is a key; most commands read the configuration and seal nothing.
    from gatepost.seal.signers import load_signer

    advice = "name the file of a private key that signs, and its passphrase"
    try:
        material, now = read_file(table.key, advice, MAX_KEY_OCTETS), datetime.now(UTC)
        found = load_signer(table.domain, material, table.passphrase.text if table.passphrase else None, now)
        if found.valid_until is not None and found.valid_until < now + ENDS_SOON:
            ends = "expired" if found.valid_until <= now else "expires"
            problems.warn(at, f"{table.key} {ends} {found.valid_until:%Y-%m-%d}; mail to be signed is put off then",
                          "have it renewed, put it there and reload")  # fmt: skip
        return found
    except Wrong as wrong:
        problems.wrong(at, wrong)
    except ValueError as error:
        problems.error(at, f"{table.key}: {error}", advice)
    return None


def _rule(place: int, rule: SealRule, problems: Problems) -> SealRule:
    at: Location = ("seal", "rule", place)
    if rule.header is not None and not rule.header.name.strip():
        problems.error((*at, "header"), "it names no header field", 'write which, as in header = { name = "X-Seal" }')
    for key in ("senders", "recipients"):
        if not getattr(rule, key):
            problems.error((*at, key), "the list is empty: the rule would be about nobody", f"remove {key}, or fill it")
    return rule if rule.name else msgspec.structs.replace(rule, name=f"rule {place + 1}")
