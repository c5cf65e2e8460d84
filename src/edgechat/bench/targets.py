"""What is to be measured: addresses of servers, and models that are served meanwhile. Pure."""

import re
import shlex
from collections.abc import Sequence

from edgechat.bench.client import Address, address
from edgechat.bench.local import Model
from edgechat.bench.run import MOST_ADDRESSES
from edgechat.errors import ConfigError

LABELS = "ABCDEFGH"
_ADDRESS = re.compile(r"https?://[^#]*|[\w.\[\]:-]+:\d+(/.*)?")  # everything else names a model


def targets_of(
    targets: Sequence[str], models: Sequence[str] | None, restarts: Sequence[str] | None, serves: Sequence[str] | None
) -> list[Address | Model]:
    """`targets` with labels, each with its `--model`, `--restart` and `--serve`. Raises ConfigError."""
    if len(targets) > MOST_ADDRESSES:
        raise ConfigError(f"at most {MOST_ADDRESSES} addresses are compared at once.")
    lists = (
        _each(flag, given, len(targets))
        for flag, given in (("--model", models), ("--restart", restarts), ("--serve", serves))
    )
    return [_target(*each) for each in zip(LABELS, targets, *lists, strict=False)]


def _target(label: str, target: str, model: str, restart: str, serve: str) -> Address | Model:
    if _ADDRESS.fullmatch(target):
        if serve:
            raise ConfigError(f"--serve is for models that bench serves; {target} is a server already.")
        return address(label, target, model or None, restart or None)
    if model or restart:
        raise ConfigError(f"--model and --restart are for servers; bench serves {target} itself.")
    return Model(label, target, _flags(serve))


def _each(flag: str, values: Sequence[str] | None, count: int) -> list[str]:
    """One value per target, from none, one, or one per target."""
    given = list(values or [""])
    if len(given) not in (1, count):
        raise ConfigError(f"{flag} is given once for all addresses, or once for each of the {count}.")
    return given * count if len(given) == 1 else given


def _flags(serve: str) -> tuple[str, ...]:
    try:
        return tuple(shlex.split(serve))
    except ValueError as error:
        raise ConfigError(f"--serve {serve!r}: {error}.") from error
