"""`edgechat autostart`: a service of the person who is logged in: systemd's user unit, or launchd's agent on a Mac."""

import os
import plistlib
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer

from edgechat import presence
from edgechat.cli import options
from edgechat.cli.follow import out
from edgechat.errors import ConfigError, ServiceError
from edgechat.process import atomic

NAME = "edgechat"
LABEL = "org.edgechat.server"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(autostart)


def autostart(
    off: Annotated[bool, typer.Option("--off", help="Stop it, and do not start it at log-in any more.")] = False,
    show: Annotated[bool, typer.Option("--print", help="Print the service file; change nothing.")] = False,
    home: options.Home = None,
    config: options.Config = None,
) -> None:
    """Start the server now and whenever you log in.

    Writes a user service, which needs no root: systemd's on Linux, launchd's on a Mac. Settings are those of the home
    folder's config.toml, or of --config.
    """
    settings = options.load(config, home=home)
    command = [str(Path(sys.executable).with_name("edgechat")), "serve", "--home", str(settings.home.absolute())]
    command += ["--config", str(config.absolute())] if config else []
    mac = sys.platform == "darwin"
    path, text = (_agent if mac else _unit)(command)
    if show:
        out.print(text, end="", markup=False)
        return
    if off and not path.exists():
        out.say("edgechat does not start by itself here: there is nothing to undo.")
        return
    if off:
        _manage(_off_mac(path) if mac else [["disable", "--now", f"{NAME}.service"]], mac)
        path.unlink(missing_ok=True)
        out.say("edgechat no longer starts by itself.")
        return
    with options.writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        atomic.replace(path, text.encode())
    now = [] if presence.find(settings.home) else ["--now"]  # a second server would find the home in use, and end
    _manage(_on_mac(path) if mac else [["daemon-reload"], ["enable", *now, f"{NAME}.service"]], mac)
    if now:
        out.say(f"edgechat runs now, and whenever you log in ({path}).")
    else:
        out.say(f"edgechat starts whenever you log in ({path}). The server that runs already goes on until then.")
    out.say("State: edgechat status   Undo: edgechat autostart --off")


def _unit(command: list[str]) -> tuple[Path, str]:
    """systemd's file. Words are quoted as systemd reads them; % and $ mean something there."""
    words = (
        '"' + word.replace("\\", r"\\").replace('"', r"\"").replace("%", "%%").replace("$", "$$") + '"'
        for word in command
    )
    folder = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    text = f"""# Written by `edgechat autostart`; `edgechat autostart --off` removes it.
[Unit]
Description=edgechat, private chat on this machine

[Service]
Type=exec
ExecStart={" ".join(words)}
KillMode=mixed
TimeoutStopSec=20
Restart=on-failure
RestartSec=5
RestartPreventExitStatus=2 3 4

[Install]
WantedBy=default.target
"""
    return folder / "systemd" / "user" / f"{NAME}.service", text


def _agent(command: list[str]) -> tuple[Path, str]:
    """launchd's file."""
    told = {
        "Label": LABEL,
        "ProgramArguments": command,
        "RunAtLoad": True,
        "KeepAlive": {"SuccessfulExit": False},
        "StandardErrorPath": str(Path.home() / "Library" / "Logs" / "edgechat.log"),
    }
    return Path.home() / "Library" / "LaunchAgents" / f"{LABEL}.plist", plistlib.dumps(told).decode()


def _on_mac(path: Path) -> list[list[str]]:
    return [["bootstrap", f"gui/{os.getuid()}", str(path)]]


def _off_mac(path: Path) -> list[list[str]]:
    return [["bootout", f"gui/{os.getuid()}", str(path)]]


def _manage(orders: list[list[str]], mac: bool) -> None:
    """Tell the service manager. Raises what it says."""
    manager = "launchctl" if mac else "systemctl"
    if shutil.which(manager) is None:
        raise ConfigError(f"there is no {manager} here: start `edgechat serve` by the means of this system.")
    for order in orders:
        told = subprocess.run(  # noqa: S603 - our own words
            [manager, *([] if mac else ["--user"]), *order], capture_output=True, text=True, check=False
        )
        if told.returncode:
            why = (told.stderr.strip().splitlines() or [f"status {told.returncode}"])[-1]
            if "connect to bus" in why:
                raise ServiceError(
                    f"{manager} {' '.join(order)}: {why}. Log in as yourself, not by su or sudo; WSL needs "
                    "systemd=true in /etc/wsl.conf; a container has none."
                )
            raise ServiceError(f"{manager} {' '.join(order)}: {why}")
