"""A hub on loopback, a made-up model on it, a store to pull it into."""

import hashlib
import os
import random
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest

from edgechat.hub.catalog import Catalog, Entry
from edgechat.hub.publish import publish
from edgechat.hub.pull import AnyPullEvent, Published, pull
from edgechat.hub.source import File, Manifest
from edgechat.hub.stage import Stage
from edgechat.hub.store import Store, Stored
from edgechat.settings import Settings
from tests.hub.fakehub import FakeHub

TINY = "modelscope:Qwen/Tiny-GGUF"
TINY_FILE = "tiny-q4_k_m.gguf"


def made_up(seed: int = 1, size: int = 2 << 20) -> bytes:
    """Bytes that begin like a GGUF and are always the same."""
    return b"GGUF" + random.Random(seed).randbytes(size - 4)


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


CONTENT = made_up(7, 100_000)
NEW = made_up(8, 90_000)


def manifest(name: str = "tiny", content: bytes = CONTENT, path: str = "q/tiny.gguf") -> Manifest:
    return Manifest(name, f"modelscope:Qwen/Tiny:{path}", "master", (File(path, len(content), sha256(content)),), "mit")


def staged(store: Store, made: Manifest, content: bytes = CONTENT) -> Stage:
    """A stage that holds `content` as the manifest's file."""
    stage = store.stage(made.source)
    stage.begin(made)
    path = stage.files / made.files[0].path
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return stage


def published(store: Store, made: Manifest | None = None, content: bytes = CONTENT) -> Stored:
    made = made or manifest()
    return publish(store, staged(store, made, content), made, "asked")


def entry(name: str, source: str, file: str, content: bytes) -> Entry:
    """A catalog entry with the pins of `content`."""
    return Entry(name, (source,), file, len(content), sha256(content), licence="apache-2.0", commercial=True)


def catalog(*entries: Entry) -> Catalog:
    return Catalog(entries[0].name, entries[-1].name, entries) if entries else Catalog("", "", ())


def wheel(folder: Path, members: dict[str, bytes], name: str = "tiny_model", version: str = "1.0") -> Path:
    """A package as pip takes it, with `members` inside."""
    folder.mkdir(parents=True, exist_ok=True)
    info = f"{name}-{version}.dist-info"
    members = members | {
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n".encode(),
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/RECORD": b"",
    }
    path = folder / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for member, content in members.items():
            archive.writestr(member, content)
    return path


def tree(folder: Path) -> dict[str, int]:
    """Every file below `folder` with its size."""
    return {str(path.relative_to(folder)): path.stat().st_size for path in folder.rglob("*") if path.is_file()}


def children() -> list[psutil.Process]:
    """The download processes that live."""
    found = []
    for child in psutil.Process().children(recursive=True):
        try:
            if "edgechat.hub.child" in child.cmdline():
                found.append(child)
        except psutil.Error:
            continue
    return found


@dataclass
class Bench:
    """A hub, a store, and pulls between them."""

    hub: FakeHub
    settings: Settings
    store: Store
    catalog: Catalog = field(default_factory=catalog)

    async def events(self, reference: str) -> list[AnyPullEvent]:
        """All events of one pull."""
        return [event async for event in pull(reference, self.settings, self.store, self.catalog)]

    async def pull(self, reference: str) -> Stored:
        """The model that one pull publishes."""
        last = (await self.events(reference))[-1]
        assert isinstance(last, Published)
        return last.model

    def put(self, path: str, content: bytes) -> None:
        """Give the hub a file, as owner/name/file."""
        target = self.hub.root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)

    @property
    def nothing_published(self) -> bool:
        return not list(self.store.models.glob("*.json")) and not list(self.store.blobs.folder.glob("*"))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "home")


@pytest.fixture(autouse=True)
def _direct(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No proxy stands between a test and its hub; the SDK's and pip's own folders are the test's."""
    for name in list(os.environ):
        if name.lower() in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path / "user"))
    monkeypatch.setenv("MODELSCOPE_DOWNLOAD_MAX_RETRIES", "1")  # the hub that stays broken is given up sooner


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    root = tmp_path / "hub"
    root.mkdir()
    with FakeHub(root) as hub:
        home = tmp_path / "home"
        made = Bench(hub, Settings(home=home, modelscope_endpoint=hub.url), Store(home))
        made.put(f"Qwen/Tiny-GGUF/{TINY_FILE}", made_up())
        made.put("Qwen/Tiny-GGUF/README.md", b"# Tiny\n")
        yield made
