"""What `[audit]` says."""

from __future__ import annotations

import msgspec


class AuditSettings(msgspec.Struct, frozen=True):
    """keep: seconds that a day of the record is kept after its end."""

    keep: float = 90 * 86400.0
