"""`gatepost serve` and `gatepost reload`: from the command to a supervisor that runs, and what is asked of it.

Order: the data folder is locked and made as the user that serves, the sockets are bound as whoever started us, then
that user is all we are. What a later reload needs is tried by the first leader, which reads everything as that user.
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import Final

import structlog

from gatepost.app.log import to_standard_error
from gatepost.app.places import listeners_of, submission_socket
from gatepost.audit import metrics
from gatepost.config import Config
from gatepost.config.locate import locate_data
from gatepost.config.problem import ConfigError
from gatepost.config.read import load
from gatepost.net.control import ask
from gatepost.net.listener import UNIX, ListenError
from gatepost.net.listening import Sockets
from gatepost.net.notify_systemd import Notify, passed_sockets
from gatepost.net.privileges import PrivilegeError, acting_as, allow_many_files, become, user_named
from gatepost.net.supervised import StartError
from gatepost.net.supervisor import CONTROL_NAME, Supervisor
from gatepost.store.backup import backup
from gatepost.store.backup_target import BackupError
from gatepost.store.data_folder import DataError, DataFolder, DataLock, make_root, prepare

log = structlog.get_logger()

RELOAD_SECONDS: Final = 400.0  # above what the supervisor gives a leader
UMASK: Final = 0o077  # mail is nobody else's; what others may reach says so itself


def serve(config_path: Path) -> int:
    """The exit status, once the server was told to stop; what prevents it goes to standard error."""
    to_standard_error()
    try:
        return _serve(Path(os.path.abspath(config_path)))
    except (ConfigError, PrivilegeError, DataError, BackupError, ListenError, StartError) as error:
        return _failed(str(error))


def _serve(file: Path) -> int:
    config = load(file)
    user = user_named(config.user)
    passed = passed_sockets()
    notify = Notify()
    os.umask(UMASK)
    allow_many_files()
    if user is not None:
        _give_root_folder(config.data, user.pw_uid, user.pw_gid)
    with acting_as(user):
        lock = DataLock.take(config.data)
        data = prepare(config.data, save=backup)
        data.secret()
        metrics.begin(data.run / "metrics")
    places = {key: listener.address for key, listener in listeners_of(config).items()}
    local = f"{UNIX}{submission_socket(config.data)}"
    sockets = Sockets()
    sockets.open({key: address for key, address in places.items() if address != local}, passed)
    become(user)
    sockets.open({key: address for key, address in places.items() if address == local})
    return asyncio.run(_supervise(config, data, sockets, notify, lock))


async def _supervise(config: Config, data: DataFolder, sockets: Sockets, notify: Notify, lock: DataLock) -> int:
    # -P: the folder that the server was started in is no place to import from.
    command = (sys.executable, "-P", "-m", "gatepost.app.leader", str(config.file), str(config.data))
    supervisor = Supervisor(
        command, sockets, data.run, notify, inherited=(lock.descriptor,), about={"config": str(config.file)}
    )
    return await supervisor.run()


def _give_root_folder(root: Path, uid: int, gid: int) -> None:
    """A data folder that is new belongs to the user that serves; one that has something in it is left alone."""
    try:
        make_root(root)
        if root.stat().st_uid == 0 and not any(root.iterdir()):
            os.chown(root, uid, gid)
    except OSError as error:
        raise DataError(f"{error.filename or root}: {error.strerror}; it cannot be made or given to `user`") from error


def reload(config_path: Path) -> int:
    """0 when the running server serves with what the file says now; else 1, with what is wrong on standard error."""
    file = Path(os.path.abspath(config_path))
    try:
        data = locate_data(file)
    except ConfigError as error:
        return _failed(str(error))
    try:
        answer = ask(DataFolder(data).run / CONTROL_NAME, {"do": "reload", "config": str(file)}, RELOAD_SECONDS)
    except PermissionError:
        return _failed(f"{data} belongs to another user; run this as root, or as the user that the server runs as")
    except (FileNotFoundError, ConnectionRefusedError):
        return _failed(f'no server is running with {data}; "gatepost serve" starts it')
    except OSError as error:
        return _failed(f"the server did not answer ({error}); its log says more")
    if not answer.get("ok"):
        return _failed(f"{answer.get('error')}\nThe server goes on with the configuration that it had.")
    return 0


def _failed(text: str) -> int:
    for line in text.splitlines():
        sys.stderr.write(f"gatepost: {line}\n")
    return 1
