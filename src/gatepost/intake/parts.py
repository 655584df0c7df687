"""What the sessions of one worker share on the way in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from gatepost.gate.parts import GateParts
from gatepost.intake.autocrypt import Autocrypt
from gatepost.intake.content import HeldHeaders
from gatepost.intake.cut_through import Passage
from gatepost.intake.settings import IntakeSettings
from gatepost.spool.port import SpoolStore


@dataclass(frozen=True)
class IntakeParts:
    """gate: decides and records. spool: keeps. notify: tells delivery that there is something to do. recipient_limits:
    what EHLO announces for a service. passage: passes mail on before it is accepted, for domains with `cut_through`.
    report: told why the spool could not keep a message. headers: those that are arriving.
    autocrypt: keeps keys that come with mail, None where they are not asked for."""

    gate: GateParts
    spool: SpoolStore
    settings: IntakeSettings
    notify: Callable[[], None]
    recipient_limits: dict[str, int]
    passage: Passage | None = None
    report: Callable[[str], None] = lambda problem: None
    headers: HeldHeaders = field(default_factory=HeldHeaders)
    autocrypt: Autocrypt | None = None
