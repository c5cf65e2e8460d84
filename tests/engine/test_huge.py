"""Weights that move to huge pages: which of them, and that answers stay what they were."""

import mmap
from pathlib import Path

import pytest

from edgechat.engine.base import Slice
from edgechat.engine.llama import memory
from edgechat.engine.llama.engine import LlamaCpp
from edgechat.engine.llama.huge import Enlarging, areas
from edgechat.gguf.header import read_header
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
