"""Prints why a test failed as soon as it did: `python -m pytest -p tests.failures_at_once`.

pytest tells it at the end, and a run that time ends has none.
"""

import pytest


class FailuresAtOnce:
    """terminal: pytest's own, which knows where to print."""

    def __init__(self, terminal):
        self.terminal = terminal

    def pytest_runtest_logreport(self, report):
        if report.failed:
            self.terminal.write_line(f"\n{report.nodeid}, {report.when}:\n{report.longreprtext}")
            self.terminal.flush()


@pytest.hookimpl(trylast=True)
def pytest_configure(config):
    """In the process that prints, which with workers is the one that has none of the tests."""
    terminal = config.pluginmanager.get_plugin("terminalreporter")
    if terminal and not hasattr(config, "workerinput"):
        config.pluginmanager.register(FailuresAtOnce(terminal))
