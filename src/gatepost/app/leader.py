"""The leader of our server: `python -m gatepost.app.leader CONFIG DATA CHANNEL`, executed by the supervisor.

What is made here, before the fork, is one generation: a configuration and its TLS contexts.
"""

from __future__ import annotations

import os
import pwd
import socket
import sys
from collections.abc import Mapping
from pathlib import Path

import structlog

from gatepost.app.log import to_standard_error
from gatepost.app.places import listeners_of
from gatepost.app.worker import Worker
from gatepost.config import Config
from gatepost.config.problem import ConfigError
from gatepost.config.read import load
from gatepost.net.clock import SystemClock
from gatepost.net.leader import CannotServe, serve_generation
from gatepost.net.tls import ServerTls
from gatepost.net.tls_certificates import CertificateError
from gatepost.store.data_folder import DataError, DataFolder
from gatepost.store.spool_key import check_spool_keys

log = structlog.get_logger()


class ServerGeneration:
    """`net.leader.Generation` of one configuration."""

    def __init__(self, config: Config, tls: ServerTls) -> None:
        self._config = config
        self._tls = tls
        self._listeners = listeners_of(config)

    @property
    def places(self) -> Mapping[str, str]:
        return {key: listener.address for key, listener in self._listeners.items()}

    @property
    def services(self) -> Mapping[str, str]:
        return {key: listener.service for key, listener in self._listeners.items()}

    @property
    def workers(self) -> int:
        return self._config.workers

    def work(self, number: int, sockets: Mapping[str, socket.socket]) -> Worker:
        """Made in the worker, in its loop."""
        by_listener = {self._listeners[key]: sock for key, sock in sockets.items()}
        return Worker(self._config, DataFolder(self._config.data), number, by_listener, self._tls)

    def look(self) -> None:
        """A worker that is forked later has the certificate of today."""
        if self._tls.changed():
            self._tls.reload()  # what is wrong with it, the workers say


def load_generation(file: Path, data: Path) -> ServerGeneration:
    """What `file` wants now. data: what the supervisor holds the lock of. Raises CannotServe."""
    try:
        config = load(file)
        _check_unchanged(config, data)
        is_waiting = check_spool_keys(DataFolder(data), config.spool, SystemClock().now().date())
        if config.spool.previous_keys and not is_waiting:
            log.info("no message waits under a key of [spool] previous_keys any more; they may go")
        for warning in config.warnings:
            log.warning("configuration", problem=str(warning))
        tls = ServerTls(config.tls, config.hostname, config.data, SystemClock())
    except (ConfigError, CertificateError, DataError) as error:
        raise CannotServe(str(error)) from error
    if tls.is_self_signed:
        log.warning("no certificate is configured; a self-signed one is used, which nobody can verify")
    return ServerGeneration(config, tls)


def _check_unchanged(config: Config, data: Path) -> None:
    """Raises CannotServe for what only a restart can change."""
    if config.data != data:
        raise CannotServe(f"{config.file}: data: was {data} when the server started; a change to {config.data} needs "
                          "a restart")  # fmt: skip
    if config.user and pwd.getpwnam(config.user).pw_uid != os.geteuid():
        raise CannotServe(
            f"{config.file}: user: the server runs as user {os.geteuid()}; a change to {config.user} needs a restart"
        )


def main() -> int:
    """The exit status."""
    _, file, data, descriptor = sys.argv
    to_standard_error()
    channel = socket.socket(fileno=int(descriptor))
    channel.set_inheritable(False)
    return serve_generation(channel, lambda: load_generation(Path(file), Path(data)))


if __name__ == "__main__":
    sys.exit(main())
