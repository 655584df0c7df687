"""The change from root to the user that serves: for good, whole, and refused where it cannot be made."""

from __future__ import annotations

import os
import pwd
import subprocess
import sys
from pathlib import Path

import pytest

from gatepost.net.privileges import PrivilegeError, allow_many_files, user_named

BECOME_NOBODY = """
import os, sys
from gatepost.net.privileges import PrivilegeError, acting_as, become, user_named
entry = user_named("nobody")
with acting_as(entry):
    open(sys.argv[1] + "/made-as-nobody", "x").close()
print(os.geteuid())
become(entry)
print(os.getresuid(), os.getresgid(), os.getgroups(), os.environ["USER"])
for forbidden in (lambda: os.setuid(0), lambda: os.seteuid(0), lambda: open("/etc/shadow")):
    try:
        forbidden()
        print("allowed")
    except PermissionError:
        print("refused")
print([line.split()[1] for line in open("/proc/self/status") if line.startswith(("NoNewPrivs", "CapEff"))])
"""


def test_root_becomes_the_user_and_has_nothing_left(tmp_path: Path) -> None:
    if os.geteuid() != 0:  # then there is nothing to give up, and what remains to be tested is the refusal
        with pytest.raises(PrivilegeError, match="only root can become nobody"):
            user_named("nobody")
        return
    nobody = pwd.getpwnam("nobody")
    for folder in (tmp_path, *tmp_path.parents):
        if folder.stat().st_uid == 0 and folder != Path("/"):
            folder.chmod(folder.stat().st_mode | 0o011)
    tmp_path.chmod(0o777)
    command = [sys.executable, "-c", BECOME_NOBODY, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stderr == ""
    uid, gid = nobody.pw_uid, nobody.pw_gid
    assert done.stdout.splitlines() == [
        "0",
        f"{(uid,) * 3} {(gid,) * 3} [{gid}] nobody",
        "refused",
        "refused",
        "refused",
        "['0000000000000000', '1']",
    ]
    assert (tmp_path / "made-as-nobody").stat().st_uid == uid


def test_a_user_that_does_not_exist_is_answered_with_how_to_make_it() -> None:
    with pytest.raises(PrivilegeError, match=r'no user "?\'gatepost-nobody-has\'; make it with "useradd --system'):
        user_named("gatepost-nobody-has")


def test_nothing_is_changed_for_nobody_in_particular_or_for_ourselves() -> None:
    assert user_named("") is None
    assert user_named(pwd.getpwuid(os.geteuid()).pw_name) is None


def test_a_change_by_who_is_not_root_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: pwd.getpwnam("nobody").pw_uid)
    with pytest.raises(PrivilegeError, match="only root can become daemon, and this is nobody"):
        user_named("daemon")


def test_many_files_may_be_open() -> None:
    assert allow_many_files() >= 1024
