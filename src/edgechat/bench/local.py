"""A model on this machine as something to measure: `edgechat serve` over it, for as long as that takes.

The server has a home of its own, so that it stands beside others and leaves nothing behind:

    bench-…/models, tuned, catalog.toml    the real home's
            history, prefixes, log         its own, gone afterwards
"""

import asyncio
import shlex
import socket
import sys
import tempfile
from asyncio.subprocess import Process
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from edgechat.bench.client import Address
from edgechat.errors import ConfigError
from edgechat.types import Struct

COMMAND = (sys.executable, "-c", "from edgechat.cli import main; main()", "serve")
SHARED = ("models", "tuned", "catalog.toml")  # of the real home
OURS = ("--model", "-m", "--host", "--port", "--home", "--tls-cert", "--tls-key", "--check-config", "--help")
HOST = "127.0.0.1"
READY_S = 1800.0  # a model may have to be fetched first
END_S = 30.0  # that a server may take to stop
AGAIN_S = 0.2


class Model(Struct, frozen=True):
    """A model to serve, with further flags of `edgechat serve`. Raises ConfigError for one that bench has to set."""

    label: str
    reference: str
    flags: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if taken := [flag for flag in self.flags if flag.partition("=")[0] in OURS]:
            raise ConfigError(f"--serve {taken[0]}: bench sets that itself.")

    @property
    def command(self) -> str:
        """How a person would serve it."""
        return shlex.join(["edgechat", "serve", "--model", self.reference, *self.flags])


class _Server:
    """`edgechat serve` over a model. Its port stays the same when it is restarted."""

    def __init__(self, model: Model, home: Path) -> None:
        self._model = model
        self._home, self._log = home, home / "log"
        self._process: Process | None = None
        self.port = _free_port()

    async def start(self) -> None:
        """Start it; return before it is ready."""
        with self._log.open("wb") as log:
            self._process = await asyncio.create_subprocess_exec(
                *COMMAND,
                *("--model", self._model.reference, *self._model.flags),
                *("--host", HOST, "--port", str(self.port), "--home", str(self._home)),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C is ours: it ends the servers when the figures are shown
            )

    async def ready(self, tell: Callable[[str], None]) -> None:
        """Wait until the model answers. Raises ConfigError with the server's last words if it never will."""
        import httpx

        tell(f"starting {self._model.command}")
        async with httpx.AsyncClient(trust_env=False) as http, asyncio.timeout(READY_S):
            while True:
                assert self._process is not None
                if self._process.returncode is not None:
                    raise ConfigError(f"`{self._model.command}` ended: {self._last_words()}")
                try:
                    if (await http.get(f"http://{HOST}:{self.port}/readyz")).status_code == 200:
                        return
                except httpx.TransportError:
                    pass
                await asyncio.sleep(AGAIN_S)

    async def restart(self) -> None:
        """End it, and start it again; return before it is ready."""
        await self.stop()
        await self.start()

    async def stop(self) -> None:
        """End it."""
        if self._process is None or self._process.returncode is not None:
            return
        self._process.terminate()
        try:
            async with asyncio.timeout(END_S):
                await self._process.wait()
        except TimeoutError:
            self._process.kill()
            await self._process.wait()

    def _last_words(self) -> str:
        lines = self._log.read_text(errors="replace").split("\n")
        return next((line.removeprefix("edgechat: ") for line in reversed(lines) if line.strip()), "without a word")


@asynccontextmanager
async def served(model: Model, home: Path, tell: Callable[[str], None]) -> AsyncGenerator[Address, None]:
    """A server over `model`, ready to be measured. `home` has the models. Raises ConfigError."""
    (home / "models").mkdir(parents=True, exist_ok=True)  # what has to be fetched is fetched for good
    with tempfile.TemporaryDirectory(prefix="bench-", dir=home, ignore_cleanup_errors=True) as folder:
        for name in SHARED:
            if (home / name).exists():
                (Path(folder) / name).symlink_to(home / name)
        server = _Server(model, Path(folder))
        try:
            await server.start()
            await server.ready(tell)
            yield Address(model.label, HOST, server.port, restart=server.restart, command=model.command)
        finally:
            await server.stop()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])
