"""What every lane shares: with CI set, a test that did not run fails the run, and it is said which."""

from __future__ import annotations

import os
import signal

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile("lash", deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("lash")

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
    """A shell starts what runs in its background deaf to Ctrl-C, and what tests start would inherit that."""

IN_CI = os.environ.get("CI", "").lower() not in ("", "0", "false")


class NothingSkipped:
    """Collects skipped and expected-to-fail tests; under xdist their reports reach the controller, which decides."""

    def __init__(self) -> None:
        self.missing: list[str] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.skipped or hasattr(report, "wasxfail"):
            self.missing.append(report.nodeid)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.skipped:
            self.missing.append(report.nodeid)

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if self.missing and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if self.missing:
            terminalreporter.write_line(f"CI is set, and {len(self.missing)} tests did not run; that is a failure:")
            for name in sorted(set(self.missing)):
                terminalreporter.write_line(f"  {name}")


def pytest_configure(config: pytest.Config) -> None:
    if IN_CI and not hasattr(config, "workerinput"):
        config.pluginmanager.register(NothingSkipped(), "lash-nothing-skipped")
