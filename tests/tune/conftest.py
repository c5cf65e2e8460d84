"""A model of a few kilobytes, and a lab that measures nothing."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgechat.errors import EngineFailed
from edgechat.hub.store import Store
from edgechat.hub.stored import Stored
from edgechat.tune import letters
from edgechat.tune.quality import Row
from edgechat.tune.recipes import USUAL
from edgechat.tune.speed import Cost, Pair, Speed
from tests import ggufs

SECONDS = {"Q4_0": 1.0, "IQ4_NL": 1.1, "Q4_K": 1.2, "Q5_K": 1.5, "Q6_K": 1.8, "Q8_0": 2.5}
HEAD = {kind: seconds * 5 for kind, seconds in SECONDS.items()}


class FakeLab:
    """Answers orders from tables; `stop_at` makes the nth order be cut off, `broken` lists recipes that fail."""

    def __init__(self) -> None:
        self.orders: list[letters.AnyOrder] = []
        self.stop_at: int | None = None
        self.stop_with: BaseException = KeyboardInterrupt()
        self.broken: tuple[str, ...] = ()
        self.klds = dict(USUAL)

    async def ask(self, order: letters.AnyOrder, kind: type[Any], told: Callable[[float], None]) -> Any:
        if len(self.orders) == self.stop_at:
            self.stop_at = None
            raise self.stop_with
        self.orders.append(order)
        told(0.5)
        answer = self._answer(order)
        assert isinstance(answer, kind)
        return answer

    def _answer(self, order: letters.AnyOrder) -> letters.AnyAnswer:
        match order:
            case letters.Costs(kinds=kinds):
                return letters.Costed({kind: Cost(SECONDS[kind], HEAD[kind], SECONDS[kind] / 20) for kind in kinds})
            case letters.Read(rows=rows):
                Path(rows).write_bytes(b"rows")
                return letters.Done()
            case letters.Recast(target=target):
                if Path(target).stem in self.broken:
                    raise EngineFailed("llama.cpp does not take it.")
                Path(target).write_bytes(target.encode())
                return letters.Done()
            case letters.Judge(model=model, start=start, stop=stop):
                assert Path(model).exists()
                return letters.Judged((Row(self._kld(Path(model)), True),) * (len(letters.PASSAGES) * (stop - start)))
            case letters.Attend(model=model):
                assert Path(model).exists()
                return letters.Attended(True)
            case letters.Race(as_it_is=as_it_is, model=model, flash=flash):
                assert flash
                return letters.Raced(Pair(self._speed(Path(as_it_is)), self._speed(Path(model))))
            case letters.Settle(threads=threads):
                return letters.Settled(threads, threads, 64, bandwidth=10e9)

    def _parts(self, model: Path) -> tuple[str, str]:
        body, _, head = model.stem.partition("-")
        return (body, head) if head in SECONDS else ("Q8_0", "Q8_0")

    def _kld(self, model: Path) -> float:
        body, head = self._parts(model)
        return self.klds[body] + self.klds[head] / 4

    def _speed(self, model: Path) -> Speed:
        body, head = self._parts(model)
        return Speed(20 / SECONDS[body], 1 / (2 * SECONDS[body] + HEAD[head]), 2.0)


@pytest.fixture
def lab() -> FakeLab:
    return FakeLab()


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "home")


@pytest.fixture
def model(tmp_path: Path, store: Store) -> Stored:
    """Two layers, 512 wide, every K type allowed."""
    tensors = {f"blk.{n}.ffn_{name}.weight": (512, 512) for n in range(2) for name in ("up", "down")}
    data = ggufs.gguf(
        {"general.architecture": "test", "test.block_count": 2}, tensors | {"token_embd.weight": (512, 64)}
    )
    return store.local(ggufs.write(tmp_path / "small.gguf", data))
