"""The measurement of SPF: each record gives the result that it is measured for, and a line with its figures."""

from __future__ import annotations

import re

import pytest
from bench import spf


def test_every_record_has_its_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert spf.main(["--evaluations", "2"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(spf.ROWS)
    for line, row in zip(lines, spf.ROWS, strict=True):
        assert re.fullmatch(rf" *\d+\.\d us  \d look-ups  {re.escape(row.what)}", line)
    assert "5 look-ups" in lines[3]
