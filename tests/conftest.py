"""What every test shares: order of the heavy ones, patience of Hypothesis, and skipped tests that fail CI.

No fixture of a part lives here: each folder has its own conftest.
"""

from __future__ import annotations

import os
from typing import Any

import hypothesis
import pytest
from xdist.scheduler import LoadScopeScheduling

# Their tests start servers and other programs, and measure themselves by timeouts: two at a time on two cores would
# trip each other up. They run in one worker, one after the other, while the other workers do the rest.
FOLDERS_OF_REAL_SERVERS = {"peers", "crash", "end_to_end", "browser", "overload"}
TIMEOUT_OF_REAL_SERVERS = 120

# A slow, shared machine is no defect of the code: no deadline for an example. The same examples each time in CI.
hypothesis.settings.register_profile("here", deadline=None)
hypothesis.settings.register_profile("ci", deadline=None, derandomize=True)
hypothesis.settings.load_profile("ci" if os.environ.get("CI") == "true" else "here")


def _folder(nodeid: str) -> str:
    """The folder right below `tests` that a test lies in; its file, if it lies in none."""
    return nodeid.removeprefix("tests/").partition("/")[0]


@pytest.hookimpl(tryfirst=True)  # before -m selects; the shuffle is a wrapper and comes earlier still
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if _folder(item.nodeid) in FOLDERS_OF_REAL_SERVERS:
            item.add_marker("real_servers")
            if not item.get_closest_marker("timeout"):
                item.add_marker(pytest.mark.timeout(TIMEOUT_OF_REAL_SERVERS))
    # The longest chain starts first, or the other workers wait for it at the end.
    items.sort(key=lambda item: item.get_closest_marker("real_servers") is None)


@pytest.hookimpl(optionalhook=True)  # xdist's
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadScopeScheduling:
    return OneAfterTheOther(config, log)


class OneAfterTheOther(LoadScopeScheduling):
    """Hands out tests by file, but all tests of real servers to one worker.

    Not xdist's own loadgroup: with pytest 9.2 it no longer sees its groups (pytest-xdist 3.8.0).
    """

    def _split_scope(self, nodeid: str) -> str:
        return "real_servers" if _folder(nodeid) in FOLDERS_OF_REAL_SERVERS else nodeid.partition("::")[0]


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
