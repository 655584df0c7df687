"""Sealing at the gate: which rule is about a recipient, which key there is for it, and who signs.

Not here: refusing (`policy.checks.seal_required`), the facts that it reads (`gate.gather_sealing`), and what becomes of
a message that is sealed (`intake.sealing`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, Final, Protocol

import msgspec

from gatepost.mail.address import AddressError, Path
from gatepost.mail.header import HeaderSection
from gatepost.policy.findings import SealNeed
from gatepost.ports.clock import Clock
from gatepost.seal.discovery import KeyFound, KeyOutcome, KeyUnknown, NoKey
from gatepost.seal.keys import check_key
from gatepost.seal.model import Kind, RecipientKey, Refused, SigningKey
from gatepost.seal.port import KeyStoreError
from gatepost.seal.rules import KINDS, SealRule, SealSettings, rule_for
from gatepost.seal.signing import chosen_signer
from gatepost.seal.work import SealWork

OWN: Final = "account"
"""The rule, in the record, of mail that is encrypted to the key of the account that gets it."""


class KeyFinder(Protocol):
    """`seal.discovery.Discovery`."""

    async def find(self, address: str, kinds: Sequence[Kind] = ...) -> KeyOutcome: ...


class Choice(msgspec.Struct, frozen=True):
    """How one recipient's copy is to be sealed. key: of the recipient, or of the account that it stands for; None to
    sign it and leave it readable."""

    key: RecipientKey | None
    rule: SealRule


FOR_STORAGE: Final = SealRule(name=OWN, mode="required", hide_subject=False)  # its owner searches for it
FOR_STORAGE_SIGNED: Final = msgspec.structs.replace(FOR_STORAGE, sign=True)


class Sealer:
    """Rules, keys and signers of one server."""

    def __init__(
        self,
        settings: SealSettings,
        finder: KeyFinder,
        work: SealWork,
        clock: Clock,
        *,
        at_hand: KeyFinder | None = None,
        is_ours: Callable[[Path], bool] = lambda _: False,
    ) -> None:
        """at_hand: finds keys of our own domains (`is_ours`), for which nobody else is asked."""
        self.rules = settings.rules
        self.work = work
        self._signers = settings.signers
        self._finder = finder
        self._at_hand = at_hand or finder
        self._is_ours = is_ours
        self._clock = clock

    def now(self) -> datetime:
        """The time of day, UTC."""
        return self._clock.now()

    def rule(self, reverse_path: Path, recipient: Path, header: HeaderSection | None = None) -> Any:
        """As `seal.rules.rule_for`."""
        return rule_for(self.rules, reverse_path, recipient, header)

    async def find(self, recipient: Path, rule: SealRule) -> tuple[SealNeed, RecipientKey | None]:
        """What the rule wants for `recipient`, and the key for it, None where there is none."""
        address = str(recipient)
        finder = self._at_hand if self._is_ours(recipient) else self._finder
        try:
            outcome = await finder.find(address, KINDS[rule.kind])
        except KeyStoreError as error:
            outcome = KeyUnknown(address, (str(error),))
        if isinstance(outcome, KeyFound):
            key = outcome.key
            need = SealNeed(
                recipient=address, rule=rule.name, mode=rule.mode, kind=key.kind, key=key.fingerprint,
                source=key.source, why=outcome.warnings,
            )  # fmt: skip
            return need, key
        codes = outcome.codes if isinstance(outcome, NoKey) else frozenset()
        need = SealNeed(
            recipient=address, rule=rule.name, mode=rule.mode, why=outcome.reasons,
            is_known=not isinstance(outcome, KeyUnknown),
            has_changed="changed" in codes, has_expired="expired" in codes, was_revoked="revoked" in codes,
            unproven=outcome.unproven if isinstance(outcome, NoKey) else "",
        )  # fmt: skip
        return need, None

    def own(self, recipient: Path, account: str, material: bytes) -> tuple[SealNeed, RecipientKey | None]:
        """The same for the key that `account`, which `recipient` stands for, wants its mail encrypted to."""
        address = str(recipient)
        key = check_key(material, account, self._clock.now())
        if isinstance(key, Refused):
            return SealNeed(recipient=address, rule=OWN, mode="required", why=(key.reason,), is_known=False), None
        return SealNeed(
            recipient=address, rule=OWN, mode="required", kind=key.kind, key=key.fingerprint, source="local"
        ), key  # fmt: skip

    def signers(self, reverse_path: Path) -> tuple[SigningKey, ...]:
        """The keys of the sender's domain."""
        try:
            return self._signers.get(reverse_path.ascii_domain, ())
        except AddressError:
            return ()

    def only_signer(self, reverse_path: Path, rule: SealRule) -> SigningKey | None:
        """The key that signs what `rule` leaves readable; None where the sender's domain has none of its kind. The null
        reverse-path, of notices, has no domain."""
        return chosen_signer(self.signers(reverse_path), KINDS[rule.kind]) if rule.sign else None
