"""The rules of the test run itself, tried on a small project of their own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent


def run(project: Path, files: dict[str, str], *arguments: str, ci: bool) -> subprocess.CompletedProcess[str]:
    """Runs pytest with our configuration and conftest over `files`, which are named from `tests` on."""
    for name, text in files.items():
        path = project / "tests" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (project / "pyproject.toml").write_text((HERE.parent / "pyproject.toml").read_text())
    (project / "tests" / "conftest.py").write_text((HERE / "conftest.py").read_text())
    environ = {
        name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "COV_")) and name != "CI"
    }
    command = [sys.executable, "-m", "pytest", *arguments]
    return subprocess.run(
        command, cwd=project, env=environ | ({"CI": "true"} if ci else {}), capture_output=True, text=True, check=False
    )


SKIPPED = {
    "test_by_mark.py": "import pytest\n@pytest.mark.skip(reason='no swaks')\ndef test_a(): ...\ndef test_b(): ...\n",
    "test_within.py": "import pytest\ndef test_a(): pytest.skip('no swaks')\n",
    "test_whole.py": "import pytest\npytest.skip('no swaks', allow_module_level=True)\n",
}


@pytest.mark.parametrize("workers", ["0", "2"])
def test_a_skipped_test_fails_ci_and_nobody_else(tmp_path: Path, workers: str) -> None:
    elsewhere = run(tmp_path, SKIPPED, "-n", workers, ci=False)
    assert elsewhere.returncode == 0
    assert "1 passed, 3 skipped" in elsewhere.stdout
    in_ci = run(tmp_path, SKIPPED, "-n", workers, ci=True)
    assert in_ci.returncode == 1
    named = in_ci.stdout.partition("skipped, which CI does not allow")[2].partition("short test summary")[0]
    assert [name for name in SKIPPED if name not in named] == []


def test_an_expected_failure_does_not_fail_ci(tmp_path: Path) -> None:
    text = "import pytest\n@pytest.mark.xfail(reason='known')\ndef test_a(): assert False\n"
    assert run(tmp_path, {"test_known.py": text}, ci=True).returncode == 0


def test_real_servers_share_one_worker_and_start_first(tmp_path: Path) -> None:
    two = "def test_a(): ...\ndef test_b(): ...\n"
    files = {
        f"{name}.py": two for name in ("peers/test_p", "crash/test_c", "end_to_end/test_e", "mail/test_m", "test_r")
    }
    output = run(tmp_path, files, "-n", "2", "--no-loadscope-reorder", "-v", ci=False).stdout
    ran = re.findall(r"^\[(gw\d)\].*PASSED tests/(\w+)/?", output, re.M)
    real = [worker for worker, folder in ran if folder in {"peers", "crash", "end_to_end"}]
    assert (len(ran), len(real)) == (10, 6)
    assert len(set(real)) == 1
    selected = run(tmp_path, files, "-m", "real_servers", "-q", ci=False).stdout
    assert "6 passed, 4 deselected" in selected
