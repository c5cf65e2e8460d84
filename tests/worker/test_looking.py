"""The child that sees, as its worker has it: real processes, the fake engine's eyes."""

import hashlib
import threading
from collections.abc import Iterator
from pathlib import Path
from queue import SimpleQueue
from typing import Any, cast

import msgspec
import pytest
from PIL import Image

from edgechat.engine.fake import TEMPLATE, Bytes
from edgechat.errors import EngineFailed, InvalidMedia
from edgechat.letters import Ask, Cancel, Forget, Generate
from edgechat.prompt.senses import EYES
from edgechat.prompt.sight import Sight, View
from edgechat.prompt.template import Template
from edgechat.prompt.tokens import Prompter
from edgechat.scheduler.constrain import Constrainer
from edgechat.scheduler.loop import Loop, Submit
from edgechat.scheduler.shelf import erase
from edgechat.types import Answered, Attachment, Encoded, Failed, GenRequest, Media, Message, Read
from edgechat.worker.album import Album, Key, on_disk
from edgechat.worker.intake import Intake, Looks
from edgechat.worker.looking import AnyToSenses, Looker, Open
from tests.pictures import drawn, encoded

WAIT_S = 60  # for a process's start on a busy machine
PNG = encoded(drawn((96, 64)), "PNG")


def named(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.fixture
def looker(tmp_path: Path) -> Iterator[Looker]:
    script = tmp_path / "script.json"
    script.write_text("{}")
    looker = Looker(Open("fake", str(script), str(script), ""), lambda: 1)
    yield looker
    looker.close()


def test_a_picture_comes_back_as_the_model_reads_it(looker: Looker) -> None:
    found = looker.look(1, named(PNG), PNG, lambda _: None)
    assert found is not None
    (view,) = (piece for piece in found.sight if isinstance(piece, View))
    assert (len(view.cells), view.positions) == (6, 3)
    assert looker.look(2, named(PNG), PNG, lambda _: None) == found


def test_the_same_pixels_are_the_same_cells_whatever_file_they_came_in(looker: Looker) -> None:
    bmp = encoded(drawn((96, 64)), "BMP")
    assert looker.look(1, named(PNG), PNG, lambda _: None) == looker.look(1, named(bmp), bmp, lambda _: None)


def test_what_cannot_be_seen_is_said(looker: Looker) -> None:
    with pytest.raises(InvalidMedia, match=r"cut off|damaged"):
        looker.look(1, named(PNG[:90]), PNG[:90], lambda _: None)
    with pytest.raises(EngineFailed, match="did not come with the request"):
        looker.look(1, named(PNG), None, lambda _: None)
    with pytest.raises(EngineFailed, match="did not come with the request"):
        looker.look(1, named(PNG), PNG + b"x", lambda _: None)
    assert looker.look(1, named(PNG), PNG, lambda _: None) is not None


def test_a_picture_that_the_child_died_of_is_refused_and_the_next_one_seen(
    looker: Looker, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert looker.look(1, named(PNG), PNG, lambda _: None) is not None
    large = encoded(Image.new("RGB", (1000, 1000)), "PNG")
    child = looker._child
    assert child is not None

    post = child.post

    def post_and_die(letter: AnyToSenses) -> None:
        child._process.kill()
        child._process.wait()
        post(letter)

    monkeypatch.setattr(child, "post", post_and_die)
    with pytest.raises(InvalidMedia, match="ended over this one"):
        looker.look(2, named(large), large, lambda _: None)
    with pytest.raises(InvalidMedia, match="ended the process"):
        looker.look(3, named(large), large, lambda _: None)
    assert looker.look(4, named(PNG), PNG, lambda _: None) is not None


class Door:
    """An intake with eyes, what it posts to its loop, and what it tells."""

    def __init__(self, looker: Looker) -> None:
        self.posted: SimpleQueue[Any] = SimpleQueue()
        self.told: SimpleQueue[tuple[int, Any]] = SimpleQueue()
        prompter = Prompter(Template(TEMPLATE), Bytes(), 4096, senses=EYES)
        tell = lambda id, event: self.told.put((id, event))  # noqa: E731
        self.intake = Intake(prompter, Constrainer(Bytes()), cast(Loop, self), tell, looker)

    def post(self, letter: Any) -> None:
        self.posted.put(letter)


def request(data: bytes = PNG, client: str = "") -> GenRequest:
    said = Message("user", (Attachment(named(data), "picture", "image/png"), "what?"))
    return GenRequest((said,), media={named(data): data}, client=client)


def test_a_request_comes_to_the_loop_with_its_pictures_seen(looker: Looker) -> None:
    door = Door(looker)
    door.intake.take(Generate(1, request()))
    submit = door.posted.get(timeout=WAIT_S)
    assert isinstance(submit, Submit)
    assert len(submit.prompt.views) == 1
    assert submit.request.media == {}
    (encoded,) = submit.prompt.media
    assert (encoded.sha256, encoded.kind, encoded.tokens, encoded.cached) == (named(PNG), "picture", 8, False)
    door.intake.take(Generate(2, request()))
    (again,) = door.posted.get(timeout=WAIT_S).prompt.media
    assert again == Encoded(named(PNG), "picture", encoded.tokens, 0.0, cached=True)
    id, event = door.told.get(timeout=WAIT_S)
    assert (id, event) == (1, Media(named(PNG), "encode", 0, 100))


def test_a_damaged_picture_is_refused_by_name(looker: Looker) -> None:
    door = Door(looker)
    door.intake.take(Generate(1, request(PNG[:90])))
    told = [door.told.get(timeout=WAIT_S)[1] for _ in range(2)]
    assert isinstance(told[1], Failed)
    assert told[1].code == InvalidMedia.code


def test_a_question_about_tokens_sees_too(looker: Looker) -> None:
    door = Door(looker)
    door.intake.answer(Ask(1, Read(request())))
    told = [door.told.get(timeout=WAIT_S)[1] for _ in range(2)]
    assert isinstance(told[1], Answered)
    assert sum(token < 0 for token in told[1].tokens) == 6


def test_who_cancelled_comes_to_no_loop(looker: Looker) -> None:
    door = Door(looker)
    door.intake.take(Generate(1, request()))
    door.intake.cancel(Cancel(1))
    door.intake.take(Generate(2, request()))
    letters = [door.posted.get(timeout=WAIT_S) for _ in range(2)]
    assert [letter.id for letter in letters if isinstance(letter, Submit)] == [2]


def test_clients_take_turns() -> None:
    looks = Looks()
    for id, client in enumerate(("many", "many", "many", "one")):
        looks.put(client, Generate(id, request(client=client)))
    assert [looks.get().id for _ in range(4)] == [0, 3, 1, 2]
    looks.put("many", Generate(4, request(client="many")))
    looks.charge("many", 2.0)
    for id, client in enumerate(("new", "many", "new", "one"), 5):
        looks.put(client, Generate(id, request(client=client)))
    looks.charge("new", 1.0)
    assert [looks.get().id for _ in range(5)] == [4, 8, 6, 5, 7], "who was away begins where those are who wait"
    later = threading.Timer(0.05, lambda: looks.put("late", Generate(9, request())))
    later.start()
    assert looks.get().id == 9


def test_a_second_question_encodes_nothing_until_the_conversation_is_deleted(
    looker: Looker, monkeypatch: pytest.MonkeyPatch
) -> None:
    door, looked, look = Door(looker), list[int](), looker.look

    def counted(id: int, *rest: Any) -> Any:
        looked.append(id)
        return look(id, *rest)

    monkeypatch.setattr(looker, "look", counted)
    again = msgspec.structs.replace(request(), conversation="c")
    for id in (1, 2):
        door.intake.take(Generate(id, again))
        assert isinstance(door.posted.get(timeout=WAIT_S), Submit)
    assert looked == [1]
    door.intake.take(Generate(3, msgspec.structs.replace(again, realm="other")))
    door.posted.get(timeout=WAIT_S)
    assert looked == [1, 3]
    door.intake.forget(Forget("c"))
    assert isinstance(door.posted.get(timeout=WAIT_S), Forget)
    door.intake.take(Generate(4, again))
    door.posted.get(timeout=WAIT_S)
    assert looked == [1, 3, 4]


def test_another_file_of_the_same_pixels_encodes_nothing(looker: Looker) -> None:
    door, bmp = Door(looker), encoded(drawn((96, 64)), "BMP")
    other = encoded(drawn((64, 96)), "PNG")
    said = Message("user", tuple(Attachment(named(data), "picture", "image/png") for data in (PNG, bmp, other)))
    door.intake.take(Generate(1, GenRequest((said,), media={named(data): data for data in (PNG, bmp, other)})))
    submit = door.posted.get(timeout=WAIT_S)
    assert [found.cached for found in submit.prompt.media] == [False, True, False]
    first, again, last = (view.cells for _, view in submit.prompt.views)
    assert first == again != last


def test_sharper_is_another_picture_where_it_is_scaled(looker: Looker) -> None:
    looker._opening = msgspec.structs.replace(looker._opening, patch=32)
    door, large = Door(looker), encoded(drawn((960, 960)), "PNG")
    found = []
    for id, tokens in enumerate((None, 900, 64, None, 64, 100_000)):
        wanted = {} if tokens is None else {named(large): tokens}
        door.intake.take(Generate(id, msgspec.structs.replace(request(large), picture_tokens=wanted)))
        (one,) = door.posted.get(timeout=WAIT_S).prompt.media
        found.append((one.tokens - 2, one.cached))
    assert found == [(484, False), (900, False), (64, False), (484, True), (64, True), (900, True)]


def view(number: int) -> Sight:
    return ((number,), View((-number,), 1, b"", b"1234"))


def test_an_album_holds_what_fits() -> None:
    album = Album(most=8)
    first, second, third = (Key("", name) for name in "abc")
    album.keep(first, "A", view(1), "")
    album.keep(second, "B", view(2), "")
    assert album.find(first, "")
    album.keep(third, "C", view(3), "")
    assert album.find(second, "") is None
    assert album.find(first, "")
    assert album.find(third, "")
    assert album.know(Key("", "d"), "A", "") == view(1)
    assert album.know(Key("other", "d"), "A", "") is None


def test_an_album_outlives_its_process_within_its_bytes(tmp_path: Path) -> None:
    def opened(fingerprint: str = "eyes", budget: int = 10_000) -> Album:
        return Album(disk=on_disk(tmp_path / "pictures", budget, fingerprint))

    album, (first, second, third) = opened(), (Key("mine", name) for name in "abc")
    album.keep(first, "A", view(1), "one")
    album.keep(second, "B", view(2), "two")
    assert not list(tmp_path.rglob("*.kv")), "nobody waits for the disk"
    album.write()
    room = 5 * max(path.stat().st_size for path in tmp_path.rglob("*.kv")) // 2
    again = opened(budget=room)
    assert again.find(first, "one") == view(1)
    assert again.find(Key("other", "a"), "one") is None
    assert again.know(Key("mine", "another file"), "B", "two") == view(2)
    erase(tmp_path, "one")  # as a server does whose worker is not there
    assert opened().find(first, "one") is None
    again.forget("two")
    assert not list(tmp_path.rglob("*.kv"))
    for number, key in enumerate((first, second, third), 1):
        again.keep(key, key.name.upper(), view(number), "three")
        again.write()
    assert 0 < sum(path.stat().st_size for path in tmp_path.rglob("*.kv")) <= room
    assert [opened().find(key, "") is not None for key in (first, second, third)] == [False, True, True]
    assert opened("other eyes").find(third, "") is None
    for path in tmp_path.rglob("*.kv"):
        path.write_bytes(path.read_bytes()[:-1] + b"?")
    assert opened().find(third, "") is None
