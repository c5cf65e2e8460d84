"""The process that measures, on a real but very small model; and its end whatever happens."""

import asyncio
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from edgechat.errors import EngineFailed, ModelFileInvalid, NoSpace
from edgechat.gguf.recast import twin
from edgechat.tune import bandwidth, letters
from edgechat.tune.lab import Lab
from tests.disks import small_disk

pytestmark = pytest.mark.model


@pytest.fixture(scope="module")
def small(smollm2: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shape of SmolLM2 with five layers, full of noise."""
    path = tmp_path_factory.mktemp("lab") / "small.gguf"
    twin(smollm2, path, 5, lambda _tensor: "Q8_0")
    return path


def test_a_real_model_is_tuned_by_the_command(small: Path, tmp_path: Path) -> None:
    command = (sys.executable, "-c", "from edgechat.cli import main; main()")
    done = subprocess.run(
        [*command, "tune", str(small), "--quality", "faithful", "--threads", "1", "--json"], capture_output=True
    )
    assert done.returncode == 0, done.stderr.decode()
    found = json.loads(done.stdout)
    assert found["baseline"]["recipe"] == "Q8_0/Q8_0"
    assert found["baseline"]["kld"] == 0
    assert found["candidates"]
    assert 0 < found["token_bytes"] < small.stat().st_size
    # By the clock on the wall, on a machine that others use too; but no thousand times too much or too little.
    assert 1 / 100 < found["memory_bytes_s"] / bandwidth.measured(1, clock=time.process_time) < 5
    for one in [found["chosen"], *found["candidates"]]:
        assert one["prefill_tok_s"] > 0
        assert one["decode_tok_s"] > 0
        assert 0 <= one["kld"] < 0.3  # noise in, noise out, but the same noise
        assert one["size"] > 0
        assert one["threads"] >= 1
        assert one["slice"] in (32, 64, 128)
        assert one["flash"] in (True, False)
    assert any(one["measured"] for one in found["candidates"])


async def test_a_wrong_file_is_told_and_the_process_goes_on(small: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.gguf"
    page.write_text("<!doctype html>")
    progress: list[float] = []
    async with Lab() as lab:
        with pytest.raises(ModelFileInvalid):
            await lab.ask(letters.Read(str(page), str(tmp_path / "rows"), 1), letters.Done, progress.append)
        order = letters.Recast(str(small), str(tmp_path / "new.gguf"), {}, (), 1)
        await lab.ask(order, letters.Done, progress.append)
    assert progress == sorted(progress)
    assert progress[-1] > 0.9


async def test_a_disk_too_small_for_the_rows_is_told(small: Path, tmp_path: Path) -> None:
    """The rows are an array in a file: a disk that fills under it would kill the process."""
    with small_disk(tmp_path / "disk") as disk:
        async with Lab() as lab:
            with pytest.raises(NoSpace):
                await lab.ask(letters.Read(str(small), str(disk / "rows"), 1), letters.Done, lambda _: None)
        assert list(disk.iterdir()) == []


async def test_leaving_ends_the_process_at_once(small: Path, tmp_path: Path) -> None:
    async with Lab() as lab:
        order = letters.Race(str(small), str(small), False, 1)
        asking = asyncio.create_task(lab.ask(order, letters.Raced, lambda _: None))
        while not (children := psutil.Process().children()):
            await asyncio.sleep(0.01)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
    assert not any(child.is_running() and child.status() != psutil.STATUS_ZOMBIE for child in children)


async def test_a_death_is_told_and_the_next_order_finds_a_new_process(small: Path, tmp_path: Path) -> None:
    async with Lab() as lab:
        killed = False

        def kill(_fraction: float) -> None:
            nonlocal killed
            if not killed:
                killed = True
                os.kill(psutil.Process().children()[0].pid, 9)

        with pytest.raises(EngineFailed, match="ended"):
            await lab.ask(letters.Read(str(small), str(tmp_path / "rows"), 1), letters.Done, kill)
        order = letters.Recast(str(small), str(tmp_path / "new.gguf"), {}, (), 1)
        await lab.ask(order, letters.Done, kill)
