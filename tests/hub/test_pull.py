"""From a name to a file whose every byte is the right one, over the real SDK and a hub that misbehaves."""

import os
import stat
import time
from pathlib import Path

import msgspec
import pytest

from edgechat.errors import (
    ConfigError,
    HashMismatch,
    HubError,
    HubUnreachable,
    ModelDamaged,
    Offline,
    StorageError,
    UnknownName,
)
from edgechat.hub import probe, transfer
from edgechat.hub.pull import Fetching, Published, Resolving, Verifying, pull
from edgechat.hub.store import Store
from edgechat.settings import Settings
from tests.hub.conftest import TINY, TINY_FILE, Bench, catalog, children, entry, made_up, sha256, tree

# ── it works ──


async def test_a_pull_tells_its_steps_and_publishes_read_only_bytes(bench: Bench) -> None:
    events = await bench.events(TINY)
    kinds = [type(event) for event in events]
    assert [kind for i, kind in enumerate(kinds) if kind not in kinds[:i]] == [
        Resolving,
        Fetching,
        Verifying,
        Published,
    ]
    last = events[-1]
    assert isinstance(last, Published)
    assert last.model.path.read_bytes() == made_up()
    assert last.model.sha256 == sha256(made_up())
    assert (last.model.name, last.model.source) == ("tiny-q4_k_m", f"{TINY}:{TINY_FILE}")
    assert stat.S_IMODE(last.model.path.stat().st_mode) == 0o444
    assert bench.store.list() == [last.model]
    assert not (bench.store.staging / "files").exists()
    assert not [path for path in tree(bench.store.staging) if not path.endswith(".lock")]


async def test_what_is_published_asks_nobody(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    first = await bench.pull(TINY)
    asked = len(bench.hub.asked)
    forbid(monkeypatch)
    for reference in (TINY, first.source, first.name):
        assert await bench.events(reference) == [Published(first)]
    assert len(bench.hub.asked) == asked


async def test_the_other_reference_to_the_same_file_fetches_no_byte(bench: Bench) -> None:
    first = await bench.pull(f"{TINY}:{TINY_FILE}")
    assert await bench.pull(TINY) == first
    assert len(bench.hub.files_asked) == 1


async def test_no_token_no_session_and_no_credentials_of_the_user(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    cookies = Path(os.environ["HOME"]) / ".modelscope" / "credentials" / "cookies"
    cookies.parent.mkdir(parents=True)
    cookies.write_bytes(b"cos\nsystem\n(S'touch pwned'\ntR.")
    await bench.pull(TINY)
    assert [path.name for path in cookies.parent.iterdir()] == ["cookies"]
    assert not any({"authorization", "cookie"} & asked.headers.keys() for asked in bench.hub.asked)
    routes = {asked.path for asked in bench.hub.asked}
    assert routes == {
        "/api/v1/models/Qwen/Tiny-GGUF/repo/files",
        "/api/v1/models/Qwen/Tiny-GGUF/repo",
        f"/lfs/Qwen/Tiny-GGUF/{TINY_FILE}",
    }


# ── a catalog's pins ──


async def test_a_catalog_name_is_the_models_name_and_an_upper_case_hash_is_the_same_hash(bench: Bench) -> None:
    bench.hub.faults.upper_case = True
    bench.catalog = catalog(entry("tiny", TINY, TINY_FILE, made_up()))
    stored = await bench.pull("tiny")
    assert (stored.name, stored.licence) == ("tiny", "apache-2.0")
    assert await bench.pull(f"{TINY}:{TINY_FILE}") == stored


async def test_a_listing_that_contradicts_the_pin_is_not_fetched(bench: Bench) -> None:
    bench.catalog = catalog(entry("tiny", TINY, TINY_FILE, made_up(9)))
    with pytest.raises(HashMismatch, match=r"not the file that edgechat knows.*Nothing was fetched"):
        await bench.pull("tiny")
    assert not bench.hub.files_asked
    assert bench.nothing_published


async def test_a_pin_stands_in_for_a_hash_that_the_hub_does_not_offer(bench: Bench) -> None:
    bench.hub.faults.no_hash = True
    bench.catalog = catalog(entry("tiny", TINY, TINY_FILE, made_up()))
    stored = await bench.pull("tiny")
    assert (stored.sha256, stored.first_use) == (sha256(made_up()), False)


async def test_the_second_source_serves_where_the_first_fails(bench: Bench) -> None:
    one = entry("tiny", "modelscope:Qwen/Gone", TINY_FILE, made_up())
    bench.catalog = catalog(msgspec.structs.replace(one, sources=(*one.sources, TINY)))
    assert (await bench.pull("tiny")).source == f"{TINY}:{TINY_FILE}"


async def test_a_strangers_file_does_not_get_a_catalog_name(bench: Bench) -> None:
    bench.put("evil/Copy/tiny.gguf", made_up(3))
    bench.catalog = catalog(entry("tiny", TINY, TINY_FILE, made_up()))
    stranger = await bench.pull("modelscope:evil/Copy")
    assert stranger.name == f"tiny-{sha256(made_up(3))[:8]}"
    assert bench.store.find("tiny") is None


# ── paths and names ──


async def test_a_local_file_is_served_where_it_lies(bench: Bench, tmp_path: Path) -> None:
    path = tmp_path / "My Model.gguf"
    path.write_bytes(made_up(4))
    stored = await bench.pull(str(path))
    assert (stored.name, stored.path, stored.sha256) == ("my-model", path, sha256(made_up(4)))
    assert bench.nothing_published


async def test_a_copy_is_taken_in_and_outlives_its_original(bench: Bench, tmp_path: Path) -> None:
    path = tmp_path / "own.gguf"
    path.write_bytes(made_up(4))
    events = [event async for event in pull(str(path), bench.settings, bench.store, bench.catalog, copy=True)]
    last = events[-1]
    assert isinstance(last, Published)
    path.unlink()
    assert await bench.pull("own") == last.model
    assert last.model.path.read_bytes() == made_up(4)
    assert stat.S_IMODE(last.model.path.stat().st_mode) == 0o444
    zero(last.model.path)
    with pytest.raises(ModelDamaged, match="was copied from"):
        await bench.pull("own")


async def test_bytes_that_the_catalog_knows_have_its_name_wherever_they_lie(bench: Bench, tmp_path: Path) -> None:
    path = tmp_path / "copied.gguf"
    path.write_bytes(made_up())
    bench.catalog = catalog(entry("tiny", TINY, TINY_FILE, made_up()))
    assert (await bench.pull(str(path))).name == "tiny"


@pytest.mark.parametrize("text", ["nowhere.gguf", "./no/such"])
async def test_a_path_to_nothing_is_a_usage_error(bench: Bench, text: str) -> None:
    with pytest.raises(ConfigError, match="no model file at"):
        await bench.pull(text)


async def test_an_unknown_name_lists_what_there_is(bench: Bench) -> None:
    bench.catalog = catalog(entry("tiny", TINY, TINY_FILE, made_up()))
    with pytest.raises(UnknownName, match="did you mean 'tiny'"):
        await bench.pull("tinny")


# ── no network ──


def forbid(monkeypatch: pytest.MonkeyPatch) -> None:
    """Any connection and any child is a failure."""

    def opened(*args: object, **kwargs: object) -> None:
        raise AssertionError("something was opened")

    monkeypatch.setattr(probe, "reachable", opened)
    monkeypatch.setattr(transfer, "Errand", opened)


async def test_offline_opens_nothing(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    forbid(monkeypatch)
    bench.settings = Settings(home=bench.settings.home, offline=True)
    with pytest.raises(Offline, match="EDGECHAT_OFFLINE"):
        await bench.pull(TINY)
    assert not bench.hub.asked
    assert not bench.store.models.exists()


async def test_a_hub_that_is_down_is_named_within_seconds(bench: Bench) -> None:
    bench.settings = Settings(home=bench.settings.home, modelscope_endpoint="http://127.0.0.1:9")
    started = time.monotonic()
    with pytest.raises(HubUnreachable, match=r"127\.0\.0\.1:9 cannot be reached: it refuses the connection"):
        await bench.pull(TINY)
    assert time.monotonic() - started < 5
    assert not children()


# ── the disk ──


async def test_a_place_that_cannot_be_written_is_a_storage_error(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    bench.store = Store(tmp_path / "file")
    with pytest.raises(StorageError, match="cannot be written: Not a directory"):
        await bench.pull(TINY)
    assert not bench.hub.asked


async def test_a_damaged_model_is_mended_by_a_pull_and_only_what_is_damaged_is_fetched(bench: Bench) -> None:
    first = await bench.pull(TINY)
    zero(first.path)
    asked = len(bench.hub.files_asked)
    events = await bench.events(first.name)
    assert events[0] == Verifying()
    assert events[-1] == Published(msgspec.structs.replace(first, pulled=bench.store.list()[0].pulled))
    assert len(bench.hub.files_asked) == asked + 1
    assert first.path.read_bytes() == made_up()
    assert bench.store.examine(first.name) == ()


async def test_a_damaged_model_is_not_there_for_whoever_loads_models(bench: Bench) -> None:
    first = await bench.pull(TINY)
    zero(first.path)
    with pytest.raises(ModelDamaged, match=r"tiny-q4_k_m is damaged: .* has changed: its SHA-256 is .* pull tiny-q4"):
        bench.store.ensure(first)
    assert bench.store.find(first.name) is None  # what was read once is remembered
    bench.hub.faults.list_status = 500
    with pytest.raises(HubError, match=r"tiny-q4_k_m is damaged \(.* has changed.*, and cannot be fetched again: "):
        await bench.pull(first.name)
    bench.settings = Settings(home=bench.settings.home, offline=True)
    with pytest.raises(Offline, match=r"tiny-q4_k_m is damaged \(.* has changed.*EDGECHAT_OFFLINE forbids"):
        await bench.pull(first.name)


async def test_a_model_whose_bytes_are_gone_is_fetched_again_by_its_name(bench: Bench) -> None:
    first = await bench.pull(TINY)
    first.path.unlink()
    assert [kept.wrong for kept in bench.store.kept()] == [f"{TINY_FILE} is missing"]
    assert (await bench.pull(first.name)).sha256 == first.sha256


def zero(path: Path) -> None:
    """What a broken disk does: the same size, other bytes."""
    path.chmod(0o644)
    with path.open("r+b") as file:
        file.seek(1 << 20)
        file.write(bytes(1 << 16))


# ── a source without hashes ──


async def test_what_came_first_without_a_hash_is_told_and_is_the_pin_from_then_on(bench: Bench) -> None:
    bench.hub.faults.no_hash = True
    first = await bench.pull(TINY)
    assert first.first_use
    first.path.unlink()
    assert (await bench.pull(TINY)).first_use
    first.path.unlink()
    bench.put(f"Qwen/Tiny-GGUF/{TINY_FILE}", made_up(6))
    with pytest.raises(HashMismatch):
        await bench.pull(TINY)
    assert bench.store.find(first.name) is None


async def test_bytes_without_a_hash_are_never_joined(bench: Bench) -> None:
    bench.hub.faults.no_hash = True
    bench.hub.faults.file_status = 500
    leftover = bench.store.stage(TINY).files / f"{TINY_FILE}.incomplete"
    with pytest.raises(HubUnreachable):
        await bench.pull(TINY)
    leftover.parent.mkdir(parents=True, exist_ok=True)
    leftover.write_bytes(b"GGUF of another version")
    bench.hub.faults.file_status = None
    assert (await bench.pull(TINY)).sha256 == sha256(made_up())
    assert [asked.range for asked in bench.hub.files_asked] == [None]


# ── mirrors ──


async def test_a_mirror_serves_where_the_hub_cannot_be_reached_and_sees_no_token(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MODELSCOPE_API_TOKEN", "secret-token")
    away = "http://127.0.0.1:9"
    bench.settings = Settings(
        home=bench.settings.home, modelscope_endpoint=away, modelscope_mirrors=(away, bench.hub.url)
    )
    assert (await bench.pull(TINY)).sha256 == sha256(made_up())
    assert not any("secret-token" in str(asked.headers) for asked in bench.hub.asked)


async def test_the_hub_itself_sees_the_token(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODELSCOPE_API_TOKEN", "secret-token")
    await bench.pull(TINY)
    assert any("secret-token" in str(asked.headers) for asked in bench.hub.asked)
