"""A hub that misbehaves: each fault has its line, leaves nothing behind, and leads nowhere."""

import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from edgechat.errors import (
    EdgechatError,
    HashMismatch,
    HubUnreachable,
    NoSpace,
    NotOnHub,
    UnsafeListing,
)
from tests.hub.conftest import TINY, TINY_FILE, Bench, children, made_up, sha256, tree

TINY_PATH = f"Qwen/Tiny-GGUF/repo?Revision=master&FilePath={TINY_FILE}"  # redirected to itself, for ever


def fault(**values: object) -> Callable[[Bench], None]:
    def arrange(bench: Bench) -> None:
        for name, value in values.items():
            setattr(bench.hub.faults, name, value)

    return arrange


@pytest.mark.parametrize(
    ("reference", "arrange", "error", "says"),
    [
        ("modelscope:Qwen/Missing", fault(), NotOnHub, "no such repository"),
        (f"{TINY}:other.gguf", fault(), NotOnHub, f"no such file; there is: {TINY_FILE}"),
        (f"{TINY}@main", fault(), NotOnHub, "no such revision"),
        (TINY, fault(list_status=500), HubUnreachable, "it is broken"),
        (TINY, fault(list_status=403), NotOnHub, "MODELSCOPE_API_TOKEN"),
        (TINY, fault(list_status=429), HubUnreachable, "asks for a pause"),
        (TINY, fault(list_page=True), HubUnreachable, "not answer as a hub does"),
        (TINY, fault(file_status=404), NotOnHub, "no such"),
        (TINY, fault(file_status=403), NotOnHub, "MODELSCOPE_API_TOKEN"),
        (TINY, fault(file_status=429), HubUnreachable, "asks for a pause"),
        (TINY, fault(file_status=500), HubUnreachable, "it is broken"),
        (TINY, fault(redirect=f"/api/v1/models/{TINY_PATH}"), HubUnreachable, "."),
        (TINY, fault(file_page=True), HashMismatch, "another number of bytes"),
        (TINY, fault(sizes={TINY_FILE: 1 << 60}), NoSpace, r"needs 1,152,921,504.\d\d GB .* are free"),
        (TINY, fault(empty=True), HashMismatch, "another number of bytes"),
        (TINY, fault(wrong_bytes=True), HashMismatch, "other bytes than the pinned ones"),
    ],
)
async def test_each_fault_has_its_line_and_leaves_nothing(
    bench: Bench, reference: str, arrange: Callable[[Bench], None], error: type[EdgechatError], says: str
) -> None:
    arrange(bench)
    with pytest.raises(error, match=says) as caught:
        await bench.pull(reference)
    assert "\n" not in str(caught.value)
    assert bench.nothing_published
    assert not [path for path in tree(bench.store.staging) if ".gguf" in path]
    assert not children()


@pytest.mark.parametrize("path", ["a\x00.gguf", "a\\..\\b.gguf", "C:\\x.gguf", "a//b.gguf", "\x1b[2J.gguf"])
async def test_a_listing_with_a_name_that_is_none_is_not_believed(bench: Bench, path: str) -> None:
    bench.hub.faults.extra_rows = [{"Path": path, "Name": "x", "Type": "blob", "Size": 1, "Sha256": "0" * 64}]
    with pytest.raises(UnsafeListing, match="no safe path"):
        await bench.pull(TINY)
    assert not bench.hub.files_asked


async def test_a_listing_of_three_thousand_rows_is_read(bench: Bench) -> None:
    bench.hub.faults.extra_rows = [
        {"Path": f"data/{i}.txt", "Name": f"{i}.txt", "Type": "blob", "Size": 1, "Sha256": "0" * 64}
        for i in range(2990)
    ]
    assert (await bench.pull(TINY)).sha256 == sha256(made_up())


async def test_a_hub_that_points_at_another_server_of_this_machine_is_not_followed(bench: Bench) -> None:
    with socket.create_server(("127.0.0.1", 0)) as canary:
        bench.hub.faults.redirect = f"http://127.0.0.1:{canary.getsockname()[1]}/latest/meta-data"
        with pytest.raises(UnsafeListing, match="not on the public network"):
            await bench.pull(TINY)
        canary.settimeout(0)
        with pytest.raises(BlockingIOError):
            canary.accept()
    assert bench.nothing_published


async def test_a_hub_that_takes_the_question_and_gives_no_answer_is_given_up(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the waits that it has otherwise, 8 s twice, it is under 20 s."""
    monkeypatch.setenv("MODELSCOPE_REPO_TREE_PAGE_TIMEOUT_SECONDS", "1")
    bench.hub.faults.list_hangs = True
    with pytest.raises(HubUnreachable, match=r"stopped answering|connection broke"):
        await bench.pull(TINY)
    assert len(bench.hub.asked) == 2


async def test_a_hub_that_stalls_is_given_up_and_gone_on_with_later(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MODELSCOPE_DOWNLOAD_TIMEOUT", "1")
    bench.hub.hold_at(1 << 20)
    with pytest.raises(HubUnreachable, match=r"stopped answering|connection broke|goes on where it stopped"):
        await bench.pull(TINY)
    bench.hub.release()
    assert (await bench.pull(TINY)).sha256 == sha256(made_up())
    assert bench.hub.files_asked[-1].range == f"bytes={1 << 20}-"


@pytest.mark.parametrize("way", ["relative", "absolute"])
async def test_a_listing_that_points_outside_writes_nothing(bench: Bench, tmp_path: Path, way: str) -> None:
    outside = tmp_path / "escaped.gguf"
    path = str(outside) if way == "absolute" else f"{'../' * 12}{outside.relative_to('/')}"
    row = {"Path": path, "Name": "x", "Type": "blob", "Size": 2 << 20, "Sha256": sha256(made_up())}
    bench.hub.faults.extra_rows = [row]
    before = {name for name in tree(tmp_path) if not name.startswith("home/")}
    with pytest.raises(UnsafeListing, match=r"no safe path\. Nothing was fetched"):
        await bench.pull(TINY)
    assert {name for name in tree(tmp_path) if not name.startswith("home/")} == before
    assert not outside.exists()
    assert not bench.hub.files_asked


async def test_a_cut_connection_is_continued_at_the_byte(bench: Bench) -> None:
    bench.hub.faults.cut_after = 1_000_000
    assert (await bench.pull(TINY)).sha256 == sha256(made_up())
    assert [asked.range for asked in bench.hub.files_asked] == [None, "bytes=1000000-"]


async def test_a_hub_that_ignores_where_to_go_on_sends_it_all_again(bench: Bench) -> None:
    bench.hub.faults.cut_after, bench.hub.faults.ignore_range = 1_000_000, True
    assert (await bench.pull(TINY)).sha256 == sha256(made_up())
    assert [asked.range for asked in bench.hub.files_asked][:2] == [None, "bytes=1000000-"]
