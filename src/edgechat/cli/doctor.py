"""`edgechat doctor`: what this machine has, what the engine was built for, and what to do about a difference."""

import asyncio
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Literal

import msgspec
import typer
from rich.table import Table
from rich.text import Text

from edgechat import machine, presence
from edgechat.bench import acuity
from edgechat.bench.local import Model, served
from edgechat.cli import options
from edgechat.cli.follow import WIDE, out, show_table
from edgechat.engine.fit import free_memory
from edgechat.engine.llama.memory import embeds
from edgechat.errors import ConfigError, EdgechatError, ModelFileInvalid, ServiceError
from edgechat.gguf.header import read_header
from edgechat.hub.catalog import Catalog
from edgechat.hub.store import Store
from edgechat.i18n import t
from edgechat.observe import bundle
from edgechat.process.disk import megabytes
from edgechat.process.spawn import plain_environment
from edgechat.settings import Settings
from edgechat.tune import bandwidth
from edgechat.tune.record import Records
from edgechat.types import UNTAUGHT, Struct

# What llama.cpp calls a feature it was built with -> what the kernel calls it.
FEATURES = {
    "AVX": "avx",
    "AVX2": "avx2",
    "FMA": "fma",
    "F16C": "f16c",
    "BMI2": "bmi2",
    "AVX_VNNI": "avx_vnni",
    "AVX512": "avx512f",
    "AVX512_VBMI": "avx512vbmi",
    "AVX512_VNNI": "avx512_vnni",
    "AVX512_BF16": "avx512_bf16",
    "AMX_INT8": "amx_int8",
    "DOTPROD": "asimddp",
    "MATMUL_INT8": "i8mm",
    "SVE": "sve",
}
REBUILD = "build the engine on this machine: make setup"
MARKS = {"ok": ("ok", "green"), "warn": ("look", "yellow"), "fail": ("bad", "red")}


class Check(Struct, frozen=True):
    """One thing looked at. `todo` says what to do where it is not ok."""

    name: str
    verdict: Literal["ok", "warn", "fail"]
    found: str
    todo: str | None = None


class Engine(Struct, frozen=True):
    """What the engine tells of itself. `missing`: kernels of ours that it has not, and the processor could run."""

    version: str | None = None
    kernels: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    system: str = ""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(doctor)


def doctor(
    home: options.Home = None,
    config: options.Config = None,
    bundle: Annotated[
        Path | None,
        typer.Option(
            "--bundle",
            help="Write a zip file for whoever helps: versions, machine, settings without secrets, models, figures, "
            "the log's end. No chat text is in it.",
        ),
    ] = None,
    see: Annotated[
        str | None,
        typer.Option("--see", metavar="MODEL", help="Show pictures to a model, and tell how much of them it sees."),
    ] = None,
    as_json: options.Json = False,
) -> None:
    """Check this machine and installation, and say what to do.

    Looks at processor, engine, cores, memory, disk and models.

    Ends with status 1 if something keeps edgechat from working.
    """
    settings = options.load(config, home=home)
    if see is not None:
        _look(see, settings, as_json)
        return
    engine, fault = probe_engine()
    checks = list(examine(settings, engine, fault))
    if as_json:
        about = {"version": engine.version, "kernels": engine.kernels}
        typer.echo(json.dumps({"engine": about, "checks": msgspec.to_builtins(checks)}, ensure_ascii=False))
    else:
        tell(checks)
    if bundle is not None:
        _write(bundle, settings, checks)
        typer.echo(t(f"{bundle} is written: look through it before you pass it on."), err=True)
    if any(check.verdict == "fail" for check in checks):
        raise typer.Exit(1)


def _look(model: str, settings: Settings, as_json: bool) -> None:
    """Status 1 where most answers are wrong."""
    found = asyncio.run(_seen(model, settings))
    right, of = map(sum, zip(*found.values(), strict=True))
    if as_json:
        typer.echo(json.dumps({kind: {"right": one, "of": of} for kind, (one, of) in found.items()}))
    else:
        table = Table("", t("right"), box=None, pad_edge=False)
        for kind, (one, asked) in found.items():
            table.add_row(t(kind), f"{one} / {asked}")
        show_table(table)
        out.say(f"{model} sees." if right >= acuity.PASS * of else f"{model} does not see: {right} of {of} are right.")
    if right < acuity.PASS * of:
        raise typer.Exit(1)


async def _seen(model: str, settings: Settings) -> dict[str, tuple[int, int]]:
    with out.status("") as line:
        tell = lambda text: line.update(t(text))  # noqa: E731
        flags = ("--projector", str(settings.projector)) if settings.projector else ()
        async with served(Model("A", model, flags), settings.home, tell) as address:
            return await acuity.ask(address, list(acuity.questions()), tell)


def tell(checks: list[Check]) -> None:
    """A row each; on a narrow terminal what to do stands below, on lines that can be copied."""
    wide = out.width >= WIDE
    table = Table("", "", t("found"), *([t("what to do")] if wide else []), box=None, pad_edge=False)
    for check in checks:
        mark, colour = MARKS[check.verdict]
        told = (check.name, check.found, *([check.todo or ""] if wide else []))
        table.add_row(Text(t(mark), colour), *(Text(t(text)) for text in told))
    show_table(table, narrow=0)
    for check in () if wide else checks:
        if check.todo:
            out.print(f"{t(check.name)}: {t(check.todo)}", markup=False)


def _write(path: Path, settings: Settings, checks: list[Check]) -> None:
    """The bundle, with what a running server adds. Raises ConfigError where `path` is taken."""
    parts = bundle.gathered(settings, Store(settings.home).kept)
    card = presence.find(settings.home)
    if card is not None:
        with suppress(ServiceError):  # it hangs or is on its way: then the rest must do
            parts |= bundle.unpacked(presence.ask(card, "/api/dash/diagnostics"))
    parts["doctor.json"] = msgspec.to_builtins(checks)
    packed = bundle.packed(parts)
    if path.exists():
        raise ConfigError(f"{path} is there already: take another name.")
    with options.writing(path), os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as sink:
        sink.write(packed)


def examine(settings: Settings, engine: Engine, fault: str | None) -> Iterator[Check]:
    """Every check, in the order a person would make them."""
    name, flags = machine.processor()
    yield Check("processor", "ok", name)
    yield from engine_checks(flags, engine, fault)
    yield cores()
    free = free_memory()
    verdict: Literal["ok", "warn"] = "ok" if free > 1 << 30 else "warn"
    todo = None if verdict == "ok" else "end something large, or serve a smaller model or --context"
    yield Check("memory", verdict, f"{megabytes(free)} free of {megabytes(machine.memory_limit())}", todo)
    yield memory_speed(machine.cores())
    yield disk(settings)
    yield models(settings)
    yield from templates(settings)
    yield from tuned(settings)


def probe_engine() -> tuple[Engine, str | None]:
    """The engine as a worker finds it, and why it cannot be loaded, asked in a child: a foreign build may kill it."""
    command = [sys.executable, "-P", "-m", "edgechat_engine"]
    child = subprocess.run(command, env=plain_environment(), capture_output=True, text=True, check=False)  # noqa: S603
    if child.returncode == 0:
        return msgspec.json.decode(child.stdout, type=Engine), None
    if child.returncode < 0:
        return Engine(), "it dies of an instruction that this processor lacks"
    return Engine(), "".join(child.stderr.strip().splitlines()[-1:])


def engine_checks(flags: frozenset[str], engine: Engine, fault: str | None) -> Iterator[Check]:
    """What the engine was built with, against what the processor has."""
    if fault is not None:
        yield Check("engine", "fail", f"cannot be loaded: {fault}", REBUILD)
        return
    yield Check("engine", "ok", f"llama.cpp {engine.version}")
    if engine.missing:
        names = ", ".join(engine.missing)
        yield Check("kernels", "warn", f"slower than it could be: this build is without {names}", REBUILD)
    else:
        yield Check("kernels", "ok", ", ".join(engine.kernels) or "none of ours is for this processor")
    built = {
        part.split("=")[0].split(":")[-1].strip() for part in engine.system.split("|") if part.strip().endswith("= 1")
    }
    missing = sorted(feature for feature, flag in FEATURES.items() if flag in flags and feature not in built)
    if missing:
        yield Check(
            "instructions", "warn", f"the processor has {', '.join(missing)}; the engine does not use it", REBUILD
        )
    else:
        used = ", ".join(feature for feature in FEATURES if feature in built)
        what = "the engine uses what the processor has"
        yield Check("instructions", "ok", f"{what}: {used}" if used else what)
    if "OPENMP" in built:
        why = "built with OpenMP: it collapses beside another engine or a busy neighbour"
        yield Check("threads", "warn", why, REBUILD)
    else:
        yield Check("threads", "ok", "built without OpenMP")


def cores() -> Check:
    """How many cores are granted, and by what."""
    quota = machine.cpu_quota()
    limit = "no cgroup limit" if quota is None else f"cgroup limit {quota:g}"
    return Check("cores", "ok", f"{machine.cores()} of {os.cpu_count()} to use ({limit})")


def memory_speed(threads: int) -> Check:
    """How fast weights can be read: the roof over writing."""
    speed = bandwidth.measured(threads)
    roof = f"a file of 1 GB cannot write more than {speed / 1e9:.0f} tokens per second"
    return Check("memory speed", "ok", f"{speed / 1e9:.1f} GB/s read by all cores: {roof}")


def disk(settings: Settings) -> Check:
    """Room for a model where models go."""
    folder = next(parent for parent in (settings.home, *settings.home.parents) if parent.exists())
    free = shutil.disk_usage(folder).free
    if not os.access(folder, os.W_OK):
        return Check(
            "disk", "fail", f"{settings.home} cannot be written", "set --home or EDGECHAT_HOME to a folder of yours"
        )
    if free < 1 << 30:
        return Check(
            "disk", "warn", f"{megabytes(free)} free in {settings.home}", "a model needs up to 1 GB: make room"
        )
    if kind := machine.network_filesystem(settings.home):
        why = f"{settings.home} lies on a network file system ({kind}): the conversations' database may fail there"
        return Check("disk", "warn", why, "set --home or EDGECHAT_HOME to a local folder")
    return Check("disk", "ok", f"{megabytes(free)} free in {settings.home}")


def tuned(settings: Settings) -> Iterator[Check]:
    """Each model's thread counts and recipe as measured here, or the command that measures them."""
    store, records = Store(settings.home), Records(settings.home)
    for stored in store.list():
        if stored.made_from is not None:
            continue
        found = records.find(stored.sha256)
        if found is None:
            why = "for another engine or machine" if records.is_outdated(stored.sha256) else "not yet"
            yield Check(f"tuned {stored.name}", "ok", why, f"edgechat tune {stored.name}")
            continue
        counts = found.counts
        threads = f"{counts.decode_threads} threads to write, {counts.prefill_threads} to read a prompt"
        threads += ", flash attention" if counts.flash else ""
        roof = "" if found.roof is None else f"; writing takes {found.roof:.0%} of the memory's speed"
        what = f"{found.chosen.recipe}, {found.gain:.1f}× as fast; {threads}{roof}"
        yield Check(f"tuned {stored.name}", "ok", what)


def templates(settings: Settings) -> Iterator[Check]:
    """Each model that answers and was given no chat template."""
    for stored in Store(settings.home).list():
        with suppress(ModelFileInvalid):  # another engine's, or a damaged one: `edgechat verify` tells
            header = read_header(stored.path)
            if header.template is None and not embeds(header):
                yield Check(f"template {stored.name}", "warn", UNTAUGHT, "serve a model that was made to chat")


def models(settings: Settings) -> Check:
    """Whether something can be served without a network."""
    default = Catalog.load(settings.home).default
    try:
        names = [stored.name for stored in Store(settings.home).list()]
    except EdgechatError as error:
        return Check("models", "fail", str(error))
    if not names:
        return Check("models", "warn", "none here yet", f"edgechat pull {default}")
    return Check("models", "ok", ", ".join(names))
