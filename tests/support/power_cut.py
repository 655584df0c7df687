"""A power cut under a real program: strace tells what it wrote and synced, and the disk is made again from that.

    with_strace(["program", ...], trace)         # the words to start it with
    disk = Disk(Path("data"), read_trace(trace))
    for moment in disk.moments(b"250 2.0.0"):    # right before each of these octets left the program
        disk.after_the_cut(moment, Path("cut"))  # what the next boot finds

The worst case that POSIX allows: a file has what its last fsync saw, or nothing; a name is there if its folder was
synced since. What is written through a mapping is not seen: SQLite's -shm, which no boot needs.
"""

from __future__ import annotations

import re
import time
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

import msgspec
from tests.programs import program

MAX_STRING_OCTETS: Final = 8 << 20
PATIENCE_SECONDS: Final = 20.0
CALLS: Final = (
    "openat", "lseek", "mkdir", "rename", "link", "linkat", "unlink", "unlinkat", "ftruncate", "fallocate",
    "write", "pwrite64", "writev", "pwritev", "sendto", "sendmsg", "fsync", "fdatasync",
)  # fmt: skip
_CALL: Final = re.compile(r"([\d.]+) (\w+)\((.*)\) += (-?\d+)(?:<(.*?)>)?[^<]*(?: <([\d.]+)>)?$")
_TEXT: Final = re.compile(r'"((?:\\x[0-9a-f]{2})*)"(\.\.\.)?')
_OPEN: Final = re.compile(r"(\d+)<([^>]*)>")


def with_strace(command: Sequence[str], trace: Path) -> list[str]:
    """`command`, watched. The process that is started is the program itself, so that signals reach it."""
    names = ",".join(CALLS)
    return [
        str(program("strace")), "-D", "-ff", "-ttt", "-T", "-y", "-xx", "-s", str(MAX_STRING_OCTETS), "--seccomp-bpf",
        "-e", f"trace={names}", "-e", "signal=none", "-o", str(trace), *command,
    ]  # fmt: skip


class Call(msgspec.Struct, frozen=True):
    """One system call that did not fail. fd, path: what it was about; texts: its strings; opened: the path of `result`,
    where that is a file."""

    begins: float
    ends: float
    name: str
    fd: int
    path: str
    texts: tuple[bytes, ...]
    words: str
    result: int
    opened: str


def read_trace(trace: Path) -> list[Call]:
    """All calls of all threads, once strace has written them down. The program has ended."""
    calls = []
    for file in trace.parent.glob(f"{trace.name}.*"):
        for line in _whole(file).splitlines():
            call = _call(line)
            if call is not None:
                calls.append(call)
    return calls


def _whole(file: Path) -> str:
    until = time.monotonic() + PATIENCE_SECONDS
    while not (text := file.read_text("ascii")).endswith("+++\n"):
        assert time.monotonic() < until, f"{file}: its process does not end"
        time.sleep(0.02)
    return text


def _call(line: str) -> Call | None:
    found = _CALL.match(line)
    if found is None or int(found[4]) < 0:
        return None  # an end, a signal, or a call that failed
    begins, name, words, result, opened, took = found.groups()
    texts = []
    for text, cut in _TEXT.findall(words):
        assert not cut, f"a string was too long for strace: {name}"
        texts.append(bytes.fromhex(text.replace("\\x", "")))
    about = _OPEN.match(words)
    fd, path = (int(about[1]), _plain(about[2])) if about else (-1, "")
    words = _TEXT.sub('""', words)
    at = float(begins)
    return Call(at, at + float(took or 0), name, fd, path, tuple(texts), words, int(result), _plain(opened or ""))


def _plain(path: str) -> str:
    return re.sub(r"\\x([0-9a-f]{2})", lambda found: chr(int(found[1], 16)), path)


class Node:
    """A file: what a reader sees, and what was synced of it, with the time since when that is on the disk."""

    def __init__(self) -> None:
        self.octets = bytearray()
        self.synced: list[tuple[float, bytes]] = [(0.0, b"")]

    def at(self, moment: float) -> bytes:
        return self.synced[bisect_right(self.synced, moment, key=lambda each: each[0]) - 1][1]


class Disk:
    """What is below `root` according to `calls`. What was there before the program started is on the disk."""

    def __init__(self, root: Path, calls: Iterable[Call], before: Path | None = None) -> None:
        """before: a copy of `root` as it was then."""
        self._root = str(root)
        self._names: dict[str, Node | None] = {self._root: None}  # None: a folder
        self._folders: dict[str, list[tuple[float, dict[str, Node | None]]]] = {}
        self._direct: set[tuple[str, int]] = set()  # what is written through these is synced at once (O_DSYNC)
        self._at: dict[tuple[str, int], int] = {}  # where the next write goes; absent: to the end (O_APPEND)
        self._sent: list[tuple[float, bytes]] = []
        self.syncs: list[float] = []
        if before is not None:
            self._remember(before)
        steps: list[tuple[float, int, Call]] = []
        for call in calls:
            if call.name in ("fsync", "fdatasync"):
                steps.append((call.begins, 0, call))
            else:
                steps.append((call.ends, 1, call))
        for _, _, call in sorted(steps, key=lambda step: step[:2]):
            self._step(call)
        self._sent.sort()
        self.syncs.sort()

    def moments(self, octets: bytes) -> list[tuple[float, bytes]]:
        """When the program began to send or print what has `octets` in it, and all that it then said."""
        return [(moment, said) for moment, said in self._sent if octets in said]

    def after_the_cut(self, moment: float, to: Path) -> Path:
        """The folder as the next boot finds it."""
        self._lay(self._root, moment, to)
        return to

    # --- inside

    def _remember(self, before: Path) -> None:
        for path in sorted(before.rglob("*")):
            name = f"{self._root}/{path.relative_to(before)}"
            node = self._names[name] = None if path.is_dir() else Node()
            if node is not None:
                octets = path.read_bytes() if path.is_file() else b""
                node.octets, node.synced = bytearray(octets), [(0.0, octets)]
        for folder in [name for name, node in self._names.items() if node is None]:
            self._folders[folder] = [(0.0, self._inside(folder))]

    def _inside(self, folder: str) -> dict[str, Node | None]:
        names = ((name.rpartition("/"), node) for name, node in self._names.items())
        return {name: node for (above, _, name), node in names if above == folder}

    def _lay(self, folder: str, moment: float, to: Path) -> None:
        to.mkdir(parents=True, exist_ok=True)
        known = [names for since, names in self._folders.get(folder, ()) if since <= moment]
        for name, node in known[-1].items() if known else ():
            if node is None:
                self._lay(f"{folder}/{name}", moment, to / name)
            elif not name.endswith(("-shm", ".sock")):
                (to / name).write_bytes(node.at(moment))

    def _step(self, call: Call) -> None:
        match call.name:
            case "openat":
                self._open(call)
            case "mkdir":
                self._names[self._path(call.texts[0])] = None
            case "rename":
                self._names[self._path(call.texts[1])] = self._names.pop(self._path(call.texts[0]), Node())
            case "link" | "linkat":
                self._names[self._path(call.texts[1])] = self._names.get(self._path(call.texts[0]), Node())
            case "unlink" | "unlinkat":
                self._names.pop(self._path(call.texts[0]), None)
            case "fsync" | "fdatasync":
                self._sync(call)
            case "lseek":
                self._at[call.path, call.fd] = call.result
            case "ftruncate":
                self._cut_to(call)
            case "fallocate":
                pass  # reserves room; what is read there is zero, and nobody reads it
            case _:
                self._write(call)

    def _path(self, text: bytes) -> str:
        return text.decode()

    def _open(self, call: Call) -> None:
        path = call.opened
        if not path.startswith(self._root) or "O_DIRECTORY" in call.words:
            return
        if "O_CREAT" in call.words:
            self._names.setdefault(path, Node())
        node = self._names.get(path)
        if node is not None and "O_TRUNC" in call.words:
            node.octets.clear()
        key = (path, call.result)
        if "O_DSYNC" in call.words or "O_SYNC" in call.words:
            self._direct.add(key)
        else:
            self._direct.discard(key)
        self._at.pop(key, None)
        if "O_APPEND" not in call.words:
            self._at[key] = 0

    def _sync(self, call: Call) -> None:
        if not call.path.startswith(self._root):
            return
        self.syncs.append(call.ends)
        if call.path in self._names and self._names[call.path] is None:
            self._folders.setdefault(call.path, []).append((call.ends, self._inside(call.path)))
        elif (node := self._names.get(call.path)) is not None:
            node.synced.append((call.ends, bytes(node.octets)))

    def _cut_to(self, call: Call) -> None:
        node = self._names.get(call.path)
        if node is not None:
            octets = int(call.words.rpartition(",")[2])
            del node.octets[octets:]
            node.octets.extend(bytes(octets - len(node.octets)))

    def _write(self, call: Call) -> None:
        octets = b"".join(call.texts)[: call.result]
        if not call.path.startswith(self._root):
            self._sent.append((call.begins, octets))
            return
        node = self._names.get(call.path)
        if node is None:
            return
        key = (call.path, call.fd)
        if call.name.startswith("pwrite"):
            at = int(call.words.rpartition(",")[2])
        else:
            at = self._at.get(key, len(node.octets))
            if key in self._at:
                self._at[key] = at + len(octets)
        node.octets.extend(bytes(max(0, at - len(node.octets))))
        node.octets[at : at + len(octets)] = octets
        if key in self._direct:
            node.synced.append((call.ends, bytes(node.octets)))
