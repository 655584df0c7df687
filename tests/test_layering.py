"""The architecture, checked: imports go down the rows, pure rows touch no world, engines stay in `store`.

Every import counts, also one inside a function or under TYPE_CHECKING: what is not imported cannot be leant on.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

PACKAGE = Path(__file__).parents[1] / "src" / "gatepost"

# Highest row first. A part imports rows below its own, never above or beside.
ROWS: Final = (
    {"__main__"},
    {"cli"},
    {"app"},
    {"config"},
    {"net", "admin"},
    {"intake", "delivery", "pickup"},
    {"gate", "store"},
    {"audit"},
    {"policy", "verify", "seal", "accounts", "standing", "spool", "maildrop"},
    {"protocol", "ports"},
    {"mail"},
)
ROW_OF: Final = {part: number for number, parts in enumerate(ROWS) for part in parts}

# Parts that compute and do nothing else. Whatever they need from the world comes in as a value or through a port.
PURE: Final = {"mail", "ports", "protocol", "policy", "verify"}
IMPURE_MODULES: Final = {
    *("asyncio", "anyio", "concurrent", "multiprocessing", "queue", "select", "selectors", "threading", "uvloop"),
    *("http", "httpcore2", "httpx2", "poplib", "smtplib", "socket", "socketserver", "ssl", "urllib.request", "uvicorn"),
    *("dns.asyncquery", "dns.asyncresolver", "dns.query", "dns.resolver"),
    *("apsw", "dbm", "duckdb", "lmdb", "sqlite3"),
    *("fileinput", "fcntl", "glob", "mailbox", "mmap", "os", "pathlib", "shutil", "tempfile"),
    *("getpass", "platform", "pwd", "resource", "signal", "subprocess"),
    *("random", "secrets", "time", "uuid"),
    *("logging", "prometheus_client", "structlog", "syslog", "warnings"),
    *("importlib",),
}
# What computes and nothing else, though it lives in a module that does more.
PURE_NAMES: Final = {"socket.inet_pton", "socket.AF_INET6"}
IMPURE_CALLS: Final = {
    *("open", "print", "input", "eval", "exec", "breakpoint", "__import__"),
    *("datetime.now", "datetime.utcnow", "datetime.today", "date.today"),
    *("utils.formatdate", "utils.localtime", "utils.make_msgid", "formatdate", "localtime", "make_msgid"),
}
# `datetime` is a value type; `x.astimezone()` without a zone asks the machine for its own.
ZONE_OF_THE_MACHINE: Final = "astimezone"

# Nothing above `store` knows which engine runs.
ENGINES: Final = {"apsw", "lmdb", "sqlite3"}


@dataclass(frozen=True)
class Module:
    """One source file: `name` is dotted from `gatepost` on, `part` its sub-package or module right below the root."""

    path: Path
    name: str
    tree: ast.Module

    @property
    def part(self) -> str:
        return self.name.split(".")[1] if "." in self.name else ""

    @property
    def is_package(self) -> bool:
        return self.path.name == "__init__.py"

    def at(self, node: ast.AST) -> str:
        return f"{self.name}:{getattr(node, 'lineno', 0)}"


def modules_of(package: Path) -> Iterator[Module]:
    for path in sorted(package.rglob("*.py")):
        parts = [package.name, *path.relative_to(package).with_suffix("").parts]
        if parts[-1] == "__init__":
            parts.pop()
        yield Module(path, ".".join(parts), ast.parse(path.read_bytes(), filename=str(path)))


def imports_of(module: Module) -> Iterator[tuple[ast.AST, str]]:
    """Every name that an import statement, `import_module("...")` or `__import__("...")` reaches for, absolute."""
    for node in ast.walk(module.tree):
        match node:
            case ast.Import(names=names):
                for alias in names:
                    yield node, alias.name
            case ast.ImportFrom(module=source, names=names, level=level):
                base = _absolute(module, level, source)
                for alias in names:
                    yield node, f"{base}.{alias.name}"
            case ast.Call(func=func, args=[ast.Constant(value=str(name)), *_]) if _dotted(func).endswith(
                ("import_module", "__import__")
            ):
                level = len(name) - len(name.lstrip("."))
                yield node, _absolute(module, level, name[level:])


def _absolute(module: Module, level: int, source: str | None) -> str:
    if level == 0:
        return source or ""
    here = module.name.split(".")
    up = level - 1 if module.is_package else level
    return ".".join([*here[: len(here) - up], *([source] if source else [])])


def _dotted(node: ast.expr) -> str:
    """`a.b.c` of an expression made of names and attributes; what lies before them is left out."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        return f"{_dotted(node.value)}.{node.attr}".lstrip(".")
    return ""


def _is_within(name: str, modules: set[str]) -> bool:
    parts = name.split(".")
    return any(".".join(parts[:length]) in modules for length in range(1, len(parts) + 1))


def broken_edges(package: Path) -> list[str]:
    """Every import that points up or beside, one line each with file, line and what to do."""
    found = []
    for module in modules_of(package):
        edges = [
            (node, name) for node, name in imports_of(module) if name.split(".")[0] == package.name and "." in name
        ]
        if module.part == "":
            found += [
                f"{module.at(node)}: the package root imports nothing, but imports {name}" for node, name in edges
            ]
            continue
        if module.part not in ROW_OF:
            found.append(f"{module.name}: {module.part} stands in no row; give it one in {Path(__file__).name}")
            continue
        for node, name in edges:
            target = name.split(".")[1]
            if target == module.part or target not in ROW_OF:  # its own, or a name of the root like __version__
                continue
            if ROW_OF[target] < ROW_OF[module.part]:
                found.append(f"{module.at(node)}: {module.part} imports {name}, which lies above it; use a port")
            elif ROW_OF[target] == ROW_OF[module.part]:
                found.append(
                    f"{module.at(node)}: {module.part} imports {name}, its neighbour; move what both need down"
                )
    return found


def impurities(package: Path) -> list[str]:
    """Every reach into the world from a pure part, and every engine that is imported outside `store`."""
    found = []
    for module in modules_of(package):
        for node, name in imports_of(module):
            if module.part in PURE and _is_within(name, IMPURE_MODULES) and name not in PURE_NAMES:
                found.append(f"{module.at(node)}: {module.part} is pure, but imports {name}")
            elif module.part != "store" and _is_within(name, ENGINES):
                found.append(f"{module.at(node)}: {module.part} imports the engine {name}; only store does")
        if module.part not in PURE:
            continue
        for node in ast.walk(module.tree):
            if isinstance(node, ast.Call) and (call := _impure_call(node)):
                found.append(f"{module.at(node)}: {module.part} is pure, but calls {call}()")
    return found


def _impure_call(node: ast.Call) -> str | None:
    name = _dotted(node.func)
    tail = ".".join(name.split(".")[-2:])
    if name in IMPURE_CALLS or ("." in tail and tail in IMPURE_CALLS):
        return name
    if (
        isinstance(node.func, ast.Attribute)
        and node.func.attr == ZONE_OF_THE_MACHINE
        and not (node.args or node.keywords)
    ):
        return ZONE_OF_THE_MACHINE
    return None


def _house(folder: Path, files: dict[str, str]) -> Path:
    package = folder / "gatepost"
    for name, text in {"__init__.py": "", **files}.items():
        path = package / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return package


def test_imports_go_down_the_rows() -> None:
    assert not (found := broken_edges(PACKAGE)), "\n".join(["edges that break the layering:", *found])


def test_pure_parts_touch_no_world_and_engines_stay_in_store() -> None:
    assert not (found := impurities(PACKAGE)), "\n".join(["reaches into the world:", *found])


def test_every_folder_of_the_package_stands_in_a_row() -> None:
    parts = {path.name for path in PACKAGE.iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert parts <= set(ROW_OF)
    assert "config" in parts  # the walk looks at the real house


@pytest.mark.parametrize(
    ("file", "text", "reason"),
    [
        pytest.param("mail/path.py", "import gatepost.policy.engine", "above", id="up"),
        pytest.param("mail/path.py", "from gatepost import policy", "above", id="up, from the root"),
        pytest.param("mail/path.py", "from ..policy.engine import decide", "above", id="up, relative"),
        pytest.param("mail/__init__.py", "from ..policy import decide", "above", id="up, relative from a package"),
        pytest.param("protocol/smtp/server.py", "from ...gate import x", "above", id="up, from two folders down"),
        pytest.param("spool/port.py", "from gatepost.standing import Rate", "neighbour", id="beside"),
        pytest.param("net/dns.py", "from gatepost.config import Settings", "above", id="config below app"),
        pytest.param("policy/a.py", "def f():\n    from gatepost.gate import g\n", "above", id="inside a function"),
        pytest.param("gate/a.py", "if TYPE_CHECKING:\n    import gatepost.net\n", "above", id="for types only"),
        pytest.param("gate/a.py", "import_module('gatepost.net')", "above", id="by name"),
        pytest.param("__init__.py", "from gatepost.mail import Path", "root imports nothing", id="root re-exports"),
        pytest.param("__init__.py", "from .mail import Path", "root imports nothing", id="root re-exports, relative"),
        pytest.param("helpers/a.py", "", "no row", id="a part without a row"),
    ],
)
def test_a_planted_bad_edge_is_found(tmp_path: Path, file: str, text: str, reason: str) -> None:
    found = broken_edges(_house(tmp_path, {file: text}))
    assert len(found) == 1
    assert reason in found[0]


@pytest.mark.parametrize(
    ("file", "text"),
    [
        pytest.param("cli/queue.py", "from gatepost.config import load", id="down"),
        pytest.param("app.py", "import gatepost.config\nimport gatepost.store.sqlite.spool", id="app joins"),
        pytest.param("protocol/smtp/server.py", "from gatepost.protocol.sasl import scram", id="within a part"),
        pytest.param("protocol/smtp/server.py", "from ..sasl import scram", id="within a part, relative"),
        pytest.param("mail/path.py", "import re, ipaddress", id="the standard library"),
        pytest.param("intake/trace.py", "from gatepost import __version__", id="the version"),
    ],
)
def test_a_good_edge_passes(tmp_path: Path, file: str, text: str) -> None:
    assert broken_edges(_house(tmp_path, {file: text})) == []


@pytest.mark.parametrize(
    ("file", "text"),
    [
        pytest.param("mail/a.py", "import time", id="clock module"),
        pytest.param("mail/a.py", "from datetime import datetime\nx = datetime.now(UTC)", id="clock call"),
        pytest.param("mail/a.py", "import datetime\nx = datetime.datetime.now(UTC)", id="clock call, dotted"),
        pytest.param("mail/a.py", "x = moment.astimezone()", id="the machine's own zone"),
        pytest.param("mail/a.py", "x = email.utils.make_msgid()", id="a Message-ID out of the air"),
        pytest.param("ports/a.py", "from asyncio import Event", id="event loop"),
        pytest.param("protocol/pop3/a.py", "def f():\n    import socket\n", id="socket inside a function"),
        pytest.param("protocol/smtp/a.py", "import urllib.request", id="fetching"),
        pytest.param("policy/checks/a.py", "import structlog", id="logging"),
        pytest.param("policy/checks/a.py", "x = open('table').read()", id="file"),
        pytest.param("policy/a.py", "import os.path", id="environment"),
        pytest.param("verify/a.py", "import dns.resolver", id="look-ups past the port"),
        pytest.param("verify/a.py", "from dns import resolver", id="look-ups past the port, from"),
        pytest.param("verify/a.py", "import secrets", id="chance"),
        pytest.param("net/a.py", "import lmdb", id="an engine outside store"),
    ],
)
def test_a_planted_reach_into_the_world_is_found(tmp_path: Path, file: str, text: str) -> None:
    assert len(impurities(_house(tmp_path, {file: text}))) == 1


@pytest.mark.parametrize(
    ("file", "text"),
    [
        pytest.param(
            "mail/a.py", "from datetime import UTC, datetime\nx = datetime(2026, 1, 1, tzinfo=UTC)", id="value"
        ),
        pytest.param("mail/a.py", "x = moment.astimezone(UTC)", id="a named zone"),
        pytest.param("verify/a.py", "import dns.rdatatype\nfrom urllib.parse import quote", id="codecs"),
        pytest.param("mail/a.py", "from socket import AF_INET6, inet_pton", id="addresses as octets"),
        pytest.param("policy/a.py", "x = gate.open(1)\ny = clock.now()", id="a method that is called like one"),
        pytest.param("net/a.py", "import asyncio, socket, ssl, time", id="a part that may"),
        pytest.param("store/sqlite/a.py", "import apsw", id="an engine where it belongs"),
    ],
)
def test_what_a_part_may_do_is_not_reported(tmp_path: Path, file: str, text: str) -> None:
    assert impurities(_house(tmp_path, {file: text})) == []
