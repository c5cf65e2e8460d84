"""A server tells which kernels of ours compute its answers: all that this processor can run."""

import httpx
import pytest

from edgechat import machine
from edgechat_engine.needs import possible


@pytest.mark.model
@pytest.mark.skipif(not machine.processor()[1], reason="this system does not tell what its processor can do")
def test_status_names_the_kernels_that_compute(client: httpx.Client) -> None:
    engine = client.get("/api/status").json()["engine"]
    assert engine["build"].startswith("llama.cpp")
    assert set(engine["kernels"]) == possible(machine.processor()[1])
