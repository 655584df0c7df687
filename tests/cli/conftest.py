"""Commands, run in this process as a person runs them: words in; lines, errors and an exit code out."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from gatepost.cli import main

CONFIG = """\
hostname = "mx.example.org"
data = "data"
postmaster = "ada@example.org"
[[listen]]
address = "127.0.0.1:2525"
service = "mx"
[domain."example.org"]
[domain."example.net"]
relay_to = "smtp://192.0.2.5:25"
"""


@dataclass(frozen=True)
class Ran:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Command = Callable[..., Ran]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with a gatepost.toml."""
    (tmp_path / "gatepost.toml").write_text(CONFIG)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GATEPOST_CONFIG", raising=False)
    monkeypatch.setenv("COLUMNS", "100")
    return tmp_path


@pytest.fixture
def gatepost(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """Runs one command in the folder. stdin: what it reads."""

    def run(*words: str, stdin: str = "") -> Ran:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin.encode()), "utf-8"))
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main(words)
        output = capsys.readouterr()
        assert "Traceback" not in output.err
        code = ended.value.code
        assert isinstance(code, int)
        return Ran(code, output.out, output.err)

    return run
