"""Skips are counted by their reason. Where CI is set, one that is not expected makes the run red.

    10 skipped: PyTorch is not installed: pip install torch==2.13.0, …
     1 skipped, which nobody expected: chromium is not installed: …

Expected is what a new machine lacks that has Python, a compiler and Debian's Chromium, and nothing else.
"""

import os
from collections import Counter
from collections.abc import Sequence

import pytest

# How a reason begins, and why it is no fault.
EXPECTED = {
    # Programs that are tried where they are.
    "firefox is not installed": "Chromium is what CI has",
    "nginx is not installed": "a proxy, tried where there is one",
    "caddy is not installed": "a proxy, tried where there is one",
    "kubectl is not installed": "the manifests are held to their schemas without it",
    "systemd-analyze is not installed": "containers have no systemd",
    "redis-server is not installed": "an extra's server",
    "strace": "containers often may not trace",
    # Python packages that no extra for developers brings.
    "PyTorch is not installed": "which build is right, only the machine's owner knows",
    "matplotlib is not installed": "an extra: pictures of benchmarks",
    # What only some machines can do.
    "the library clears by itself here": "Linux only",
    "what kills a process at a write is compiled": "Linux only",
    "this system does not tell": "Linux only",
    "no page may be locked here": "a container's limit",
    "a small disk": "mounting needs root, and the right to it",
    "mounting a small disk needs root": "as it says",
    "root may read everything": "CI is root",
    # What is not brought.
    "the tiny model that sees is not beside the project": "it is no part of the project",
    "the script that fetches the 0.5B Qwen test model is not beside the project": "it is no part of the project",
}
TORTURE = "make torture"  # named in the reasons of what only that runs


def is_expected(reason: str) -> bool:
    return TORTURE in reason or "EDGECHAT_TORTURE=1" in reason or reason.startswith(tuple(EXPECTED))


def counted(reports: Sequence[pytest.TestReport | pytest.CollectReport]) -> Counter[str]:
    """How many were skipped, by reason."""
    return Counter(
        str(report.longrepr[2]).removeprefix("Skipped: ") for report in reports if type(report.longrepr) is tuple
    )


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    found = counted(terminalreporter.stats.get("skipped", []))
    if not found:
        return
    terminalreporter.section("skips, by reason")
    for reason, count in sorted(found.items()):
        unexpected = "" if is_expected(reason) else ", which nobody expected"
        terminalreporter.write_line(f"{count:6} skipped{unexpected}: {reason}", red=bool(unexpected))


def pytest_sessionfinish(session: pytest.Session) -> None:
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if reporter is None or not os.environ.get("CI") or session.exitstatus != pytest.ExitCode.OK:
        return
    if not all(map(is_expected, counted(reporter.stats.get("skipped", [])))):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
