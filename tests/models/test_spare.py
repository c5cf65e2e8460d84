"""The first worker's process, started before anybody knows its model."""

import subprocess
import sys

import psutil
import pytest

from edgechat.letters import Load
from edgechat.models import spare
from edgechat.models.supervisor import Worker
from tests.conftest import FakeModel


@pytest.mark.parametrize("engine", ["fake", "no such engine"])
async def test_a_prepared_process_serves_the_first_model_and_no_other(fake_model: FakeModel, engine: str) -> None:
    spare.prepare(engine)
    prepared = psutil.Process().children()[-1]
    workers = [Worker(Load("fake", str(fake_model()), 0, 1)) for _ in range(2)]
    try:
        for worker in workers:
            await worker.start()
        assert workers[0].pid == prepared.pid
        assert workers[1].pid != prepared.pid
    finally:
        for worker in workers:
            await worker.stop()
    assert not prepared.is_running()


async def test_one_that_died_meanwhile_is_not_used(fake_model: FakeModel) -> None:
    spare.prepare("fake")
    prepared = psutil.Process().children()[-1]
    prepared.kill()
    prepared.wait(10)
    worker = Worker(Load("fake", str(fake_model()), 0, 1))
    try:
        await worker.start()
        assert worker.pid != prepared.pid
    finally:
        await worker.stop()


def test_one_that_nobody_wanted_ends_with_its_server() -> None:
    script = "import psutil\nfrom edgechat.models import spare\n"
    script += "spare.prepare('fake')\nprint(psutil.Process().children()[0].pid, flush=True)\ninput()"
    command = [sys.executable, "-c", script]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as server:
        assert server.stdout is not None
        prepared = psutil.Process(int(server.stdout.readline()))
        assert prepared.is_running()
        server.kill()
    prepared.wait(30)
