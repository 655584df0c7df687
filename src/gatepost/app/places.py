"""Where the server listens: what the configuration says, and the socket for mail of this machine's own users."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import structlog

from gatepost.config import Config
from gatepost.config.listen import MAX_SOCKET_PATH_OCTETS
from gatepost.net.listener import UNIX, Listener
from gatepost.net.listening import key_of
from gatepost.store.data_folder import DataFolder

log = structlog.get_logger()

SUBMISSION_SOCKET: Final = "submit.sock"  # in data/run, for `gatepost sendmail`


def submission_socket(data: Path) -> Path:
    """Where a program of this machine submits; the kernel says which user it is."""
    return DataFolder(data).run / SUBMISSION_SOCKET


def listeners_of(config: Config) -> Mapping[str, Listener]:
    """Every listener by its key; those of the configuration first."""
    listeners = {key_of(listener.address, listener.service): listener for listener in config.listeners}
    local = Listener(f"{UNIX}{submission_socket(config.data)}", "submission")
    if len(os.fsencode(local.address)) - len(UNIX) > MAX_SOCKET_PATH_OCTETS:
        log.warning(
            '"gatepost sendmail" has no socket: its path would be too long; choose a data folder nearer to the root',
            path=local.address,
        )
        return listeners
    return {**listeners, local.address: local}
