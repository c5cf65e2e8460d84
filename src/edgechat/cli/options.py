"""The flags that several commands share. Their help is the setting's own description."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from edgechat import settings
from edgechat.errors import StorageError
from edgechat.observe import logs, sentry
from edgechat.settings import Settings


def _option(name: str, *flags: str) -> Any:
    return typer.Option(*flags, help=_sentence(Settings.model_fields[name].description or ""), show_default=False)


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."


Model = Annotated[str | None, _option("model", "--model", "-m")]
Projector = Annotated[Path | None, _option("projector", "--projector")]
Context = Annotated[int | None, _option("context", "--context")]
Threads = Annotated[int | None, _option("threads", "--threads")]
Memory = Annotated[str | None, _option("memory", "--memory")]
Engine = Annotated[str | None, _option("engine", "--engine")]
Home = Annotated[Path | None, _option("home", "--home")]
Host = Annotated[str | None, _option("host", "--host")]
Port = Annotated[int | None, _option("port", "--port")]
TlsCert = Annotated[Path | None, _option("tls_cert", "--tls-cert")]
TlsKey = Annotated[Path | None, _option("tls_key", "--tls-key")]
LogLevel = Annotated[str | None, _option("log_level", "--log-level")]
LogFormat = Annotated[str | None, _option("log_format", "--log-format")]
Config = Annotated[
    Path | None, typer.Option("--config", help="Settings file (TOML); otherwise config.toml in the home folder.")
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of a table.")]


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """What the disk refuses of the file at `path`, which a person named, becomes one of our errors."""
    try:
        yield
    except OSError as error:
        raise StorageError(f"{path} cannot be written: {error.strerror}.") from error


def load(config: Path | None = None, **flags: Any) -> Settings:
    """Settings from file, environment and `flags`; logging set up by them."""
    found = settings.load(flags, config)
    report = sentry.reporter(found.sentry_dsn) if found.sentry_dsn else None
    rotation = int(found.log_max_bytes), found.log_days
    logs.configure(found.log_level, found.log_format, found.log_file, *rotation, report)
    return found
