"""Weights that move to huge pages, and the cache's pages, which are taken ahead: answers stay what they were."""

import mmap
import time
from pathlib import Path
from queue import SimpleQueue

import pytest

from edgechat.engine.base import Slice
from edgechat.engine.llama import memory
from edgechat.engine.llama.engine import LlamaCpp
from edgechat.engine.llama.huge import LOOK, Ahead, Enlarging, areas
from edgechat.gguf.header import read_header
from edgechat.gguf.shape import kv_bytes
from edgechat.types import Sampling
from edgechat_engine import lib

PAGE = mmap.PAGESIZE


def test_neighbours_are_one_area_where_they_are_mapped(tmp_path: Path) -> None:
    path, maps = tmp_path / "model.gguf", tmp_path / "maps"
    path.touch()
    maps.write_text(
        f"10000000-10008000 r--p 00001000 fe:00 1 {path.resolve()}\n70000000-70001000 r--p 0 fe:00 2 /other\n"
    )
    stretches = [(0x5000, 0x1000), (0x1000, 0x1000), (0x2020, 0x800), (0x8000, 0x9000)]
    assert areas(path, stretches, maps) == [(0x10000000, 0x1820), (0x10004000, 0x1000), (0x10007000, 0x1000)]
    assert areas(path, stretches, tmp_path / "none") == []


def test_nothing_to_move_and_an_end_before_it_began() -> None:
    enlarging = Enlarging([])
    enlarging.wait()
    enlarging.end()
    assert enlarging.moved == 0


def test_pages_of_the_cache_are_looked_for_every_so_many_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    looks: SimpleQueue[tuple[int, int]] = SimpleQueue()

    def look(address: int, size: int) -> int:
        looks.put((address, size))
        return 7 if looks.qsize() < 3 else 0

    monkeypatch.setattr(lib, "engine_ahead", look)
    ahead = Ahead([(100, 10), (200, 20)])
    ahead.grew(LOOK - 1)
    assert looks.empty()
    ahead.grew(1)
    while looks.qsize() < 4:
        time.sleep(0.01)
    ahead.end()
    assert [looks.get() for _ in range(4)] == [(100, 10), (100, 10), (100, 10), (200, 20)]
    assert ahead.taken == 14


def test_where_the_cache_lies_is_known_of_each_context(smollm2: Path) -> None:
    if lib.engine_cells is None:
        pytest.skip("the library takes no pages ahead on this system")
    engines = [LlamaCpp(smollm2, 256, 0, 1, lambda _: None) for _ in range(2)]
    areas = [engine._ahead._areas for engine in engines]
    assert [len(each) for each in areas] == [1, 1]
    assert areas[0] != areas[1]
    assert areas[0][0][1] >= engines[0].info.cells * (kv_bytes(read_header(smollm2)) or 0)
    for engine in engines:
        engine.close()


def test_what_every_step_reads_is_moved_and_answers_are_the_same(
    smollm2: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if lib.engine_enlarge is None:
        pytest.skip("the library moves no pages on this system")

    def answer(engine: LlamaCpp) -> list[int]:
        sampler, drawn = engine.sampler(Sampling(temperature=0)), [1]
        for at in range(16):
            drawn += [token for token in engine.step([Slice(0, at, drawn[-1:], sampler)]) if token is not None]
        return drawn

    with monkeypatch.context() as patched:
        patched.setattr(memory, "parts", lambda path: ())
        small = LlamaCpp(smollm2, 256, 0, 1, lambda _: None)
        small.settle()
    assert small._enlarging.moved == 0
    large = LlamaCpp(smollm2, 256, 0, 1, lambda _: None)
    large.settle()
    in_place = [
        tensor for tensor in read_header(smollm2).tensors if tensor not in memory.repacked(read_header(smollm2))
    ]
    assert large._enlarging.moved > sum(tensor.size or 0 for tensor in in_place) * 0.9
    assert answer(large) == answer(small)
    large.close()
    small.close()
