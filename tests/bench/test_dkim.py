"""The measurement of DKIM: each kind of signature passes and has its line, and mail without one has its own."""

from __future__ import annotations

import re

import pytest
from bench import dkim


def test_every_kind_has_its_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert dkim.main(["--verifications", "2", "--octets", "500"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(dkim.KINDS) + 1
    for line, kind in zip(lines, dkim.KINDS, strict=False):
        assert re.fullmatch(rf" *\d+\.\d us, of which the key +\d+\.\d  {re.escape(kind.what)}", line)
    assert re.fullmatch(r" *\d+\.\d us  a message without a signature: .*", lines[-1])
