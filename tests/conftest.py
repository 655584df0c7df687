"""What every test shares: order of the heavy ones, patience of Hypothesis, and skipped tests that fail CI.

No fixture of a part lives here: each folder has its own conftest.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import hypothesis
import pytest

# Their tests start servers and other programs, and measure themselves by timeouts: two at a time on two cores would
# trip each other up. They run in one worker, one after the other, while the other workers do the rest.
FOLDERS_OF_REAL_SERVERS = {"peers", "crash", "end_to_end", "browser"}
TIMEOUT_OF_REAL_SERVERS = 120

# A slow, shared machine is no defect of the code: no deadline for an example. The same examples each time in CI.
hypothesis.settings.register_profile("here", deadline=None)
hypothesis.settings.register_profile("ci", deadline=None, derandomize=True)
hypothesis.settings.load_profile("ci" if os.environ.get("CI") == "true" else "here")


@pytest.hookimpl(tryfirst=True)  # before xdist reads the groups
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        folder = Path(item.path).relative_to(config.rootpath / "tests").parts[0]
        if folder in FOLDERS_OF_REAL_SERVERS:
            item.add_marker("real_servers")
        if item.get_closest_marker("real_servers"):
            item.add_marker(pytest.mark.xdist_group("real_servers"))
            if not item.get_closest_marker("timeout"):
                item.add_marker(pytest.mark.timeout(TIMEOUT_OF_REAL_SERVERS))


class SkippedTestsFailCi:
    """Under CI=true a skipped test counts as failed: what did not run has not passed."""

    def __init__(self) -> None:
        self.skipped: list[str] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.skipped and not hasattr(report, "wasxfail"):
            reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longreprtext
            self.skipped.append(f"{report.nodeid}: {reason}")

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.skipped:
            self.skipped.append(f"{report.nodeid}: skipped as a whole")

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        if self.skipped and exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        if self.skipped:
            terminalreporter.section("skipped, which CI does not allow", red=True)
            for line in self.skipped:
                terminalreporter.line(line)


def pytest_configure(config: pytest.Config) -> None:
    is_worker = hasattr(config, "workerinput")  # reports come together in the process that started the workers
    if os.environ.get("CI") == "true" and not is_worker:
        config.pluginmanager.register(SkippedTestsFailCi(), "skipped-tests-fail-ci")
