"""Errors to Sentry, for whoever asked for that (`sentry_dsn`): what the log says at level error, and nothing around it.

No variables, no breadcrumbs, no requests, no name of the machine. Needs the extra `sentry`, which nobody else has.
"""

import atexit
from importlib.util import find_spec

from structlog.typing import EventDict

from edgechat import __version__
from edgechat.errors import ConfigError
from edgechat.observe.logs import Report

FLUSH_S = 2.0  # at the end of the process


def reporter(dsn: str) -> Report:
    """What takes a line of the log to the project that `dsn` names. Raises ConfigError."""
    if find_spec("sentry_sdk") is None:
        raise ConfigError("the setting sentry_dsn needs sentry-sdk: pip install '.[sentry]' in edgechat's folder.")
    import sentry_sdk
    from sentry_sdk.utils import BadDsn

    try:
        client = sentry_sdk.Client(
            dsn,
            release=f"edgechat@{__version__}",
            server_name="",
            default_integrations=False,
            auto_enabling_integrations=False,
            auto_session_tracking=False,
            include_local_variables=False,
            max_breadcrumbs=0,
        )
    except BadDsn as error:
        raise ConfigError(f"setting sentry_dsn: {error}.") from None
    atexit.register(client.close, FLUSH_S)

    def report(line: EventDict) -> None:
        kind = str(line.get("error", "")).partition(":")[0]  # at level debug its message stands behind it
        about = {name: value for name, value in line.items() if name not in ("event", "level", "timestamp", "error")}
        client.capture_event(
            {
                "level": line["level"],
                "logger": "edgechat",
                "logentry": {"message": f"{line['event']} ({kind})" if kind else str(line["event"])},
                "contexts": {"log": about},
                "fingerprint": [str(line["event"]), kind],
            }
        )

    return report
