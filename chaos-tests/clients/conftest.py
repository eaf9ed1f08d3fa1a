"""What the tests share: skips that nobody can overlook."""

import os
import resource

import pytest

from cluster import Cluster


def pytest_configure(config):
    # Nodes inherit it; ten thousand connections need it on both ends.
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def pytest_runtest_logreport(report):
    Cluster.a_test_has_failed |= report.failed


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(terminalreporter):
    for report in terminalreporter.stats.get("skipped", []):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        terminalreporter.write_line(f"!!!!!!!!!! SKIPPED: {report.nodeid}: {reason}", red=True, bold=True)
        if path := os.environ.get("SKIPPED_LOG"):
            with open(path, "a") as log:
                log.write(f"{report.nodeid}: {reason}\n")
