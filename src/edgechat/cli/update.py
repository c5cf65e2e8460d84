"""`edgechat update` and `edgechat rollback`: newer versions, and the way back."""

import asyncio
from typing import Annotated

import typer
from rich.status import Status

from edgechat import machine
from edgechat.cli import options
from edgechat.cli.follow import out
from edgechat.cli.keep import Name, Names
from edgechat.cli.models import watch
from edgechat.errors import ConfigError, EdgechatError, EngineFailed, HubUnreachable
from edgechat.hub import versions
from edgechat.hub.store import Store, Stored
from edgechat.hub.update import Beside, UpToDate
from edgechat.hub.update import update as look
from edgechat.i18n import t
from edgechat.letters import Load
from edgechat.models import probe
from edgechat.models.supervisor import Worker
from edgechat.settings import Settings

PROBE_CONTEXT = 512  # tokens: enough for a greeting, and little memory beside a server that runs
LOAD_S = 300.0  # from a slow card


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(update)
    app.command()(rollback)


def update(
    names: Names = None,
    pin: Annotated[
        bool | None, typer.Option("--pin/--unpin", help="Pin models to their version, or unpin them.")
    ] = None,
    home: options.Home = None,
    config: options.Config = None,
) -> None:
    """Update models; each must answer a test prompt first.

    The previous version is kept for `rollback`.

    Ends with status 1 if an update could not be checked or did not answer; that model stays as it was.
    """
    settings = options.load(config, home=home)
    store = Store(settings.home)
    if pin is not None:
        _pin(store, names, pin)
        return
    failed = False
    silent: set[str] = set()  # hubs that did not answer: nobody waits for one twice
    for name in names or store.names():
        hub = store.current(name).source.partition(":")[0]
        try:
            if hub in silent:
                raise HubUnreachable("its hub did not answer a moment ago.")
            asyncio.run(_update(name, settings, store))
        except ConfigError:
            raise
        except EdgechatError as error:
            if isinstance(error, HubUnreachable):
                silent.add(hub)
            failed = True
            out.say(f"{name} stays as it is: {error}")
    if failed:
        raise typer.Exit(1)


def _pin(store: Store, names: list[str] | None, pin: bool) -> None:
    if not names:
        raise ConfigError("--pin and --unpin want the names of models.")
    for name in names:
        versions.pin(store, name, pin)
        out.say(f"{name} stays at its version." if pin else f"{name} takes updates again.")


async def _update(name: str, settings: Settings, store: Store) -> None:
    last = await watch(look(name, settings, store))
    if isinstance(last, UpToDate):
        out.say(f"{name}: nothing to do, {last.why}.")
        return
    assert isinstance(last, Beside)
    try:
        with Status(t(f"asking the new {name} for a word"), console=out):
            await answers(last.candidate, settings, store)
    except EdgechatError as error:
        versions.reject(store, name)
        raise EngineFailed(f"its new version does not answer ({error})") from None
    stored = versions.promote(store, name)
    before, now = last.model.sha256[:12], stored.sha256[:12]
    out.say(f"{name} is updated: SHA-256 {before}… is now {now}…. To go back: edgechat rollback {name}")


async def answers(model: Stored, settings: Settings, store: Store) -> None:
    """Load `model` in a worker of its own and have it say something. Raises EdgechatError if it does not."""
    store.ensure(model)
    threads = settings.threads or machine.cores()
    with store.hold(model):
        worker = Worker(
            Load(
                engine=settings.engine,
                path=str(model.path),
                context=PROBE_CONTEXT,
                threads=threads,
                memory=int(settings.memory),
            )
        )
        try:
            async with asyncio.timeout(LOAD_S):
                await worker.start()
            await probe.answers(worker)
        except TimeoutError:
            raise EngineFailed(f"it is not loaded within {LOAD_S:.0f} s.") from None
        finally:
            await worker.stop()


def rollback(name: Name, home: options.Home = None, config: options.Config = None) -> None:
    """Go back to the version before the last update. Run again, it returns to the newer one."""
    settings = options.load(config, home=home)
    stored = versions.rollback(Store(settings.home), name)
    out.say(f"{name} is SHA-256 {stored.sha256[:12]}… again, downloaded {stored.pulled}.")
