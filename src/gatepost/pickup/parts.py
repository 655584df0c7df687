"""What the POP3 sessions of one worker share."""

from __future__ import annotations

from dataclasses import dataclass

from gatepost.gate.parts import GateParts
from gatepost.maildrop.port import MaildropStore
from gatepost.pickup.settings import PickupSettings


@dataclass(frozen=True)
class PickupParts:
    """gate: decides, logs in and records. maildrops: what is handed out."""

    gate: GateParts
    maildrops: MaildropStore
    settings: PickupSettings
