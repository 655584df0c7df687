"""Configuration files for tests: a good one, and parts of it to leave out or add to."""

from __future__ import annotations

from pathlib import Path

from gatepost.config.model import Config
from gatepost.config.problem import ConfigError
from gatepost.config.read import load

TOP = 'hostname = "mx.example.org"\npostmaster = "ada@example.org"\n'
LISTEN = '[[listen]]\naddress = "127.0.0.1:2525"\nservice = "mx"\n'
DOMAIN = '[domain."example.org"]\n'
GOOD = TOP + LISTEN + DOMAIN
"""Six lines: the seventh is the first of whatever is added."""


def written(folder: Path, text: str) -> Path:
    file = folder / "gatepost.toml"
    file.write_text(text, encoding="utf-8")
    return file


def loaded(folder: Path, text: str) -> Config:
    return load(written(folder, text))


def mistakes(folder: Path, text: str) -> list[str]:
    """What `load` says about `text`: "LINE: KEY: FOUND; ALLOWED", without the name of the file and its folder."""
    try:
        load(written(folder, text))
    except ConfigError as error:
        name = f"{folder}/gatepost.toml:"
        lines = [str(problem) for problem in error.problems]
        assert all(line.startswith(name) for line in lines), lines
        return [line.removeprefix(name).lstrip().replace(f"{folder}/", "") for line in lines]
    return []
