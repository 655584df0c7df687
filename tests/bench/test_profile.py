"""`make profile`: a flame graph of a real server under load, or a plain word about what stands in its way."""

from __future__ import annotations

from pathlib import Path

import pytest
from bench import profile
from bench.jobs import JOBS

JOB = next(job for job in JOBS if job.name == "accept-4k-s10")


def test_without_the_profiler_it_says_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(profile, "PY_SPY", tmp_path / "py-spy")
    monkeypatch.setattr(profile, "WARM_UP_MESSAGES", 10)
    assert profile.main(["--job", JOB.name, "--seconds", "1", "--output", str(tmp_path / "graph.svg")]) == 1
    assert "`make profile` installs it" in capsys.readouterr().err
    assert not (tmp_path / "graph.svg").exists()


def test_the_profiler_looks_at_all_processes_of_a_server_under_load(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "py-spy"
    program.write_text(f"""#!/bin/sh
echo "$@" > {tmp_path}/said
ps -ww -o args= --pid "$4" > {tmp_path}/server
for last; do output=$last; done
echo "<svg/>" > "$output"
""")
    program.chmod(0o755)
    monkeypatch.setattr(profile, "PY_SPY", program)
    monkeypatch.setattr(profile, "WARM_UP_MESSAGES", 10)
    measured = profile.profile(JOB, 1, tmp_path / "graph.svg")
    assert measured.done > 0
    assert measured.failed == 0
    assert (tmp_path / "graph.svg").read_text() == "<svg/>\n"
    assert "record --subprocesses --pid" in (tmp_path / "said").read_text()
    assert "gatepost.toml serve" in (tmp_path / "server").read_text()


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("Error: Permission Denied: try running again", "Permission Denied: try running again; run it as root"),
        ("Error: no such process", "no such process"),
        ("", "py-spy ended with status 3"),
    ],
)
def test_a_profiler_that_may_not_look_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str, told: str
) -> None:
    program = tmp_path / "py-spy"
    program.write_text(f'#!/bin/sh\n[ -z "{said}" ] || echo "{said}" >&2\nexit 3\n')
    program.chmod(0o755)
    monkeypatch.setattr(profile, "PY_SPY", program)
    with pytest.raises(OSError, match=told):
        profile._look(1, 1, tmp_path / "graph.svg", False)
