"""Who the process is: from root to the user that serves, for a while or for good. Not here: when that is done."""

from __future__ import annotations

import ctypes
import os
import pwd
import resource
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final

PR_SET_NO_NEW_PRIVS: Final = 38  # linux/prctl.h
WANTED_FILES: Final = 65536  # 20,000 connections, each with a file of content and one to the next hop, and some


class PrivilegeError(Exception):
    """The process cannot become who it should be; the message says why and what to do."""


def user_named(name: str) -> pwd.struct_passwd | None:
    """The entry of `name`, None for "" (stay who we are) and where we are that user already.

    Raises PrivilegeError: no such user, or only root may become it.
    """
    if not name:
        return None
    try:
        entry = pwd.getpwnam(name)
    except KeyError:
        raise PrivilegeError(
            f'user: there is no user {name!r}; make it with "useradd --system --shell /usr/sbin/nologin {name}", '
            "or name another"
        ) from None
    if entry.pw_uid == os.geteuid():
        return None
    if os.geteuid() != 0:
        raise PrivilegeError(
            f"user: only root can become {name}, and this is {_name_of(os.geteuid())}; start as root or as {name}"
        )
    return entry


@contextmanager
def acting_as(entry: pwd.struct_passwd | None) -> Iterator[None]:
    """Files are made and opened as that user while the block runs; None changes nothing. Single-threaded only."""
    if entry is None:
        yield
        return
    groups, gid, uid = os.getgroups(), os.getegid(), os.geteuid()
    os.setgroups(os.getgrouplist(entry.pw_name, entry.pw_gid))
    os.setegid(entry.pw_gid)
    os.seteuid(entry.pw_uid)
    try:
        yield
    finally:
        os.seteuid(uid)
        os.setegid(gid)
        os.setgroups(groups)


def become(entry: pwd.struct_passwd | None) -> None:
    """That user for good, with its groups and nothing of root's; None changes nothing. Raises PrivilegeError.

    Programs that would give privileges back (setuid) no longer do, for this process and all it starts.
    """
    if entry is not None:
        try:
            os.setgroups(os.getgrouplist(entry.pw_name, entry.pw_gid))
            os.setresgid(entry.pw_gid, entry.pw_gid, entry.pw_gid)
            os.setresuid(entry.pw_uid, entry.pw_uid, entry.pw_uid)
        except OSError as error:
            raise PrivilegeError(f"user: the system does not let root become {entry.pw_name}: {error}") from error
        _verify(entry)
        os.environ.update(HOME=entry.pw_dir, USER=entry.pw_name, LOGNAME=entry.pw_name)
    with suppress(OSError, AttributeError):  # a kernel or C library without it: the change above holds all the same
        ctypes.CDLL(None).prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)


def _verify(entry: pwd.struct_passwd) -> None:
    if os.getresuid() != (entry.pw_uid,) * 3 or os.getresgid() != (entry.pw_gid,) * 3:
        raise PrivilegeError(f"user: the change to {entry.pw_name} did not take; the server does not run like that")
    with suppress(OSError):
        os.setuid(0)
        raise PrivilegeError(
            f"user: root can be had back after the change to {entry.pw_name}; see the capabilities of this process"
        )


def allow_many_files() -> int:
    """How many files this process and its children may have open: as many as the system lets us, WANTED_FILES at
    best."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    for wanted in (max(hard, WANTED_FILES), hard):  # only root may raise the hard limit
        if soft >= min(wanted, WANTED_FILES):
            break
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, wanted))
            soft = wanted
    return soft


def _name_of(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user {uid}"
