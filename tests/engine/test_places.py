"""Positions of tokens behind, between and inside pictures; and the fake engine's, which are loud."""

import struct
from pathlib import Path

import pytest

from edgechat.engine.base import Glance, Slice
from edgechat.engine.fake import Fake
from edgechat.engine.fake_eyes import FakeEyes
from edgechat.engine.llama.places import Places
from edgechat.errors import EngineFailed
from edgechat.media.picture import Pixels
from edgechat.prompt.sight import View

WIDE = View(tuple(range(-6, 0)), 3, b"", b"")  # two rows, three columns
ROW = View((-8, -7), 2, struct.pack("<6i", 0, 0, 0, 0, 1, 0), b"")  # as many positions as cells, and all have one
LINE = View((-8, -7), 2, struct.pack("<6i", 0, 0, 0, 1, 0, 0), b"")  # one each


def test_what_follows_a_picture_stands_nearer() -> None:
    places = Places()
    places.show(0, 4, WIDE)
    places.show(0, 13, WIDE)
    assert [places.position(0, at) for at in (0, 4, 5, 9, 10, 12, 13, 18, 19)] == [0, 4, 4, 4, 7, 9, 10, 10, 13]
    assert places.position(1, 19) == 19


def test_a_picture_is_cut_at_its_ends_only() -> None:
    places = Places()
    places.show(0, 4, WIDE)
    assert (places.cut(0, 4), places.cut(0, 10)) == (4, 7)
    with pytest.raises(EngineFailed, match="inside a picture"):
        places.cut(0, 5)


def test_a_picture_without_rows_and_columns_is_as_text() -> None:
    places = Places()
    places.show(0, 4, LINE)
    assert places.cut(0, 5) == 5


def test_all_of_one_row_stands_where_it_begins() -> None:
    places = Places()
    places.show(0, 4, ROW)
    assert [places.position(0, at) for at in (4, 5, 6, 7)] == [4, 4, 6, 7]
    with pytest.raises(EngineFailed, match="inside a picture"):
        places.cut(0, 5)


def test_positions_follow_what_is_shared_trimmed_and_saved() -> None:
    places = Places()
    places.show(0, 4, WIDE)
    places.show(0, 13, WIDE)
    places.share(0, 1, 0, 13)
    assert places.position(1, 19) == 16
    saved = places.saved(0) + b"state"
    places.trim(0, 12, None)
    assert places.position(0, 19) == 16
    assert places.restore(2, saved) == len(saved) - len(b"state")
    assert places.position(2, 19) == 13
    assert Places().restore(0, b"state of another build") is None


def test_the_fake_is_loud(tmp_path: Path) -> None:
    script = tmp_path / "script.json"
    script.write_text("{}")
    engine = Fake(script, 0, 0, 1, lambda _: None)
    sight = FakeEyes(script, script, "").see(Pixels(96, 64, bytes(96 * 64 * 3)), 1, lambda _: True)
    assert sight is not None
    view = sight[1]
    assert isinstance(view, View)
    assert (len(view.cells), view.positions) == (6, 3)
    with pytest.raises(EngineFailed, match="without their vectors"):
        engine.step([Slice(0, 0, view.cells)])
    with pytest.raises(EngineFailed, match="not those of the cells"):
        engine.step([Slice(0, 0, view.cells[:2], None, Glance(view, 1))])
    engine.step([Slice(0, 0, view.cells, None, Glance(view, 0))])
    with pytest.raises(EngineFailed, match="inside a picture"):
        engine.trim(0, 3)
