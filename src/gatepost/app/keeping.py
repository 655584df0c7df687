"""`gatepost backup` and `gatepost restore`: from the configuration to what is saved, and as whom.

As root, the data folder is only ever touched as the user that serves: files that root makes there would lock that
user out.
"""

from __future__ import annotations

import os
import pwd
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from gatepost.config.document import read_document
from gatepost.config.files import file_in
from gatepost.config.locate import locate_data
from gatepost.config.problem import Wrong
from gatepost.net.privileges import become, user_named
from gatepost.store.backup import Report, backup, make_partial, named_elsewhere, place, write_backup
from gatepost.store.backup_target import BackupError, Progress
from gatepost.store.restore import restore, saved_configuration


def save(config_path: Path, dest: Path, progress: Progress = lambda files, octets: None) -> Report:
    """What the server of this configuration needs, as the new folder `dest`; it may serve meanwhile.

    Raises BackupError, ConfigError, PrivilegeError.
    """
    file, dest = Path(os.path.abspath(config_path)), Path(os.path.abspath(dest))
    data = locate_data(file)
    document, _ = read_document(file)
    elsewhere = named_elsewhere(data, _files_of(file.parent, document))
    user = user_named(_user_of(document))
    before = os.umask(0o077)
    try:
        if user is None:
            return backup(data, dest, file, elsewhere, progress)
        partial = make_partial(dest)
        try:
            shutil.copy(file, partial / file.name)  # root may read it, the user perhaps not
            for path in (partial, partial / file.name):
                os.chown(path, user.pw_uid, user.pw_gid)
            report = _as_user(user, data, partial, file.name, elsewhere, progress)
            place(partial, dest)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise
        return msgspec.structs.replace(report, path=dest)
    finally:
        os.umask(before)


def _as_user(
    user: pwd.struct_passwd, data: Path, partial: Path, config: str, elsewhere: tuple[Path, ...], progress: Progress
) -> Report:
    """The backup, written by a child that is that user; it reaches the folder as its own working folder."""
    answer, said = os.pipe()
    child = os.fork()
    if child == 0:
        octets, status = b"", 1
        try:
            os.chdir(partial)
            become(user)
            written = write_backup(data, Path(), Path(config), elsewhere, progress)
            octets = msgspec.json.encode((written.files, written.octets))
            os.unlink(config)
            status = 0
        except BaseException as error:
            octets = str(error).encode("utf-8", "replace")
        finally:
            with open(said, "wb") as pipe:
                pipe.write(octets)
            os._exit(status)
    os.close(said)
    with open(answer, "rb") as pipe:
        octets = pipe.read()
    _, status = os.waitpid(child, 0)
    if status:
        raise BackupError(octets.decode("utf-8", "replace") or f"{data}: the backup did not come to its end")
    return Report(partial, *msgspec.json.decode(octets, type=tuple[int, int]), elsewhere)


def put_back(source: Path, config_path: Path, progress: Progress = lambda files, octets: None) -> Report:
    """The data folder of this configuration from the backup `source`. Where there is no such file, the one that was
    saved along is put there first.

    Raises BackupError, ConfigError, PrivilegeError.
    """
    file, source = Path(os.path.abspath(config_path)), Path(os.path.abspath(source))
    saved = saved_configuration(source)
    if not file.exists() and saved is not None:
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(saved, file)
        except OSError as error:
            raise BackupError(f"{file}: {error.strerror}; the configuration cannot be put there") from error
    data = locate_data(file)
    document, _ = read_document(file)
    user = user_named(_user_of(document))
    before = os.umask(0o077)
    try:
        return restore(source, data, (user.pw_uid, user.pw_gid) if user is not None else None, progress)
    finally:
        os.umask(before)


def _user_of(document: Any) -> str:
    user = document.get("user", "")
    return user if isinstance(user, str) else ""


def _files_of(folder: Path, document: Any) -> Iterator[Path]:
    """Every file that the configuration names: certificates, keys, `{ file = ... }`."""
    found: list[Any] = []
    _collect(document, found)
    for name in found:
        try:
            yield file_in(folder, name)
        except Wrong:
            continue


def _collect(value: Any, found: list[Any]) -> None:
    if isinstance(value, dict):
        for key, inner in value.items():
            if key in ("certificate", "key", "file") and isinstance(inner, str):
                found.append(inner)
            else:
                _collect(inner, found)
    elif isinstance(value, list):
        for inner in value:
            _collect(inner, found)
