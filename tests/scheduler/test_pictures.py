"""Pictures in the loop on the fake engine, which fails where a cell is read with another one's vector."""

from pathlib import Path

import pytest

from edgechat.engine.fake_eyes import FakeEyes
from edgechat.letters import Cancel
from edgechat.media.picture import Pixels
from edgechat.prompt.senses import EYES
from edgechat.prompt.sight import Sight, View
from edgechat.prompt.tokens import Prompter
from edgechat.scheduler.loop import Submit
from edgechat.types import Attachment, Done, GenRequest, Message, Prefill
from tests.scheduler.test_loop import Bench

RED, BLUE = Attachment("red", "picture", "image/png"), Attachment("blue", "picture", "image/png")


@pytest.fixture(params=[0, 8], ids=["attention", "running state"])
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Bench:
    bench = Bench(tmp_path, checkpoints=request.param, sequences=8, reply="ok")
    template, tokenizer = bench.prompter.template, bench.engine.tokenizer
    bench.prompter = Prompter(template, tokenizer, bench.engine.info.context, senses=EYES)
    return bench


@pytest.fixture
def sights(tmp_path: Path) -> dict[str, Sight]:
    script = tmp_path / "eyes.json"
    script.write_text("{}")
    eyes = FakeEyes(script, script, "")
    red = eyes.see(Pixels(640, 320, bytes((255, 0, 0)) * 640 * 320), 1, lambda _: True)
    blue = eyes.see(Pixels(320, 640, bytes((0, 0, 255)) * 640 * 320), 1, lambda _: True)
    assert red is not None
    assert blue is not None
    return {"red": red, "blue": blue}


def show(bench: Bench, sights: dict[str, Sight], id: int, *messages: Message) -> None:
    request = GenRequest(messages)
    bench.open += 1
    bench.loop.post(Submit(id, request, bench.prompter.prepare(request, sights)))


def cells(sight: Sight) -> int:
    return sum(len(piece.cells) for piece in sight if isinstance(piece, View))


def test_several_pictures_are_read_in_slices_beside_a_writer(bench: Bench, sights: dict[str, Sight]) -> None:
    bench.ask(1, "write" * 10)
    for id in range(2, 5):
        show(bench, sights, id, Message("user", ("look ", RED, " and ", BLUE, " here")))
    bench.loop.run()
    done = {id: event for id, event in bench.events if isinstance(event, Done)}
    assert set(done) == {1, 2, 3, 4}
    assert done[2].usage.prompt_tokens > cells(sights["red"]) + cells(sights["blue"])
    steps = [event.done for id, event in bench.events if id == 2 and isinstance(event, Prefill)]
    assert len(steps) > 5


def test_a_second_question_and_a_branch_read_no_picture_again(bench: Bench, sights: dict[str, Sight]) -> None:
    first = Message("user", (RED, "what is it?"))
    bench.one_by_one(
        lambda: show(bench, sights, 1, first),
        lambda: show(bench, sights, 2, first, Message.of("assistant", "ok"), Message.of("user", "sure?")),
        lambda: show(bench, sights, 3, Message("user", (BLUE, "what is it?"))),
        lambda: show(bench, sights, 4, first, Message.of("assistant", "ok"), Message("user", (BLUE, "and this?"))),
    )
    usage = {id: event.usage for id, event in bench.events if isinstance(event, Done)}
    assert usage[1].cached_tokens == 0
    assert usage[2].cached_tokens > cells(sights["red"])
    assert usage[3].cached_tokens < cells(sights["blue"])
    assert usage[4].cached_tokens > cells(sights["red"])
    bench.loop._pool.check()


def test_a_picture_half_read_is_not_kept(bench: Bench, sights: dict[str, Sight]) -> None:
    def hook(id: int, event: object) -> None:
        if id == 1 and isinstance(event, Prefill) and 40 < event.done < cells(sights["red"]):
            bench.loop.post(Cancel(id=1))
            bench.hook = lambda id, event: None
            show(bench, sights, 2, Message("user", (RED, "what is it?")))
            bench.closed()

    bench.hook = hook
    show(bench, sights, 1, Message("user", (RED, "what is it?")))
    bench.loop.run()
    last = bench.last(2)
    assert isinstance(last, Done)
    assert last.usage.cached_tokens < cells(sights["red"])
    bench.loop._pool.check()


def test_who_shows_pictures_is_charged_for_their_encoding(bench: Bench) -> None:
    """Of two that wait, the other one's turn comes first, though it came later."""
    bench.loop._seats = 1
    bench.one_by_one(lambda: bench.ask(1, "say" * 200, client="before"))  # what reading costs is known now
    bench.loop._stopped = False
    for id, client, spent in ((2, "somebody", 0.0), (3, "painter", 100.0), (4, "reader", 0.0)):
        request = GenRequest((Message.of("user", "hello"),), client=client)
        bench.open += 1
        bench.loop.post(Submit(id, request, bench.prompter.prepare(request), spent=spent))
    bench.loop.run()
    assert [id for id, event in bench.events if isinstance(event, Done)] == [1, 2, 4, 3]
