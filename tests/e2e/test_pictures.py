"""Pictures through a whole server, with a model and a projector of noise: nothing is encoded or read twice."""

import base64
import json
import signal
import time
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest

from tests import noise, tiny
from tests.e2e.conftest import Server, serve
from tests.pictures import drawn, encoded

WAIT_S = 60
WIDE, HIGH = encoded(drawn((160, 96)), "PNG"), encoded(drawn((64, 128)), "PNG")
CELLS = 15  # of the wide one


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, ...]:
    folder = tmp_path_factory.mktemp("model")
    model, projector = tiny.model(folder / "model.gguf", "qwen35"), noise.projector(folder / "mmproj.gguf")
    return "--model", str(model), "--projector", str(projector), "--context", "1024"


def user(*said: bytes | str) -> dict[str, Any]:
    """A user's message with pictures in it."""
    parts: list[dict[str, Any]] = []
    for part in said:
        if isinstance(part, str):
            parts.append({"type": "text", "text": part})
        else:
            url = f"data:image/png;base64,{base64.b64encode(part).decode()}"
            parts.append({"type": "image_url", "image_url": {"url": url}})
    return {"role": "user", "content": parts}


def ask(server: Server, *turns: dict[str, Any]) -> dict[str, Any]:
    """What the answer says of itself."""
    body = json.dumps({"messages": turns, "max_tokens": 4, "temperature": 0}).encode()
    request = Request(f"{server.url()}/v1/chat/completions", body, {"Content-Type": "application/json"})
    with urlopen(request, timeout=WAIT_S) as answer:
        return dict(json.load(answer)["edgechat"])


ANSWER = {"role": "assistant", "content": "the sum of all things"}
FIRST = user(WIDE, "what is the colour of this?")


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL])
def test_a_picture_is_encoded_and_read_once_for_all_questions_branches_and_restarts(
    end: signal.Signals, files: tuple[str, ...], tmp_path: Path
) -> None:
    home = tmp_path / "home"
    with serve(*files, "--home", str(home)) as server:
        server.ready()
        (first,), (second,) = ask(server, FIRST)["media"], ask(server, FIRST, ANSWER, user("and this?"))["media"]
        assert (first["tokens"] > CELLS, first["cached"], second["cached"]) == (True, False, True)
        assert first["encode_ms"] > 0 == second["encode_ms"]
        branch = ask(server, user(WIDE, "another question"))
        assert branch["media"][0]["cached"]
        assert branch["cached_tokens"] > CELLS
        deadline = time.monotonic() + WAIT_S  # what is idle is on the disk soon
        while not (list((home / "prefixes").glob("*.kv")) and list((home / "prefixes").glob("pictures/*.kv"))):
            assert time.monotonic() < deadline
            time.sleep(0.1)
        server.process.send_signal(end)
        server.process.wait(WAIT_S)
    with serve(*files, "--home", str(home)) as server:
        server.ready()
        again = ask(server, FIRST, ANSWER, user(HIGH, "and this one?"))
    assert [one["cached"] for one in again["media"]] == [True, False]
    assert again["cached_tokens"] > CELLS
