"""uvicorn's configuration: how it runs the application, and within which bounds."""

import resource
from collections import Counter
from typing import Any

import uvicorn

from edgechat.api.doors.connection import MAX_HEAD, Bounds, Connection, Heads
from edgechat.api.doors.gate import Gate
from edgechat.api.routes import Table
from edgechat.api.watch.metrics import Metrics
from edgechat.settings import Settings

RESERVED_FILES = 64  # for models, the history, the engine's pipes
MAX_FILES = 16_384
AT_A_TIME = 32  # connections taken in in one turn of the loop, so that those before them are served between


def config(settings: Settings, app: Any) -> uvicorn.Config:
    """uvicorn's side of the settings. Forwarded addresses are read only where proxies are named."""
    return uvicorn.Config(
        app,
        http=connection_class(settings, app.state.gate, app.state.table, app.state.metrics),
        h11_max_incomplete_event_size=MAX_HEAD,
        backlog=min(AT_A_TIME, open_files() // 16),
        ws="none",
        log_config=None,  # what it says comes through observe/logs.py
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=bool(settings.trusted_proxies),
        forwarded_allow_ips=list(settings.trusted_proxies),
        ssl_certfile=settings.tls_cert,
        ssl_keyfile=settings.tls_key,
    )


def connection_class(settings: Settings, gate: Gate, table: Table, metrics: Metrics) -> type[Connection]:
    """`Connection` within the bounds of `settings` and of the files that this process may open."""
    most = max(open_files() - RESERVED_FILES, open_files() // 3)
    total = min(settings.connections, most * 3 // 4)
    trusted = frozenset(settings.trusted_proxies)
    within = Bounds(total, settings.connections_per_address, trusted, lingering=most - total)

    crowd, heads = Counter[str](), Heads(dict)
    members = {"bounds": within, "crowd": crowd, "heads": heads, "gate": gate, "table": table, "metrics": metrics}
    return type("Bounded", (Connection,), members)


def open_files() -> int:
    """How many files this process may have open, raised to what the system lets it have."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MAX_FILES if hard == resource.RLIM_INFINITY else min(hard, MAX_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        return wanted
    return MAX_FILES if soft == resource.RLIM_INFINITY else soft
