"""The manual's examples work: commands are run in order, page by page, and configurations are loaded.

A block ```console holds lines `$ gatepost ...`, run against the server of `scene`, each followed by what it prints,
where that is shown: `...` stands for anything, alone in a line for any lines; blanks count once. `fails` behind
`console`: the commands of the block are refused. Other commands (`$ systemctl ...`) are for the reader and not run.
Every block ```toml is loaded, with what an extract leaves out filled in.
"""

from __future__ import annotations

import ast
import io
import re
import shlex
import sys
from pathlib import Path

import msgspec
import pytest
from tests.docs import scene
from tests.docs.configurations import loaded
from tests.docs.manual import DOCS, PAGES, ROOT, Block, blocks

from gatepost.cli import main

PASSWORD = "correct horse battery staple"
PIPED = re.compile(r"(?:echo|printf) (.+?) \| (gatepost .*)")
README = ROOT / "README.md"


class Step(msgspec.Struct, frozen=True):
    """One command of a block, and the lines that are shown below it."""

    command: str
    shown: list[str]


def steps(block: Block) -> list[Step]:
    found: list[Step] = []
    for line in block.text.splitlines():
        if line.startswith("$ "):
            found.append(Step(line[2:], []))
        elif found:
            found[-1].shown.append(line)
    return found


def run(command: str, monkeypatch: pytest.MonkeyPatch) -> tuple[int, str]:
    """The exit code of a command, and what it printed on both streams."""
    stdin = ""
    if piped := PIPED.fullmatch(command):
        stdin, command = shlex.split(piped[1])[0] + "\n", piped[2]
    printed = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True)
    monkeypatch.setattr(sys, "stdin", io.StringIO(stdin))
    monkeypatch.setattr(sys, "stdout", printed)
    monkeypatch.setattr(sys, "stderr", printed)
    with pytest.raises(SystemExit) as ended:
        main(shlex.split(command)[1:])
    monkeypatch.undo()
    code = ended.value.code
    octets = printed.buffer.getvalue()
    return code if isinstance(code, int) else 1, octets.decode()


def pattern(shown: list[str]) -> re.Pattern[str]:
    """What is shown, as what must be printed."""
    lines = []
    for line in shown:
        if line.strip() == "...":
            lines.append(r"(?:.*\n)*?")
        else:
            lines.append(".*?".join(re.escape(part) for part in _squeezed(line).split("...")) + r"\n")
    return re.compile("".join(lines))


def _squeezed(line: str) -> str:
    return re.sub(r" +", " ", line).strip()


PAGES_WITH_COMMANDS = [page for page in [*PAGES, README] if any(blocks(page, "console"))]


@pytest.mark.parametrize("page", PAGES_WITH_COMMANDS, ids=lambda page: page.stem)
def test_the_commands_of_a_page_do_what_it_shows(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = scene.build(tmp_path)
    for block in blocks(page, "console"):
        for step in steps(block):
            if not re.match(r"((echo|printf) .+ \| )?gatepost\b", step.command):
                continue
            monkeypatch.setenv("GATEPOST_CONFIG", str(file))
            monkeypatch.chdir(tmp_path)
            monkeypatch.setattr("gatepost.cli.passwords.ask", lambda address, from_stdin: PASSWORD)
            code, printed = run(step.command, monkeypatch)
            where = f"{block.where}: $ {step.command}\n{printed}"
            assert (code != 0) == ("fails" in block.words), where
            assert "Traceback" not in printed, where
            shown = [line for line in step.shown if line.strip()]
            if shown:
                lines = "".join(f"{_squeezed(line)}\n" for line in printed.splitlines() if line.strip())
                assert pattern(shown).fullmatch(lines), where


EXTRACTS = [block for page in [*PAGES, README] for block in blocks(page, "toml")]


@pytest.mark.parametrize("block", EXTRACTS, ids=lambda block: block.where)
def test_a_configuration_that_is_shown_loads(block: Block, tmp_path: Path) -> None:
    loaded(block.text, tmp_path)


def test_there_are_examples_to_run() -> None:
    assert len(PAGES_WITH_COMMANDS) >= 5
    assert len(EXTRACTS) >= 20


# --- what operators read when something is wrong -------------------------------------------------------------------


def _texts_of_the_program() -> str:
    """Every text in the source; the parts of an f-string apart."""
    found = []
    for path in (ROOT / "src").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_bytes())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append(node.value)
    return "\n".join(found)


def test_errors_that_troubleshooting_quotes_are_those_of_the_program() -> None:
    """Whoever searches the manual for what is on the screen finds it."""
    texts = _texts_of_the_program()
    quoted = list(blocks(DOCS / "howto" / "troubleshooting.md", "text"))
    assert len(quoted) > 10
    for block in quoted:
        for part in re.split(r"\.\.\.|; ", block.text.replace("\n", " ").strip()):
            words = _squeezed(part)
            assert words in texts or not words, f"{block.where}: nothing says {words!r}"
