import os
import time

import httpx
import psutil

from edgechat import __version__
from edgechat.api.page.status import defaults
from edgechat.types import Sampling


def test_status_tells_state_defaults_and_memory(client: httpx.Client) -> None:
    status = client.get("/api/status").json()
    assert status["version"] == __version__
    assert status["state"] == "ready"
    assert status["defaults"] == defaults(Sampling())
    assert status["engine"] == {"build": "fake", "kernels": []}
    own = psutil.Process(os.getpid()).memory_info().rss
    assert own / 2 < status["memory"]["rss"] < psutil.virtual_memory().total
    assert 0 < status["memory"]["available"] < psutil.virtual_memory().total
    assert (status["running"], status["waiting"]) == (0, 0)


def test_status_tells_the_speed_of_the_last_minute(client: httpx.Client) -> None:
    client.post("/chat", json={"input": "one two three four"}).raise_for_status()
    deadline = time.monotonic() + 20
    while not any(client.get("/api/status").json()["speed"]):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert len(client.get("/api/status").json()["speed"]) <= 60


def test_defaults_have_the_names_of_params() -> None:
    assert defaults(Sampling(temperature=0.1, top_k=7)) == {
        "temperature": 0.1,
        "top_p": 0.8,
        "top_k": 7,
        "min_p": 0.0,
        "repetition_penalty": 1.0,
    }
