"""Whether a spool may take more: its cap, and what must stay free on its disk."""

from __future__ import annotations

import os
from typing import Final

from gatepost.ports.clock import Clock
from gatepost.spool.port import SpoolFullError
from gatepost.spool.settings import SpoolSettings
from gatepost.store.sqlite.spool_layout import Layout

CHECK_SECONDS: Final = 1.0
CHECK_OCTETS: Final = 4 * 1024 * 1024


class Room:
    """Asks the disk once a second or every few megabytes; between two questions it counts what was taken."""

    def __init__(self, layout: Layout, settings: SpoolSettings, clock: Clock) -> None:
        self._layout = layout
        self._settings = settings
        self._clock = clock
        self._free_octets = 0
        self._checked = -CHECK_SECONDS - clock.monotonic()
        self._taken_since = CHECK_OCTETS

    def take(self, octets: int, held: int) -> None:
        """Count `octets` more. held: in the spool now. Raises SpoolFullError."""
        settings = self._settings
        if settings.size_limit_octets and held + octets > settings.size_limit_octets:
            raise SpoolFullError(
                f"spool {self._layout.name} holds {held} octets, its cap is {settings.size_limit_octets}; "
                "look at `gatepost queue list`, or raise the cap"
            )
        moment = self._clock.monotonic()
        self._taken_since += octets
        if self._taken_since >= CHECK_OCTETS or moment - self._checked >= CHECK_SECONDS:
            disk = os.statvfs(self._layout.folder)
            self._free_octets = disk.f_bavail * disk.f_frsize
            self._checked, self._taken_since = moment, octets
        if self._free_octets - self._taken_since < settings.free_limit_octets:
            raise SpoolFullError(
                f"{self._layout.folder}: {self._free_octets} octets are free, {settings.free_limit_octets} must "
                "stay free; make room on the disk, mail is accepted again by itself"
            )
