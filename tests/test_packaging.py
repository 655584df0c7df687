"""The locks and the declared dependencies agree with each other and with what the source imports."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
LOCKS = sorted((ROOT / "requirements").glob("*.txt"))


def normal(name: str) -> str:
    """The name that package indexes compare by (PEP 503), without extras, versions and markers."""
    return re.sub(r"[-_.]+", "-", re.split(r"[\[<>=!~; ]", name, maxsplit=1)[0]).lower()


def locked(lock: Path) -> dict[str, str]:
    return {normal(name): version for name, version in re.findall(r"^([\w.-]+)==([^\s;]+)", lock.read_text(), re.M)}


def declared() -> set[str]:
    optional = [name for extra in PROJECT.get("optional-dependencies", {}).values() for name in extra]
    return {normal(name) for name in [*PROJECT["dependencies"], *optional]}


def imported() -> dict[str, str]:
    """Each top-level module that the source imports from elsewhere, and one file that does."""
    found = {}
    for path in (ROOT / "src").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_bytes())):
            match node:
                case ast.Import(names=names):
                    modules = [alias.name for alias in names]
                case ast.ImportFrom(module=str(module), level=0):
                    modules = [module]
                case _:
                    continue
            for module in modules:
                top = module.partition(".")[0]
                if top not in sys.stdlib_module_names and top != "gatepost":
                    found[top] = str(path.relative_to(ROOT))
    return found


@pytest.mark.parametrize("lock", LOCKS, ids=lambda path: path.name)
def test_a_lock_has_a_hash_for_every_version_and_names_no_host_or_path(lock: Path) -> None:
    text = lock.read_text()
    entries = re.split(r"^(?=[\w.-]+==)", text, flags=re.M)[1:]
    assert entries
    assert [entry.splitlines()[0] for entry in entries if "--hash=sha256:" not in entry] == []
    assert re.findall(r".*(?:://|--(?:extra-)?index-url|--find-links).*", text) == []


def test_locks_that_are_installed_together_agree_on_every_version() -> None:
    versions: dict[str, set[str]] = {}
    for lock in LOCKS:
        for name, version in locked(lock).items():
            versions.setdefault(name, set()).add(version)
    assert {name: seen for name, seen in versions.items() if len(seen) > 1} == {}


def test_the_runtime_lock_holds_every_declared_dependency() -> None:
    assert declared() - set(locked(ROOT / "requirements" / "runtime.txt")) == set(), "run `make lock`"


def test_the_source_imports_only_what_is_declared() -> None:
    owners = packages_distributions()
    undeclared = {
        module: path
        for module, path in imported().items()
        if not declared() & {normal(name) for name in owners.get(module, [])}
    }
    assert undeclared == {}, "declare these in pyproject.toml, then run `make lock`"
