"""What an error collector is told: that something happened, and where; never what anybody wrote."""

from collections.abc import Iterator

import pytest
import structlog

from edgechat.errors import ConfigError
from edgechat.observe import logs
from edgechat.observe.sentry import reporter
from tests.collector import Collector, collecting

pytest.importorskip("sentry_sdk", reason="sentry-sdk is not installed: pip install 'edgechat[sentry]'")

CANARY = "the heron stands in the reeds"
KEY = "ec-canary0123456789abcdef"


@pytest.fixture
def collector() -> Iterator[Collector]:
    with collecting() as collector:
        yield collector
    logs.configure("info", "human")


@pytest.mark.parametrize("level", ["info", "debug"])
def test_errors_are_reported_without_words(collector: Collector, level: str) -> None:
    report = reporter(f"http://public@{collector.address}/7")
    logs.configure(level, "human", report=report)
    log = structlog.get_logger("test")
    log.warning("not grave")
    try:
        raise ValueError(CANARY)
    except ValueError:
        log.exception("a bug", why=f"Bearer {KEY}", model="qwen")
    (body,) = collector.wait()
    assert collector.bodies[0][0] == "/api/7/envelope/"
    for told in (b"a bug (ValueError)", b"test_sentry.py:", b"qwen", b"edgechat@"):
        assert told in body
    for secret in (CANARY, KEY, "not grave", "vars", "breadcrumbs"):
        assert secret.encode() not in body


def test_an_address_that_is_none_is_refused() -> None:
    with pytest.raises(ConfigError, match="sentry_dsn"):
        reporter("nonsense")
